//! Mergeable exponential histograms: [`Recorder`] counts values, [`Snapshot`] answers queries.

mod codec;
pub mod config;
mod difference;
mod recorder;
mod snapshot;

pub use recorder::Recorder;
pub use snapshot::Snapshot;
