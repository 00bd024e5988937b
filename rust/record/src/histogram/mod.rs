//! Mergeable exponential histograms: [`Recorder`] counts, [`Snapshot`] answers.

pub(crate) mod codec;
pub mod config;
mod difference;
mod recorder;
mod snapshot;

pub use codec::Damage;
pub use recorder::Recorder;
pub use snapshot::Snapshot;
