//! Encoders for exported data: Prometheus expositions, and samples as text and pixels.

mod columns;
mod json;
pub mod prometheus;
pub mod samples;
