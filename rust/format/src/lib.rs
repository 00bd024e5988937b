//! Encoders and rasterisers over what nanospan recorded: Prometheus' exposition formats, rows of text, pixels.
//!
//! They read copies ([`MonitorSnapshot`](nanospan_record::MonitorSnapshot), [`Columns`]) and know nothing of
//! Python or of how samples are recorded.

#![deny(unsafe_code)]

pub mod columns;
pub mod error;
pub mod prometheus;
pub mod scatter;

pub use columns::Columns;
pub use error::Error;
