//! Tests of histogram snapshots.
//!
//! Properties: for every distribution, quantiles are within the stated error of the exact quantiles; merging is
//! associative and commutative, and gives the same result as recording all values in one histogram; coarsening gives
//! the same result as recording at the coarser scale. Numbers that are inconsistent, because they were read while
//! values were being recorded, are reconciled.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use proptest::{collection::vec, prelude::*};

use super::recorded;
use crate::{
    Error,
    histogram::{
        Snapshot,
        config::{MAX_INDEX, MIN_SCALE, index_of, lower_bound},
    },
};

const HOUR: f64 = 3.6e12;
const SECOND: u64 = 1_000_000_000;

fn durations() -> impl Strategy<Value = Vec<u64>> {
    // All orders of magnitude up to about an hour are equally likely.
    vec(
        (0_u64..4_000_000_000_000, 0_u32..42).prop_map(|(v, s)| v >> s),
        0..300,
    )
}

fn whole(ns: f64) -> u64 {
    ns.clamp(1.0, HOUR) as u64
}

/// Generates standard normal random numbers by the Box-Muller method.
fn normal() -> impl Strategy<Value = f64> {
    (f64::MIN_POSITIVE..1.0, 0.0..std::f64::consts::TAU)
        .prop_map(|(u, angle)| (-2.0 * u.ln()).sqrt() * angle.cos())
}

/// Generates durations from 1 ns to an hour with uniform, lognormal, Pareto, bimodal or constant distributions.
fn shaped() -> impl Strategy<Value = Vec<u64>> {
    let size = 1..1_000_usize;
    let median = (0.0..HOUR.ln()).prop_map(f64::exp);
    prop_oneof![
        // Uniform.
        (1.0..HOUR).prop_flat_map({
            let size = size.clone();
            move |most| vec((1.0..=most).prop_map(whole), size.clone())
        }),
        // Lognormal.
        (median.clone(), 0.01..3.0, vec(normal(), size.clone())).prop_map(
            |(median, width, z): (f64, f64, Vec<f64>)| z
                .iter()
                .map(|z| whole(median * (width * z).exp()))
                .collect()
        ),
        // Pareto.
        (
            median.clone(),
            0.5..5.0,
            vec(f64::MIN_POSITIVE..1.0, size.clone())
        )
            .prop_map(|(least, shape, u): (f64, f64, Vec<f64>)| u
                .iter()
                .map(|u| whole(least * u.powf(-1.0 / shape)))
                .collect()),
        // Bimodal.
        (
            median.clone(),
            2.0..1e6,
            0.0..1.0,
            vec((0.0..1.0, normal()), size.clone())
        )
            .prop_map(
                |(fast, ratio, share, draws): (f64, f64, f64, Vec<(f64, f64)>)| draws
                    .iter()
                    .map(|&(u, z)| whole(
                        fast * if u < share { 1.0 } else { ratio } * (0.1 * z).exp()
                    ))
                    .collect()
            ),
        // Constant.
        (median, size).prop_map(|(value, n)| vec![whole(value); n]),
    ]
}

fn merged(mut a: Snapshot, b: &Snapshot) -> Snapshot {
    a.merge(b).expect("few values");
    a
}

/// Returns the index of the bucket that holds `value` at `scale`, by definition: the smallest i with value <= 10^9 *
/// base^(i + 1). It is computed with integers, independently of the code under test.
fn defined_index(value: u64, scale: i32) -> i32 {
    // The smallest n with value^p <= (10^9)^p * 2^n, where base = 2^(1/p) from scale 0 on, and p = 1 below it.
    let power = 1 << scale.max(0);
    let value = BigUint::from(value).pow(power);
    let second = BigUint::from(SECOND).pow(power);
    let least = if value > second {
        let quotient = (value + &second - 1_u8) / second;
        i64::try_from((quotient - 1_u8).bits()).expect("at most 64 * 64 bits")
    } else {
        // value * 2^k <= second holds exactly if 2^k is at most the quotient's whole part.
        1 - i64::try_from((second / value).bits()).expect("at most 30 * 64 bits")
    };
    // Below scale 0 a bucket spans 2^-scale octaves.
    let octaves = 1_i64 << (-scale).max(0);
    i32::try_from(-(-least).div_euclid(octaves) - 1).expect("few buckets")
}

#[test]
fn an_empty_histogram_has_no_quantile() {
    let empty = recorded(&[]);
    assert_eq!(empty, Snapshot::default());
    assert_eq!(empty.quantile(0.5), Ok(None));
    assert_eq!((empty.min_ns(), empty.max_ns()), (None, None));
}

#[test]
fn quantiles_outside_zero_to_one_are_refused() {
    for q in [-0.1, 1.1, f64::INFINITY] {
        assert_eq!(recorded(&[1]).quantile(q), Err(Error::Quantile(q)));
    }
    assert!(recorded(&[1]).quantile(f64::NAN).is_err());
}

#[test]
fn a_bucket_on_each_side_of_a_second_remains_at_the_coarsest_scales() {
    for scale in [MIN_SCALE, -40, i32::MIN] {
        let coarse = recorded(&[SECOND + 1, 2 * SECOND, u64::MAX])
            .at_scale(scale)
            .unwrap();
        assert_eq!(coarse.buckets().collect::<Vec<_>>(), [(0, 3)]);
        assert_eq!(coarse.scale(), MIN_SCALE);
        assert_eq!(coarse.quantile(0.5), Ok(Some(2e9)));
        let one = recorded(&[1, SECOND]).at_scale(scale).unwrap();
        assert_eq!(one.buckets().collect::<Vec<_>>(), [(-1, 2)]);
        assert_eq!(one.quantile(0.5), Ok(Some(1.0)));
    }
}

#[test]
fn more_values_than_can_be_counted_are_refused_and_change_nothing() {
    let full = |value: u64| {
        let all = u128::from(u64::MAX) * u128::from(value);
        let index = index_of(value);
        Snapshot::new(0, index, vec![u64::MAX], all, value, value)
    };
    for (mut a, b) in [
        (full(u64::MAX), full(u64::MAX)),
        (full(5), recorded(&[0])),
        (recorded(&[u64::MAX]), full(1)),
    ] {
        let before = a.clone();
        assert_eq!(a.merge(&b), Err(Error::TooManyValues));
        assert_eq!(a, before);
        assert_eq!(merged(a, &recorded(&[])), before);
    }
    let almost = Snapshot::new(0, MAX_INDEX, vec![u64::MAX - 1], u128::MAX, 0, u64::MAX);
    assert_eq!(merged(almost, &recorded(&[u64::MAX])).count(), u64::MAX);
}

#[test]
fn inconsistent_numbers_read_in_flight_are_reconciled() {
    // In turn: a new minimum whose bucket has not been counted yet, a sum that is too small, and one that is too large.
    let minimum = Snapshot::new(0, index_of(2), vec![3], 6, 1, 2);
    assert_eq!((minimum.min_ns(), minimum.sum_ns()), (Some(2), 6));
    let lagging = Snapshot::new(1, index_of(2), vec![2], 2, 0, 2);
    assert_eq!(lagging.sum_ns(), 4);
    let ahead = Snapshot::new(0, index_of(2), vec![1], u128::MAX, 2, 1_000);
    assert_eq!((ahead.sum_ns(), ahead.max_ns()), (2, Some(2)));
    // No value has been counted yet.
    assert_eq!(
        Snapshot::new(0, 5, vec![0; 9], 7, 1, 2),
        Snapshot::default()
    );
}

proptest! {
    #[test]
    fn quantiles_are_within_the_stated_error(
        values in prop_oneof![shaped(), durations()], q in 0.0..=1.0_f64,
    ) {
        prop_assume!(!values.is_empty());
        let snapshot = recorded(&values);
        let mut sorted = values;
        sorted.sort_unstable();
        for q in [q, 0.0, 0.5, 0.95, 0.99, 0.999, 1.0] {
            let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
            let exact = sorted[rank - 1] as f64;
            let estimate = snapshot.quantile(q).unwrap().unwrap();
            prop_assert!((estimate - exact).abs() <= 0.0055 * exact);
        }
    }

    #[test]
    fn merging_equals_recording_everything(a in durations(), b in durations()) {
        let together = recorded(&[a.clone(), b.clone()].concat());
        let (a, b) = (recorded(&a), recorded(&b));
        prop_assert_eq!(merged(a.clone(), &b), together.clone());
        prop_assert_eq!(merged(b, &a), together);
    }

    #[test]
    fn merging_is_associative_at_any_scales(
        a in durations(), b in durations(), c in durations(), i in -10..=6_i32, j in -10..=6_i32,
    ) {
        let (a, b, c) = (recorded(&a).at_scale(i).unwrap(), recorded(&b).at_scale(j).unwrap(), recorded(&c));
        prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a, &merged(b, &c)));
    }

    #[test]
    fn a_coarser_scale_equals_recording_at_that_scale(
        values in durations(), scale in -10..=6_i32, extreme in any::<u64>(),
    ) {
        let values = [values, vec![extreme]].concat();
        let coarse = recorded(&values).at_scale(scale).unwrap();
        let mut defined = BTreeMap::new();
        for &value in values.iter().filter(|&&value| value > 0) {
            *defined.entry(defined_index(value, scale)).or_insert(0) += 1;
        }
        prop_assert_eq!(coarse.buckets().collect::<BTreeMap<_, _>>(), defined);
        prop_assert_eq!(coarse.count(), values.len() as u64);
        let bounds = coarse.buckets().map(|(i, _)| lower_bound(i, scale));
        prop_assert!(bounds.is_sorted());
    }

    #[test]
    fn buckets_are_limited_at_the_first_scale_that_suffices(values in durations(), most in 2..200_usize) {
        let snapshot = recorded(&values);
        let limited = snapshot.with_at_most(most).unwrap();
        prop_assert!(limited.buckets().count() <= most);
        prop_assert_eq!(&limited, &snapshot.at_scale(limited.scale()).unwrap());
        if limited.scale() < snapshot.scale() {
            prop_assert!(snapshot.at_scale(limited.scale() + 1).unwrap().buckets().count() > most);
        }
    }

    #[test]
    fn complete_records_need_no_reconciling(values in vec(any::<u64>(), 1..50)) {
        let snapshot = recorded(&values);
        prop_assert_eq!(snapshot.sum_ns(), values.iter().map(|&v| u128::from(v)).sum::<u128>());
        prop_assert_eq!(snapshot.min_ns(), values.iter().min().copied());
        prop_assert_eq!(snapshot.max_ns(), values.iter().max().copied());
    }
}
