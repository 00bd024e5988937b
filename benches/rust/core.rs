//! Benchmarks of the recording core without Python: recording, bucket indexing, snapshots, merging, quantiles,
//! summaries.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "running out of memory may end a benchmark"
)]
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nanospan_benches::{Random, full_operation};
use nanospan_record::{
    Clock, Measured, Outcome, Seconds, Summary, Writers, histogram::config::index_of,
};

/// The number of different durations in a benchmark: too many for the processor's branch predictor to memorise.
const VALUES: usize = 4_096;

fn latencies() -> Vec<u64> {
    let mut random = Random(7);
    (0..VALUES).map(|_| random.latency_ns()).collect()
}

fn as_seconds(ns: u64) -> Measured {
    Measured::Seconds(Seconds::new(Measured::Nanos(ns).seconds()).expect("a finite number"))
}

fn recording(criterion: &mut Criterion) {
    let values = latencies();
    let operation = full_operation(1, Measured::Nanos);
    let clock = Clock::get();
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(VALUES as u64));
    group.bench_function("index", |b| {
        b.iter(|| {
            values
                .iter()
                .fold(0, |sum, &v| sum + index_of(black_box(v)))
        });
    });
    for (name, writers) in [
        ("record", Writers::Concurrent),
        ("serialised record", Writers::Serialised),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                for &ns in &values {
                    let duration = Measured::Nanos(black_box(ns));
                    operation.record(ns, duration, Outcome::Ok, writers, |_| false);
                }
            });
        });
    }
    group.bench_function("two clock reads and a record", |b| {
        b.iter(|| {
            for _ in 0..VALUES {
                let start = clock.ticks();
                let end = clock.ticks();
                let ns = clock.nanos_between(start, end);
                operation.record(
                    end,
                    Measured::Nanos(ns),
                    Outcome::Ok,
                    Writers::Concurrent,
                    |_| false,
                );
            }
        });
    });
    group.finish();
    let recorded = operation.histogram().unwrap();
    assert_eq!(recorded.count(), operation.totals().count);
}

fn histogram(criterion: &mut Criterion) {
    let operation = full_operation(2, Measured::Nanos);
    let snapshot = operation.histogram().unwrap();
    let other = full_operation(3, Measured::Nanos).histogram().unwrap();
    assert_eq!(snapshot.count(), 2_000);
    let mut group = criterion.benchmark_group("histogram");
    group.bench_function("snapshot", |b| {
        b.iter(|| black_box(&operation).histogram().unwrap())
    });
    group.bench_function("quantile", |b| {
        b.iter(|| black_box(&snapshot).quantile(black_box(0.99)));
    });
    group.bench_function("merge", |b| {
        b.iter_batched_ref(
            || snapshot.try_clone().unwrap(),
            |into| into.merge(black_box(&other)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn summaries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window of 1,000");
    for (name, measured) in [
        ("nanoseconds", Measured::Nanos as fn(u64) -> Measured),
        ("seconds", as_seconds),
    ] {
        let operation = full_operation(4, measured);
        let samples = || operation.block().samples().filter_map(|(_, sample)| sample);
        assert_eq!(operation.summary().unwrap().map(|s| s.count), Some(1_000));
        assert_eq!(
            operation.summary().unwrap(),
            Summary::of(samples()).unwrap()
        );
        group.bench_function(format!("summary of {name}"), |b| {
            b.iter(|| black_box(&operation).summary().unwrap());
        });
        group.bench_function(format!("summary of a copy of {name}"), |b| {
            b.iter(|| Summary::of(samples()).unwrap());
        });
        group.bench_function(format!("copy of {name}"), |b| {
            b.iter(|| operation.window().unwrap())
        });
    }
    group.finish();
}

criterion_group! {
    name = core;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = recording, histogram, summaries
}
criterion_main!(core);
