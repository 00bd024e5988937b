//! Mergeable exponential histograms: [`Recorder`] counts, [`Snapshot`] answers.

mod codec;
pub mod config;
mod difference;
mod recorder;
mod snapshot;

pub use recorder::Recorder;
pub use snapshot::Snapshot;
