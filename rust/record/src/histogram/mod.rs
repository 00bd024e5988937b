//! Mergeable exponential histograms. A [`Recorder`] counts values; a [`Snapshot`] is a copy that answers queries.

mod codec;
pub mod config;
mod difference;
mod recorder;
mod snapshot;

pub use recorder::Recorder;
pub use snapshot::Snapshot;
pub(crate) use snapshot::rank;
