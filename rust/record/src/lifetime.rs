//! Statistics of all samples since an operation was created or last cleared.

use crate::{
    histogram::{self, config::representative},
    sample::Measured,
    summary::Summary,
};

/// Statistics of all of an operation's samples since it was created or last cleared, whatever their outcome. Durations
/// are in seconds.
///
/// If the window still holds all of these samples, the statistics are those of the window. Otherwise mean and extremes
/// are exact to the nanosecond, and percentiles are estimated from the histogram, with a relative error of at most
/// [`RELATIVE_ERROR`](histogram::config::RELATIVE_ERROR).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifetime {
    /// Arithmetic mean of the durations.
    pub mean: f64,
    /// Shortest duration.
    pub min: f64,
    /// Longest duration.
    pub max: f64,
    /// Median duration.
    pub p50: f64,
    /// 95th percentile of the durations.
    pub p95: f64,
    /// 99th percentile of the durations.
    pub p99: f64,
    /// 99.9th percentile of the durations.
    pub p999: f64,
}

impl Lifetime {
    /// Computes the statistics from the parts of a histogram at [`SCALE`](histogram::config::SCALE): the number of
    /// zeros, the count of each bucket from the one with index `first` on, and the sum, minimum and maximum in
    /// nanoseconds. Returns `None` if there are no values.
    #[expect(clippy::cast_precision_loss, reason = "floats are the result")]
    pub(crate) fn of_buckets(
        zeros: u64,
        first: i32,
        counts: &[u64],
        sum: u128,
        [min, max]: [u64; 2],
    ) -> Option<Self> {
        let count = zeros + counts.iter().sum::<u64>();
        if count == 0 {
            return None;
        }
        let mut buckets = (first..).zip(counts);
        let (mut index, mut seen) = (first, zeros);
        // Quantiles are passed in ascending order, so that one pass over the buckets finds them all.
        let mut quantile = |q: f64| {
            let rank = histogram::rank(q, count);
            while seen < rank
                && let Some((next, n)) = buckets.next()
            {
                index = next;
                seen += n;
            }
            let ns = match rank <= zeros {
                true => 0.0,
                false => representative(index, histogram::config::SCALE),
            };
            ns.clamp(min as f64, max as f64) / 1e9
        };
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(&mut quantile);
        let [min, max] = [min, max].map(|ns| Measured::Nanos(ns).seconds());
        Some(Self {
            // While samples are recorded, the sum may be ahead of the counts.
            mean: (sum as f64 / count as f64 / 1e9).clamp(min, max),
            min,
            max,
            p50,
            p95,
            p99,
            p999,
        })
    }
}

impl From<&Summary> for Lifetime {
    fn from(window: &Summary) -> Self {
        Self {
            mean: window.mean,
            min: window.min,
            max: window.max,
            p50: window.p50,
            p95: window.p95,
            p99: window.p99,
            p999: window.p999,
        }
    }
}
