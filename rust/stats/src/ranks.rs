//! Ranks, and the Wilcoxon-Mann-Whitney rank-sum test.

use nanospan_fallible::{OutOfMemory, TryCollect, filled};

/// The indices of `values`, in ascending order of value.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a place among fewer than 2^32 values"
)]
pub(super) fn order(values: &[f64]) -> Result<Vec<u32>, OutOfMemory> {
    let mut keyed: Vec<(f64, u32)> = values
        .iter()
        .enumerate()
        .map(|(place, &value)| (value, place as u32))
        .try_vec()?;
    keyed.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    keyed.iter().map(|&(_, place)| place).try_vec()
}

/// The rank of each value, starting at 1; equal values share the mean of their ranks.
#[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
pub(super) fn ranks(values: &[f64], order: &[u32]) -> Result<Vec<f64>, OutOfMemory> {
    let mut ranks = filled(0.0, values.len())?;
    let mut start = 0;
    for tied in order.chunk_by(|&a, &b| values[a as usize] == values[b as usize]) {
        let rank = start as f64 + (tied.len() as f64 + 1.0) / 2.0;
        tied.iter().for_each(|&place| ranks[place as usize] = rank);
        start += tied.len();
    }
    Ok(ranks)
}

/// The rank-sum statistic of two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RankSum {
    /// The number of pairs in which the second sample's value is larger (ties count as half), minus the number expected
    /// if nothing has changed.
    pub excess: f64,
    /// The variance of `excess` if nothing has changed, for independent values; 0 if all values are equal.
    pub variance: f64,
}

impl RankSum {
    /// Compares two samples, each in ascending order, by merging them.
    ///
    /// The variance is corrected for ties (Lehmann, "Nonparametrics", 1975, section 1.4).
    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    pub(super) fn of(x: &[f64], y: &[f64]) -> Self {
        let (n, m) = (x.len() as f64, y.len() as f64);
        let (mut i, mut j) = (0, 0);
        let (mut above, mut ties) = (0.0, 0.0);
        while i < x.len() || j < y.len() {
            let value = match (x.get(i), y.get(j)) {
                (Some(&a), Some(&b)) => a.min(b),
                (Some(&a), None) => a,
                (None, Some(&b)) => b,
                (None, None) => break,
            };
            let below = i as f64;
            let same_x = x[i..].iter().take_while(|&&v| v == value).count();
            let same_y = y[j..].iter().take_while(|&&v| v == value).count();
            above += same_y as f64 * (below + same_x as f64 / 2.0);
            let tied = (same_x + same_y) as f64;
            ties += tied * (tied * tied - 1.0);
            i += same_x;
            j += same_y;
        }
        let all = n + m;
        let variance = n * m / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)).max(1.0));
        Self {
            excess: above - n * m / 2.0,
            variance: variance.max(0.0),
        }
    }

    /// The statistic of `n` values compared with `m` values that are all larger.
    pub(super) fn wholly_apart(n: f64, m: f64) -> Self {
        Self {
            excess: n * m / 2.0,
            variance: n * m * (n + m + 1.0) / 12.0,
        }
    }

    /// The standardised statistic, with a continuity correction of one half towards zero. The variance of `excess` is
    /// taken to be `inflation` times `variance`, which assumes independent values.
    pub(super) fn z(self, inflation: f64) -> f64 {
        let sd = (self.variance * inflation).sqrt();
        if sd == 0.0 {
            return 0.0;
        }
        (self.excess.abs() - 0.5).max(0.0).copysign(self.excess) / sd
    }
}
