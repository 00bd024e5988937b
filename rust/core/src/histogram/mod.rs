//! Mergeable exponential histograms: [`Recorder`] counts, [`Snapshot`] answers.

mod codec;
pub mod config;
mod recorder;
mod snapshot;

pub use codec::Damage;
pub use recorder::Recorder;
pub use snapshot::Snapshot;
