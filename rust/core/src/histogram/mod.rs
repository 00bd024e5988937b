//! Mergeable exponential histograms: [`Recorder`] counts, [`Snapshot`] answers.

pub mod config;
mod recorder;
mod snapshot;

pub use recorder::Recorder;
pub use snapshot::Snapshot;
