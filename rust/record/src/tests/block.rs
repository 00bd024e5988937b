//! Tests of `Block`, the memory block that holds an operation's counts and samples.
//!
//! Properties: comparing a duration with the threshold gives the same result in nanoseconds as in seconds; the totals
//! and the histogram agree; lifetime statistics agree with the histogram, or with a window that holds all samples; serialised and concurrent recording leave the same state.

use proptest::prelude::*;

use super::seconds;
use crate::{
    Error, Measured, OUTCOMES, Outcome, Sample, Seconds, Totals, Writers,
    block::{Block, limit_ns},
    histogram,
    limits::MAX_SECONDS,
    ring::MAX_WINDOW,
};

fn sample(duration: Measured, outcome: Outcome) -> Sample {
    Sample {
        end: 0,
        duration,
        outcome,
        has_metadata: false,
    }
}

fn put(block: &Block, sample: Sample, writers: Writers) -> bool {
    block.record(block.claim(writers), sample, writers)
}

fn record(block: &Block, duration: Measured) -> bool {
    put(block, sample(duration, Outcome::Ok), Writers::Concurrent)
}

#[test]
fn windows_out_of_range_are_refused() {
    assert_eq!(
        Block::new(0).unwrap_err(),
        Error::Window {
            given: 0,
            most: MAX_WINDOW
        }
    );
    assert_eq!(
        Block::new(MAX_WINDOW + 1).unwrap_err(),
        Error::Window {
            given: MAX_WINDOW + 1,
            most: MAX_WINDOW
        }
    );
}

#[test]
fn a_block_with_the_default_window_takes_128_kib() {
    assert_eq!(Block::words(1_000) * size_of::<u64>() / 1024, 128);
}

#[test]
fn the_window_keeps_exactly_its_length_whatever_the_rings_capacity() {
    for window in [1, 3, 8, 1_000] {
        let block = Block::new(window).unwrap();
        for ns in 0..2_500 {
            record(&block, Measured::Nanos(ns));
        }
        let kept: Vec<_> = block.samples().map(|(_, s)| s.unwrap().duration).collect();
        let expected: Vec<_> = (2_500 - window as u64..2_500)
            .map(Measured::Nanos)
            .collect();
        assert_eq!(kept, expected);
        assert_eq!(block.totals().count, 2_500);
    }
}

#[test]
fn clearing_forgets_samples_and_keeps_the_threshold() {
    let block = Block::new(10).unwrap();
    block.set_threshold(Some(seconds(1e-9)));
    for ns in 0..100 {
        record(&block, Measured::Nanos(ns));
    }
    put(
        &block,
        sample(Measured::Nanos(5), Outcome::Error),
        Writers::Concurrent,
    );
    block.clear();
    assert_eq!(block.samples().len(), 0);
    for outcome in OUTCOMES {
        assert_eq!(
            block.histogram(outcome).unwrap(),
            histogram::Snapshot::default()
        );
    }
    let empty = Totals {
        count: 0,
        errors: 0,
        cancelled: 0,
        violations: 0,
    };
    assert_eq!(block.totals(), empty);
    assert_eq!(block.threshold(), Some(seconds(1e-9)));
    record(&block, Measured::Nanos(7));
    assert_eq!(block.histogram(Outcome::Ok).unwrap().sum_ns(), 7);
    assert_eq!(block.samples().len(), 1);
}

#[test]
fn each_outcome_has_a_histogram_of_its_own() {
    let block = Block::new(10).unwrap();
    for (ns, outcome) in [
        (1, Outcome::Ok),
        (20, Outcome::Error),
        (300, Outcome::Cancelled),
    ] {
        put(
            &block,
            sample(Measured::Nanos(ns), outcome),
            Writers::Concurrent,
        );
        let histogram = block.histogram(outcome).unwrap();
        assert_eq!(
            (
                histogram.count(),
                histogram.sum_ns(),
                histogram.min_ns(),
                histogram.max_ns()
            ),
            (1, u128::from(ns), Some(ns), Some(ns))
        );
    }
}

#[test]
fn only_durations_strictly_over_the_threshold_violate() {
    let block = Block::new(10).unwrap();
    assert!(!record(&block, Measured::Nanos(u64::MAX)));
    block.set_threshold(Some(seconds(0.1)));
    assert!(!record(&block, Measured::Nanos(100_000_000)));
    assert!(record(&block, Measured::Nanos(100_000_001)));
    assert!(!record(&block, Measured::Seconds(seconds(0.1))));
    assert!(record(
        &block,
        Measured::Seconds(seconds(0.1_f64.next_up()))
    ));
    assert_eq!(block.totals().violations, 2);
    block.set_threshold(Some(seconds(0.0)));
    assert!(!record(&block, Measured::Nanos(0)));
    assert!(record(&block, Measured::Nanos(1)));
    block.set_threshold(None);
    assert!(!record(&block, Measured::Seconds(seconds(MAX_SECONDS))));
}

#[test]
fn sums_do_not_wrap_at_64_bits() {
    let block = Block::new(1).unwrap();
    for _ in 0..5 {
        record(&block, Measured::Seconds(seconds(MAX_SECONDS)));
    }
    assert_eq!(
        block.histogram(Outcome::Ok).unwrap().sum_ns(),
        u128::from(u64::MAX) * 5
    );
}

#[test]
fn seconds_are_not_negative_and_fit_into_64_bits_of_nanoseconds() {
    for bad in [
        -1.0,
        -f64::MIN_POSITIVE,
        MAX_SECONDS.next_up(),
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert_eq!(Seconds::new(bad), Err(Error::Seconds(bad)));
    }
    assert!(Seconds::new(f64::NAN).is_err());
    for good in [0.0, -0.0, f64::MIN_POSITIVE, 0.1, MAX_SECONDS] {
        assert_eq!(seconds(good).get().to_bits(), good.to_bits());
    }
    assert_eq!(Measured::Nanos(u64::MAX).seconds(), MAX_SECONDS);
    assert_eq!(seconds(MAX_SECONDS).nanos(), u64::MAX);
    assert!(seconds(MAX_SECONDS.next_down()).nanos() < u64::MAX);
}

proptest! {
    #[test]
    fn nanoseconds_and_seconds_agree_on_the_threshold(
        threshold in prop_oneof![0.0..1e-6, 0.0..10.0, 0.0..1e9, Just(MAX_SECONDS)],
        near in -3_i64..=3,
    ) {
        let limit = limit_ns(threshold);
        let ns = limit.saturating_add_signed(near);
        prop_assert_eq!(ns > limit, Measured::Nanos(ns).seconds() > threshold);
    }

    #[test]
    fn the_histogram_agrees_with_the_totals(
        values in proptest::collection::vec((1_u64.., 0_u32..64).prop_map(|(v, s)| v >> s), 0..200),
    ) {
        let block = Block::new(16).unwrap();
        for &ns in &values {
            record(&block, Measured::Nanos(ns));
        }
        let histogram = block.histogram(Outcome::Ok).unwrap();
        prop_assert_eq!(histogram.count(), block.totals().count);
        prop_assert_eq!(histogram.sum_ns(), values.iter().map(|&v| u128::from(v)).sum());
        prop_assert_eq!(histogram.min_ns(), values.iter().min().copied());
        prop_assert_eq!(histogram.max_ns(), values.iter().max().copied());
    }

    #[test]
    fn lifetime_statistics_cover_all_samples(
        values in proptest::collection::vec(
            ((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..OUTCOMES.len()), 1..100,
        ),
    ) {
        let block = Block::new(16).unwrap();
        for &(ns, outcome) in &values {
            put(&block, sample(Measured::Nanos(ns), OUTCOMES[outcome]), Writers::Concurrent);
        }
        let window = block.summary().unwrap().unwrap();
        let got = block.lifetime(&window).unwrap();
        if values.len() <= 16 {
            prop_assert_eq!(got, (&window).into());
            return Ok(());
        }
        let [mut all, rest @ ..] = OUTCOMES.map(|outcome| block.histogram(outcome).unwrap());
        rest.iter().for_each(|part| all.merge(part).unwrap());
        let quantile = |q| all.quantile(q).unwrap().unwrap() / 1e9;
        prop_assert_eq!([got.p50, got.p95, got.p99, got.p999], [0.5, 0.95, 0.99, 0.999].map(quantile));
        let exact = |ns: Option<u64>| Measured::Nanos(ns.unwrap()).seconds();
        prop_assert_eq!((got.min, got.max), (exact(all.min_ns()), exact(all.max_ns())));
        let mean = all.sum_ns() as f64 / values.len() as f64 / 1e9;
        prop_assert!((got.mean - mean).abs() <= f64::EPSILON * mean);
        block.clear();
        put(&block, sample(Measured::Nanos(7), Outcome::Ok), Writers::Concurrent);
        let cleared = block.summary().unwrap().unwrap();
        prop_assert_eq!(block.lifetime(&cleared).unwrap(), (&cleared).into());
    }

    #[test]
    fn serialised_records_leave_what_concurrent_ones_leave(
        values in proptest::collection::vec(
            ((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..OUTCOMES.len()), 0..100,
        ),
    ) {
        let [concurrent, serialised] = [Writers::Concurrent, Writers::Serialised].map(|writers| {
            let block = Block::new(16).unwrap();
            block.set_threshold(Some(seconds(1e-6)));
            let over: Vec<_> = values
                .iter()
                .map(|&(ns, o)| put(&block, sample(Measured::Nanos(ns), OUTCOMES[o]), writers))
                .collect();
            let samples: Vec<_> = block.samples().collect();
            (over, block.totals(), samples, OUTCOMES.map(|outcome| block.histogram(outcome).unwrap()))
        });
        prop_assert_eq!(concurrent, serialised);
    }
}
