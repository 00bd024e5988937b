//! The typical value of a sample, robust against outliers.

use crate::quantiles::quantile;

/// How far from the median a value may lie, in robust standard deviations, before it is winsorised: 0.3 % of normally
/// distributed values lie further away, so a sample without outliers is hardly changed.
const WINSORISED_AT: f64 = 3.0;

/// The winsorised mean of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Location {
    /// The winsorised mean of at least two ascending values.
    #[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
    pub(super) fn of(ascending: &[f64]) -> Self {
        let median = quantile(ascending, 0.5);
        let mut away: Vec<f64> = ascending
            .iter()
            .map(|value| (value - median).abs())
            .collect();
        let middle = away.len() / 2;
        let typical = 1.4826 * *away.select_nth_unstable_by(middle, f64::total_cmp).1;
        // Where most values are equal the typical distance is 0, and every other value would be an outlier.
        let reach = if typical > 0.0 {
            WINSORISED_AT * typical
        } else {
            f64::INFINITY
        };
        let count = ascending.len() as f64;
        let winsorised = || {
            ascending
                .iter()
                .map(|value| (value - median).clamp(-reach, reach))
        };
        let mean = winsorised().sum::<f64>() / count;
        let squares = winsorised()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>();
        Self {
            count,
            mean: median + mean,
            variance: squares / (count - 1.0),
        }
    }

    /// The number of standard errors by which `other` exceeds `self`. The variance of each mean is `inflated` times
    /// that of independent values, and the standard deviations are at least `least`.
    pub(super) fn z(self, other: Self, inflated: (f64, f64), least: f64) -> f64 {
        let variance = self.variance.max(least * least) * inflated.0 / self.count
            + other.variance.max(least * least) * inflated.1 / other.count;
        if variance == 0.0 || self.mean == other.mean {
            return 0.0; // rounded values, whose ranks show any difference as well
        }
        (other.mean - self.mean) / variance.sqrt()
    }
}
