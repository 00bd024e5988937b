//! How much less than its count a series in time order is worth.

/// No series is taken to be more dependent than this: beyond it, its correlation says nothing.
const MOST: f64 = 0.98;

/// The lag-1 correlation of `series`, its bias for short series corrected; at least 0, at most 0.98.
///
/// The usual estimate r, whose denominator is the whole sum of squares, has the expectation rho - (1 + 4 rho) / n
/// for an autoregressive process (Kendall, "Note on bias in the estimation of autocorrelation",
/// Biometrika 41, 1954); this solves for rho. Negative correlation is taken for none: it would make a series
/// worth more than its count.
#[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
pub(super) fn lag_one(series: &[f64]) -> f64 {
    let n = series.len() as f64;
    if series.len() < 6 {
        return 0.0;
    }
    let mean = series.iter().sum::<f64>() / n;
    let squares: f64 = series.iter().map(|v| (v - mean) * (v - mean)).sum();
    if squares == 0.0 {
        return 0.0;
    }
    let products: f64 = series
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    ((n * products / squares + 1.0) / (n - 4.0)).clamp(0.0, MOST)
}

/// How much the variance of the mean of an autoregressive series of lag-1 correlation `rho` exceeds that of
/// as many independent values.
pub(super) fn inflation(rho: f64) -> f64 {
    (1.0 + rho) / (1.0 - rho)
}
