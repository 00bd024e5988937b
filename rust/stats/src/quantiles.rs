//! Quantiles of a sample, and their standard errors.

use statrs::function::beta::beta_reg;

/// The quantile `q` of values in ascending order, by definition 7 of Hyndman and Fan ("Sample quantiles in statistical
/// packages", 1996).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks of values in memory"
)]
pub(super) fn quantile(ascending: &[f64], q: f64) -> f64 {
    let last = ascending.len() - 1;
    let position = q * last as f64;
    let low = position.floor();
    let (a, b) = (
        ascending[low as usize],
        ascending[(low as usize + 1).min(last)],
    );
    a + (b - a) * (position - low)
}

/// The number of standard deviations beyond which the weights of [`maritz_jarrett`] are below the precision of a
/// double: a normal variable exceeds its mean by more than 9 standard deviations with a probability of 1e-19.
const REACH: f64 = 9.0;

/// The standard error of the sample quantile `q` of independent values in ascending order.
///
/// It is computed from the moments of an order statistic. Each sample value is weighted by the probability that the
/// order statistic of a resample has this value: the increase of the beta distribution function with parameters m - 1
/// and n - m between neighbouring ranks, where m = floor(n q + 1/2) (Maritz and Jarrett, "A note on estimating the
/// variance of the sample median", Journal of the American Statistical Association 73, 1978; Wilcox, "Introduction to
/// Robust Estimation and Hypothesis Testing", section 3.5.3).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks of values in memory"
)]
pub(super) fn maritz_jarrett(ascending: &[f64], q: f64) -> f64 {
    let n = ascending.len();
    let count = n as f64;
    let rank = (count * q + 0.5).floor();
    let (a, b) = (rank - 1.0, count - rank);
    if a < 1.0 || b < 1.0 {
        return f64::INFINITY;
    }
    let reach = REACH * (count * q * (1.0 - q)).sqrt() + REACH;
    let first = (rank - reach).max(0.0) as usize;
    let last = ((rank + reach) as usize).min(n);
    // Moments of deviations from a nearby value, because the difference of the plain moments would cancel.
    let origin = ascending[rank as usize - 1];
    let (mut mean, mut square) = (0.0, 0.0);
    let mut before = if first == 0 {
        0.0
    } else {
        beta_reg(a, b, first as f64 / count)
    };
    for (place, value) in ascending.iter().enumerate().take(last).skip(first) {
        let upto = if place + 1 == n {
            1.0
        } else {
            beta_reg(a, b, (place + 1) as f64 / count)
        };
        let deviation = value - origin;
        mean += (upto - before) * deviation;
        square += (upto - before) * deviation * deviation;
        before = upto;
    }
    (square - mean * mean).max(0.0).sqrt()
}
