//! What leaves the process: expositions, and samples as text and pixels.

pub mod json;
pub mod prometheus;
pub mod samples;
