//! Tests of whole modules and, under `--cfg loom`, loom models of the lock-free modules.

#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
mod buckets;
#[cfg(not(loom))]
mod codec;
#[cfg(not(loom))]
mod histogram;
#[cfg(loom)]
mod models;
#[cfg(not(loom))]
mod snapshot;
#[cfg(not(loom))]
mod summary;

#[cfg(not(loom))]
use crate::{
    histogram::{
        Recorder, Snapshot,
        config::{MAX_INDEX, MIN_INDEX},
    },
    seconds::Seconds,
    sync::Writers,
};

#[cfg(not(loom))]
fn seconds(value: f64) -> Seconds {
    Seconds::new(value).expect("seconds in range")
}

/// Returns a snapshot of a histogram that holds `values`, in nanoseconds.
#[cfg(not(loom))]
fn recorded(values: &[u64]) -> Snapshot {
    let memory = crate::memory::Memory::zeroed(Recorder::WORDS).expect("one histogram fits");
    let recorder = Recorder::new(memory.words());
    for &value in values {
        recorder.count(value, Writers::Serialised);
    }
    Snapshot::new(
        recorder.zeros(),
        MIN_INDEX,
        recorder.counts(MIN_INDEX, MAX_INDEX),
        values.iter().map(|&v| u128::from(v)).sum(),
        values.iter().copied().min().unwrap_or(u64::MAX),
        values.iter().copied().max().unwrap_or(0),
    )
}
