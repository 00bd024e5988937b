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

/// Adds `bytes` to the inputs of the fuzz target `target`, if `NANOSPAN_CORPUS` names the folder with the targets' inputs.
#[cfg(not(loom))]
fn extend_corpus(target: &str, bytes: &[u8]) {
    if let Some(corpus) = std::env::var_os("NANOSPAN_CORPUS") {
        let folder = std::path::Path::new(&corpus).join(target);
        std::fs::create_dir_all(&folder).expect("a folder that can be written");
        // A checksum would not do: that of bytes which end with their own checksum is always the same.
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hasher::write(&mut hasher, bytes);
        let name = format!("test-{:016x}", std::hash::Hasher::finish(&hasher));
        std::fs::write(folder.join(name), bytes).expect("a folder that can be written");
    }
}

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
        recorder.counts(MIN_INDEX, MAX_INDEX).unwrap(),
        values.iter().map(|&v| u128::from(v)).sum(),
        values.iter().copied().min().unwrap_or(u64::MAX),
        values.iter().copied().max().unwrap_or(0),
    )
}
