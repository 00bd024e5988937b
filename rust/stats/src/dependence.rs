//! Estimates how many independent values a series in time order is equivalent to.

use nanospan_fallible::{OutOfMemory, TryCollect};

/// The upper limit for estimated lag-1 correlations. At 0.995, 400 values are only as informative as one independent
/// value, and a window of measurements is too short to distinguish such correlation from a trend.
const MOST: f64 = 0.995;

/// The longest lag at which autocorrelations are summed, which bounds the run time of a comparison. The sum usually
/// ends far earlier, at the first pair of autocorrelations that does not stand out from chance.
const FARTHEST: usize = 256;

/// The number of batches whose means reveal slow changes in a series. The rows "false positives, recorded" of
/// `benches/regression.py` show the effect of this number and of [`SCATTERED`].
const BATCHES: usize = 5;

/// The factor by which the scatter of the batch means must exceed the scatter expected of independent values to count
/// as more than chance. The factor is high because five means scatter widely by chance.
const SCATTERED: f64 = 5.0;

/// The discount on the sum of autocorrelations, in standard errors of the sum. It is needed because the largest of
/// three noisy estimates is too large on average.
///
/// The rows "false positives" and "found" of `benches/regression.py` show the effect. With discounts of 0, 1.5 and 3,
/// the rates of false positives on recordings were 1.2, 2.2 and 3.4 % with seed 101, and 0.8, 1.6 and 2.2 % with seed
/// 102 (at half scale; the limit is 2.5 %).
const SUMMED_DOUBT: f64 = 1.5;

/// The factor by which the scatter of batch means is multiplied, a discount for the same reason as [`SUMMED_DOUBT`].
const BATCHED_TRUST: f64 = 0.5;

/// The number of standard errors that the sum of two autocorrelations must exceed to count as more than chance. For
/// independent values, 7 % of the sums exceed it.
const CHANCE: f64 = 1.5;

/// Returns the lag-1 correlation of `count` values, between 0 and 0.995, corrected for its bias in short series.
///
/// `products` is the sum of the products of neighbouring deviations from the mean, and `squares` is the sum of the
/// squared deviations.
///
/// For an autoregressive process with correlation rho, the expected value of the usual estimate r, the ratio of the two
/// sums, is rho - (1 + 4 rho) / n (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954);
/// this function solves for rho. Negative correlation counts as zero, because it would make a series more informative
/// than the same number of independent values.
pub(super) fn lag_one(count: f64, products: f64, squares: f64) -> f64 {
    if count < 6.0 || squares == 0.0 {
        return 0.0;
    }
    ((count * products / squares + 1.0) / (count - 4.0)).clamp(0.0, MOST)
}

/// Returns the variance of the mean of an autoregressive series with lag-1 correlation `rho`, as a multiple of the
/// variance of the mean of the same number of independent values.
pub(super) fn inflation(rho: f64) -> f64 {
    (1.0 + rho) / (1.0 - rho)
}

/// An estimate of how many values of a correlated series are as informative as one independent value.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongRun {
    /// The variance of the series' mean, as a multiple of the variance for the same number of independent values; at
    /// least 1.
    pub inflation: f64,
    /// The degrees of freedom of the estimate in `inflation`.
    pub freedom: f64,
}

impl LongRun {
    /// The estimate for independent values.
    pub(super) const INDEPENDENT: Self = Self {
        inflation: 1.0,
        freedom: f64::INFINITY,
    };

    /// Estimates how much autocorrelation inflates the variance of the mean of `series`, which is in time order.
    ///
    /// The result is the largest of three estimates, each of which detects correlation that the others may miss:
    /// - the inflation of an autoregressive process with the series' lag-1 correlation;
    /// - the sum of the autocorrelations, in pairs of adjacent lags, up to the first pair whose sum does not stand out
    ///   from chance (in a reversible Markov chain every such sum is positive; Geyer, "Practical Markov chain Monte
    ///   Carlo", Statistical Science 7, 1992), with the first-order correction for the estimated mean; it detects weak
    ///   but persistent correlation, such as that of values with added measurement noise;
    /// - the scatter of overlapping batch means (Meketon and Schmeiser, "Overlapping batch means: something for
    ///   nothing?", Winter Simulation Conference, 1984), which detects disturbances that last a fifth of the
    ///   series or longer.
    ///
    /// The largest of several noisy estimates is too large on average, so the second and third estimates, which are
    /// noisier than the first, are discounted. An estimate over a window of L lags has about n / 2L degrees of freedom
    /// (Priestley, "Spectral Analysis and Time Series", 1981, section 6.2.4).
    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    pub(super) fn of(series: &[f64]) -> Result<Self, OutOfMemory> {
        let (centred, squares) = centred(series)?;
        let n = series.len() as f64;
        if squares == 0.0 {
            return Ok(Self::INDEPENDENT);
        }
        let chance = CHANCE * (2.0 / n).sqrt();
        let (mut sum, mut lag) = (1.0 + 2.0 * product(&centred, 1) / squares, 2);
        while lag + 1 < (series.len() / 4).min(FARTHEST) {
            let pair = (product(&centred, lag) + product(&centred, lag + 1)) / squares;
            if pair < chance {
                break;
            }
            sum += 2.0 * pair;
            lag += 2;
        }
        let freedom = n / (2.0 * lag as f64);
        let summed = sum * (1.0 + 1.0 / freedom) / (1.0 + SUMMED_DOUBT * (2.0 / freedom).sqrt());
        let batched = batched(&centred, squares);
        let scattered = if batched < SCATTERED { 1.0 } else { batched };
        Ok(Self {
            inflation: inflation(lag_one(n, product(&centred, 1), squares))
                .max(summed)
                .max(scattered * BATCHED_TRUST)
                .min((n / 2.0).max(1.0)),
            freedom,
        })
    }
}

/// Returns the deviations of the values from their mean, and the sum of the squared deviations.
#[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
fn centred(series: &[f64]) -> Result<(Vec<f64>, f64), OutOfMemory> {
    let mean = series.iter().sum::<f64>() / series.len() as f64;
    let centred = series.iter().map(|value| value - mean).try_vec()?;
    let squares = product(&centred, 0);
    Ok((centred, squares))
}

fn product(centred: &[f64], lag: usize) -> f64 {
    let pairs = centred.iter().zip(&centred[lag.min(centred.len())..]);
    pairs.map(|(a, b)| a * b).sum()
}

/// Estimates the variance of a series' mean, as a multiple of the variance for the same number of independent values,
/// from the means of overlapping batches of the series.
#[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
fn batched(centred: &[f64], squares: f64) -> f64 {
    let length = centred.len() / BATCHES;
    if length < 2 {
        return 1.0;
    }
    let (n, batch) = (centred.len() as f64, length as f64);
    let mut sum: f64 = centred[..length].iter().sum();
    let mut scatter = sum * sum;
    for (gone, come) in centred.iter().zip(&centred[length..]) {
        sum += come - gone;
        scatter += sum * sum;
    }
    n * n * scatter / (batch * (n - batch) * (n - batch + 1.0) * squares)
}
