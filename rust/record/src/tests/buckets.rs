//! Tests of the bucket arithmetic.
//!
//! Every bucket begins and ends exactly where OpenTelemetry's definition says, which is checked in integer arithmetic
//! at every index. A bucket's representative is within the stated error of every value in the bucket.

use num_bigint::BigUint;
use proptest::prelude::*;

use crate::histogram::config::{
    BUCKETS, MAX_INDEX, MIN_INDEX, RELATIVE_ERROR, SCALE, index_of, largest_up_to, lower_bound,
    representative,
};

fn power_of_two(exponent: u32) -> BigUint {
    BigUint::from(1_u8) << exponent
}

/// Returns true if `value` is at or below the upper bound of bucket `index`: value <= 10^9 * base^(index + 1), where
/// base = 2^(1/64). Both sides are raised to the 64th power and scaled to whole numbers.
fn at_or_below_end(value: u64, index: i32) -> bool {
    let (value, second) = (BigUint::from(value), BigUint::from(1_000_000_000_u64));
    let end = index + 1;
    let (more, less) = (end.max(0).unsigned_abs(), end.min(0).unsigned_abs());
    value.pow(64) * power_of_two(less) <= second.pow(64) * power_of_two(more)
}

/// Returns true if `value` belongs in bucket `index`: 10^9 * base^index < value <= 10^9 * base^(index + 1).
fn belongs(value: u64, index: i32) -> bool {
    let above_start = index == MIN_INDEX || !at_or_below_end(value, index - 1);
    above_start && at_or_below_end(value, index)
}

#[test]
fn every_bucket_ends_where_its_definition_says() {
    let mut indices = 0;
    for index in MIN_INDEX..=MAX_INDEX {
        let last = largest_up_to(index);
        assert!(at_or_below_end(last, index), "{index}");
        match last.checked_add(1) {
            Some(next) => assert!(!at_or_below_end(next, index), "{index}"),
            None => assert_eq!(index, MAX_INDEX),
        }
        indices += 1;
    }
    assert_eq!(indices, BUCKETS);
    assert_eq!(largest_up_to(MIN_INDEX - 1), 0);
}

#[test]
fn every_value_beside_a_boundary_is_indexed_by_the_definition() {
    for index in MIN_INDEX..=MAX_INDEX {
        let last = largest_up_to(index);
        for value in [last.saturating_sub(1), last, last.saturating_add(1)] {
            if value > 0 {
                assert!(belongs(value, index_of(value)), "{value}");
            }
        }
    }
}

#[test]
fn floating_point_bounds_are_the_exact_ones_rounded() {
    for index in MIN_INDEX..MAX_INDEX {
        // The expected bound is a whole number of nanoseconds, rounded down, so small bounds may differ by up to 1 ns.
        let (bound, exact) = (lower_bound(index + 1, SCALE), largest_up_to(index) as f64);
        assert!(
            (bound - exact).abs() <= 1.0_f64.max(exact * 1e-15),
            "{index}: {bound} {exact}"
        );
    }
}

#[test]
fn values_from_1_ns_to_an_hour_are_within_the_stated_error() {
    for index in MIN_INDEX..=index_of(3_600_000_000_000) {
        let values = largest_up_to(index - 1) + 1..=largest_up_to(index);
        for value in [*values.start(), *values.end()] {
            if !values.is_empty() {
                let error = (representative(index, SCALE) / value as f64 - 1.0).abs();
                assert!(error <= RELATIVE_ERROR * (1.0 + 1e-9), "{index}: {error}");
                assert!(error <= 0.0055);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_value_is_indexed_by_its_definition(value in 1_u64.., shift in 0_u32..64) {
        let value = (value >> shift).max(1);
        prop_assert!(belongs(value, index_of(value)));
    }

    #[test]
    fn the_representative_is_within_the_stated_error(value in 1_u64.., shift in 0_u32..64) {
        let value = (value >> shift).max(1);
        let estimate = representative(index_of(value), SCALE);
        let exact = value as f64;
        prop_assert!((estimate - exact).abs() <= RELATIVE_ERROR * exact * (1.0 + 1e-9));
    }
}
