//! Encoders and rasterisers for recorded data: Prometheus' exposition formats, rows of text, and pixels.
//!
//! They read copies ([`MonitorSnapshot`](nanospan_record::MonitorSnapshot), [`Columns`]) and depend neither on Python
//! nor on how samples are recorded.

#![deny(unsafe_code)]

pub mod columns;
pub mod error;
pub mod prometheus;
pub mod scatter;

pub use columns::Columns;
pub use error::Error;
