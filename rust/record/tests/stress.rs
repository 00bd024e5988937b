//! Stress tests in which several threads record samples of one operation. The environment variable
//! `NANOSPAN_STRESS_RECORDS` sets the number of samples that each thread records.
#![allow(
    clippy::disallowed_methods,
    reason = "running out of memory may end a test"
)]
#![cfg(not(loom))]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the test starts its own threads"
)]

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use nanospan_record::{Clock, Measured, Operation, Outcome, Sample, Seconds, Writers};

const WRITERS: u64 = 4;

fn records() -> u64 {
    // Under Miri, which is slow, the threads record only just enough samples to fill the longest window.
    let fast = if cfg!(miri) {
        300
    } else if cfg!(debug_assertions) {
        50_000
    } else {
        500_000
    };
    std::env::var("NANOSPAN_STRESS_RECORDS").map_or(fast, |n| n.parse().expect("a number"))
}

/// Returns the `i`th duration that thread `writer` records, in nanoseconds. The
/// durations span all orders of magnitude, include 0 and are often short.
fn duration(writer: u64, i: u64) -> u64 {
    let mixed = (i + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(writer as u32 * 8);
    mixed >> (mixed % 64)
}

fn outcome(i: u64) -> Outcome {
    match i % 10 {
        0 => Outcome::Error,
        1 => Outcome::Cancelled,
        _ => Outcome::Ok,
    }
}

fn in_seconds(ns: u64) -> Measured {
    Measured::Seconds(Seconds::new(ns as f64 / 1e9).expect("a duration in range"))
}

/// Records `records` samples from each of the writer threads concurrently, with durations in seconds if `seconds` is
/// true and in nanoseconds otherwise. Each sample's end time is the bitwise complement of the number from `duration`.
fn record_all(operation: &Operation, records: u64, seconds: bool) {
    let start = Barrier::new(WRITERS as usize);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for i in 0..records {
                    let ns = duration(writer, i);
                    let measured = match seconds {
                        true => in_seconds(ns),
                        false => Measured::Nanos(ns),
                    };
                    operation.record(!ns, measured, outcome(i), Writers::Concurrent, |_| {
                        i % 2 == 1
                    });
                }
            });
        }
    });
}

fn all_durations(records: u64) -> impl Iterator<Item = u64> {
    (0..WRITERS).flat_map(move |writer| (0..records).map(move |i| duration(writer, i)))
}

/// Returns true if the sample's end time matches its duration, which shows that one writer wrote the whole sample.
fn is_whole(sample: &Sample) -> bool {
    match sample.duration {
        Measured::Nanos(ns) => sample.end == !ns,
        Measured::Seconds(seconds) => !sample.end as f64 / 1e9 == seconds.get(),
    }
}

#[test]
fn totals_histogram_and_ring_agree_exactly_once_the_writers_stop() {
    let records = records();
    for (window, seconds) in [(1_000, false), (1_024, true), (1, false)] {
        let operation = Operation::new(b"op", window, Clock::get()).expect("a window in range");
        let second = Seconds::new(1.0).expect("a valid threshold");
        operation.block().set_threshold(Some(second));
        record_all(&operation, records, seconds);

        let expected = |matching: fn(u64) -> bool| {
            WRITERS * (0..records).filter(|&i| matching(i)).count() as u64
        };
        let totals = operation.totals();
        assert_eq!(totals.count, WRITERS * records);
        assert_eq!(totals.errors, expected(|i| outcome(i) == Outcome::Error));
        assert_eq!(
            totals.cancelled,
            expected(|i| outcome(i) == Outcome::Cancelled)
        );
        let violations = all_durations(records)
            .filter(|&ns| ns > 1_000_000_000)
            .count();
        assert_eq!(totals.violations, violations as u64);

        let nanos = |ns: u64| match seconds {
            true => in_seconds(ns).nanos(),
            false => ns,
        };
        let histogram = operation.histogram().unwrap();
        assert_eq!(histogram.count(), WRITERS * records);
        assert_eq!(
            histogram.sum_ns(),
            all_durations(records)
                .map(|ns| u128::from(nanos(ns)))
                .sum::<u128>()
        );
        assert_eq!(histogram.min_ns(), all_durations(records).map(nanos).min());
        assert_eq!(histogram.max_ns(), all_durations(records).map(nanos).max());

        // A writer that was suspended between claiming a ticket and writing the sample may have spoiled a slot.
        let copy = operation.window().unwrap();
        assert_eq!(copy.samples.len() + copy.skipped, window);
        assert!(copy.samples.iter().all(|(_, sample)| is_whole(sample)));
        let tickets: Vec<u64> = copy.samples.iter().map(|&(ticket, _)| ticket).collect();
        assert!(tickets.is_sorted_by(|a, b| a < b));
        assert!(
            tickets
                .iter()
                .all(|&t| t >= WRITERS * records - window as u64)
        );
    }
}

#[test]
fn a_ring_that_was_not_overtaken_holds_every_sample() {
    let records = if cfg!(miri) { 64 } else { 4_096 };
    let window = (WRITERS * records) as usize;
    let operation = Operation::new(b"op", window, Clock::get()).expect("a window in range");
    record_all(&operation, records, false);
    let copy = operation.window().unwrap();
    assert_eq!(copy.skipped, 0);
    let mut kept: Vec<u64> = copy
        .samples
        .iter()
        .map(|(_, s)| s.duration.nanos())
        .collect();
    let mut made: Vec<u64> = all_durations(records).collect();
    kept.sort_unstable();
    made.sort_unstable();
    assert_eq!(kept, made);
    let sum: u128 = kept.iter().map(|&ns| u128::from(ns)).sum();
    assert_eq!(operation.histogram().unwrap().sum_ns(), sum);
}

#[test]
fn readers_beside_writers_never_see_a_torn_sample() {
    let records = records();
    for window in [1, 2, 3, 64] {
        let operation = Operation::new(b"op", window, Clock::get()).expect("a window in range");
        let (done, seen) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let copy = operation.window().unwrap();
                    assert!(copy.samples.len() + copy.skipped <= window);
                    for (_, sample) in &copy.samples {
                        assert!(is_whole(sample), "torn: {sample:?}");
                    }
                    seen.fetch_add(copy.samples.len() as u64, Ordering::Relaxed);
                    let histogram = operation.histogram().unwrap();
                    assert!(histogram.count() >= last, "a count went backwards");
                    last = histogram.count();
                    assert_eq!(histogram.min_ns().is_some(), histogram.count() > 0);
                    let bytes = histogram.to_bytes().unwrap();
                    assert_eq!(
                        nanospan_record::histogram::Snapshot::from_bytes(&bytes).as_ref(),
                        Ok(&histogram),
                        "a snapshot that contradicts itself"
                    );
                    if let Some(summary) = operation.summary().unwrap() {
                        assert!(summary.count <= window && summary.min <= summary.mean);
                    }
                }
            });
            // Record more samples until the reader has seen at least one complete sample.
            while seen.load(Ordering::Relaxed) == 0 && !reader.is_finished() {
                record_all(&operation, records / 4, false);
            }
            done.store(true, Ordering::Relaxed);
            reader.join().expect("the reader's assertions hold");
        });
    }
}
