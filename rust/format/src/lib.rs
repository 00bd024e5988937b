//! Encodes recorded data in Prometheus' exposition formats and as rows of text, and plots samples as pixels.
//!
//! The encoders read copies of the data ([`MonitorSnapshot`](nanospan_record::MonitorSnapshot), [`Columns`]). They do
//! not depend on Python or on how samples are recorded.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "running out of memory may end a test"
    )
)]
#![deny(unsafe_code)]

pub mod columns;
pub mod error;
pub mod names;
pub mod prometheus;
pub mod scatter;

pub use columns::Columns;
pub use error::Error;
