//! A history: where did the level change?

use super::{
    Values,
    dependence::{inflation, lag_one},
    normal::{critical, two_sided},
    partition::partition,
    quantiles::quantile,
    ranks::{RankSum, order, ranks},
    shift::Differences,
};

/// How many values are partitioned at once, and by how many the windows advance.
const WINDOW: usize = 512;
const STRIDE: usize = 256;

/// The probability that an interval misses the true ratio.
const ALPHA: f64 = 0.01;

/// When a change of level counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistorySettings {
    /// How much better two segments must fit than one, in values that differ entirely.
    pub penalty: f64,
    /// The fewest values that make a level.
    pub min_size: usize,
    /// The least standardised difference between neighbouring levels.
    pub z: f64,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            penalty: 3.0,
            min_size: 3,
            z: 2.8,
        }
    }
}

/// Where the level of a history changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// The first value at the new level.
    pub index: usize,
    /// The median of the level before.
    pub before: f64,
    /// The median of the level from here on.
    pub after: f64,
    /// The level after as a multiple of the one before.
    pub ratio: f64,
    /// The interval that holds the true ratio with probability 0.99.
    pub ci: (f64, f64),
    /// The probability of so large a difference when nothing changed.
    pub p_value: f64,
}

/// Finds where the level of `history` changed.
#[must_use]
pub fn change_points(history: &Values, settings: &HistorySettings) -> Vec<ChangePoint> {
    let logarithmic = history.all_positive();
    let mut series = history.scaled(logarithmic);
    let Some(noise) = noise(&series) else {
        return Vec::new();
    };
    series.iter_mut().for_each(|value| *value /= noise);
    let mut starts = windows(&series, settings);
    prune(&series, &mut starts, settings.z);
    describe(history, &series, noise, logarithmic, &starts)
}

/// The standard deviation of the values about their level, from their differences, which hardly any change
/// of level shows in.
fn noise(series: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> = series
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .collect();
    if steps.is_empty() {
        return None;
    }
    steps.sort_unstable_by(f64::total_cmp);
    let median = 1.4826 * quantile(&steps, 0.5) / std::f64::consts::SQRT_2;
    if median > 0.0 {
        return Some(median);
    }
    // Most values equal their neighbours: what is left is the mean step.
    #[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
    let mean = steps.iter().sum::<f64>() / steps.len() as f64;
    (mean > 0.0).then_some(mean)
}

fn windows(series: &[f64], settings: &HistorySettings) -> Vec<usize> {
    let n = series.len();
    let mut starts = Vec::new();
    let mut begin = 0;
    loop {
        let end = (begin + WINDOW).min(n);
        let own = if begin == 0 {
            0
        } else {
            begin + (WINDOW - STRIDE) / 2
        };
        let until = if end == n {
            n
        } else {
            end - (WINDOW - STRIDE) / 2
        };
        starts.extend(
            partition(&series[begin..end], settings.penalty, settings.min_size)
                .into_iter()
                .map(|start| begin + start)
                .filter(|start| (own..until).contains(start)),
        );
        if end == n {
            return starts;
        }
        begin += STRIDE;
    }
}

/// Removes the weakest change again and again, until each of those left is as strong as `z`.
fn prune(series: &[f64], starts: &mut Vec<usize>, z: f64) {
    let strength = |starts: &[usize], at: usize| {
        let before = if at == 0 { 0 } else { starts[at - 1] };
        let after = starts.get(at + 1).copied().unwrap_or(series.len());
        evidence(&series[before..starts[at]], &series[starts[at]..after]).abs()
    };
    let mut strengths: Vec<f64> = (0..starts.len()).map(|at| strength(starts, at)).collect();
    while let Some((weakest, &least)) = strengths
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(b.1))
    {
        if least >= z {
            return;
        }
        starts.remove(weakest);
        strengths.remove(weakest);
        if weakest > 0 {
            strengths[weakest - 1] = strength(starts, weakest - 1);
        }
        if weakest < starts.len() {
            strengths[weakest] = strength(starts, weakest);
        }
    }
}

/// The standardised difference of two neighbouring levels.
fn evidence(before: &[f64], after: &[f64]) -> f64 {
    let sorted = |values: &[f64]| {
        let order = order(values);
        let rho = lag_one(&ranks(values, &order));
        let sorted: Vec<f64> = order.iter().map(|&place| values[place as usize]).collect();
        (sorted, rho)
    };
    let (x, rho_x) = sorted(before);
    let (y, rho_y) = sorted(after);
    RankSum::of(&x, &y).z(inflation(rho_x.max(rho_y)))
}

fn describe(
    history: &Values,
    series: &[f64],
    noise: f64,
    logarithmic: bool,
    starts: &[usize],
) -> Vec<ChangePoint> {
    let bounds: Vec<usize> = std::iter::once(0)
        .chain(starts.iter().copied())
        .chain(std::iter::once(series.len()))
        .collect();
    let median = |range: std::ops::Range<usize>| {
        let mut values = history.as_slice()[range].to_vec();
        values.sort_unstable_by(f64::total_cmp);
        quantile(&values, 0.5)
    };
    bounds
        .windows(3)
        .map(|bounds| {
            let (begin, index, end) = (bounds[0], bounds[1], bounds[2]);
            let (before, after) = (median(begin..index), median(index..end));
            let mut x = series[begin..index].to_vec();
            let mut y = series[index..end].to_vec();
            x.sort_unstable_by(f64::total_cmp);
            y.sort_unstable_by(f64::total_cmp);
            let rank_sum = RankSum::of(&x, &y);
            let half = critical(ALPHA) * rank_sum.variance.sqrt();
            let mut differences = Differences::new(&x, &y);
            let (low, high) = differences.interval(half);
            let ratio = |difference: f64| {
                if logarithmic {
                    (difference * noise).exp()
                } else {
                    1.0 + difference * noise / before.abs()
                }
            };
            ChangePoint {
                index,
                before,
                after,
                ratio: ratio(differences.median()),
                ci: (ratio(low), ratio(high)),
                p_value: two_sided(evidence(&series[begin..index], &series[index..end])),
            }
        })
        .collect()
}
