//! Estimates the typical value of a sample in a way that is robust to outliers.

use nanospan_fallible::{OutOfMemory, TryCollect};

use crate::quantiles::quantile;

/// The distance from the median, in robust standard deviations, beyond which values are winsorised. Only 0.3 % of
/// normally distributed values lie further away, so a sample without outliers is hardly changed.
const WINSORISED_AT: f64 = 3.0;

/// The winsorised mean and variance of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Location {
    /// Computes the winsorised mean and variance of `ascending`, which must hold at least two values in ascending
    /// order.
    #[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
    pub(super) fn of(ascending: &[f64]) -> Result<Self, OutOfMemory> {
        let median = quantile(ascending, 0.5);
        let mut away: Vec<f64> = ascending
            .iter()
            .map(|value| (value - median).abs())
            .try_vec()?;
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
        Ok(Self {
            count,
            mean: median + mean,
            variance: squares / (count - 1.0),
        })
    }

    /// Returns the number of standard errors by which the mean of `other` exceeds the mean of `self`. The variance of
    /// each mean is that for independent values, multiplied by the sample's factor in `inflated` (`self` first). Both
    /// standard deviations are taken to be at least `least`.
    pub(super) fn z(self, other: Self, inflated: (f64, f64), least: f64) -> f64 {
        let variance = self.variance.max(least * least) * inflated.0 / self.count
            + other.variance.max(least * least) * inflated.1 / other.count;
        if variance == 0.0 || self.mean == other.mean {
            return 0.0; // for constant samples, the rank test shows any difference
        }
        let z = (other.mean - self.mean) / variance.sqrt();
        // Not a number if the squares of huge values are infinite; again, the rank test shows any difference.
        if z.is_nan() { 0.0 } else { z }
    }
}
