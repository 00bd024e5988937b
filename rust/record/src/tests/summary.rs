//! Tests of window statistics.
//!
//! Properties: percentiles equal NumPy's to the last bit; mean and standard deviation agree with exact arithmetic
//! except in their last bits; an operation's summary equals the summary computed from a copy of its window.

use num_bigint::BigUint;
use proptest::{collection::vec, prelude::*};

use super::seconds;
use crate::{Clock, Measured, Operation, Outcome, Sample, Summary, Writers, limits::MAX_SECONDS};

fn sample(duration: Measured) -> Sample {
    Sample {
        end: 0,
        duration,
        outcome: Outcome::Ok,
        has_metadata: false,
    }
}

fn in_seconds(value: f64) -> Measured {
    Measured::Seconds(seconds(value))
}

fn measured() -> impl Strategy<Value = Measured> {
    prop_oneof![
        4 => (any::<u64>(), 0_u32..64).prop_map(|(v, s)| Measured::Nanos(v >> s)),
        4 => (1_000_000_u64..1_100_000).prop_map(Measured::Nanos),
        4 => (0.0..1e-3).prop_map(in_seconds),
        4 => (0.0..1e3).prop_map(in_seconds),
        2 => Just(in_seconds(0.25)),
        1 => Just(in_seconds(0.0)),
        1 => Just(in_seconds(-0.0)),
        1 => Just(in_seconds(f64::MIN_POSITIVE)),
        1 => (0.0..=MAX_SECONDS).prop_map(in_seconds),
    ]
}

/// Computes a quantile by NumPy's `linear` method, step by step as in NumPy's internal `_quantile` and `_lerp`.
fn numpy_linear(sorted: &[f64], q: f64) -> f64 {
    let virtual_index = (sorted.len() - 1) as f64 * q;
    let previous = virtual_index.floor();
    let t = virtual_index - previous;
    let a = sorted[previous as usize];
    let b = sorted[(previous as usize + 1).min(sorted.len() - 1)];
    if t >= 0.5 {
        b - (b - a) * (1.0 - t)
    } else {
        a + (b - a) * t
    }
}

proptest! {
    #[test]
    fn percentiles_equal_numpys(
        values in prop_oneof![vec(measured(), 1..300), vec(measured(), 1_000)],
    ) {
        let mut sorted: Vec<f64> = values.iter().map(|m| m.seconds() + 0.0).collect();
        sorted.sort_by(f64::total_cmp);
        let got = Summary::of(values.into_iter().map(sample)).unwrap().unwrap();
        prop_assert_eq!(
            [got.p50, got.p95, got.p99, got.p999],
            [0.5, 0.95, 0.99, 0.999].map(|q| numpy_linear(&sorted, q))
        );
        prop_assert_eq!((got.min, got.max), (sorted[0], sorted[sorted.len() - 1]));
        prop_assert!(got.min <= got.mean && got.mean <= got.max);
        prop_assert!(got.stddev.is_finite());
    }

    #[test]
    fn mean_and_deviation_are_exact_but_for_their_last_bits(
        base in 0_u64..1 << 40, spread in 1_u32..40,
        draws in vec(any::<u64>(), 1..500),
    ) {
        let values: Vec<u64> = draws.iter().map(|d| base + (d >> (64 - spread))).collect();
        let got = Summary::of(values.iter().map(|&ns| sample(Measured::Nanos(ns)))).unwrap().unwrap();
        let (n, sum) = (values.len() as u64, values.iter().map(|&v| u128::from(v)).sum::<u128>());
        let mean = sum as f64 / (n as f64 * 1e9);
        prop_assert!((got.mean - mean).abs() <= 4.0 * f64::EPSILON * mean);
        // n * (sum of squares) - (square of the sum), in arbitrary-precision integers.
        let squares: BigUint = values.iter().map(|&v| BigUint::from(v) * v).sum();
        let scatter = squares * n - BigUint::from(sum) * sum;
        let scatter: f64 = scatter.to_string().parse().unwrap();
        let exact = scatter.sqrt() / n as f64 / 1e9;
        // Durations in seconds are rounded to their last bit, which limits the accuracy of small deviations.
        prop_assert!((got.stddev - exact).abs() <= 1e-14 * exact + f64::EPSILON * mean);
    }

    #[test]
    fn an_operations_summary_is_that_of_its_window(
        values in vec(measured(), 0..100), window in 1_usize..40,
    ) {
        let operation = Operation::new(b"op", window, Clock::get()).unwrap();
        for (end, value) in values.into_iter().enumerate() {
            let outcome = [Outcome::Ok, Outcome::Error, Outcome::Cancelled][end % 3];
            operation.record(end as u64, value, outcome, Writers::Concurrent, |_| false);
            let copy = operation.window().unwrap().samples.into_iter().map(|(_, sample)| sample);
            prop_assert_eq!(operation.summary().unwrap(), Summary::of(copy).unwrap());
        }
    }
}

#[test]
fn one_percentile_position_far_from_the_rest_is_still_exact() {
    // Nearly all samples fall into the same part in the radix pass.
    for outlier in [0.0, MAX_SECONDS] {
        let mut values: Vec<f64> = (0..999)
            .map(|i| 1.0 + f64::from(i * 7919 % 999) * 1e-12)
            .collect();
        values.push(outlier);
        let got = Summary::of(values.iter().map(|&s| sample(in_seconds(s))))
            .unwrap()
            .unwrap();
        values.sort_by(f64::total_cmp);
        assert_eq!(got.p50, numpy_linear(&values, 0.5));
        assert_eq!(got.p999, numpy_linear(&values, 0.999));
    }
}
