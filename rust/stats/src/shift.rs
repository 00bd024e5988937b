//! The Hodges-Lehmann shift: the median of all differences between two samples, found without computing them all.

use nanospan_fallible::{OutOfMemory, TryGrow, copied};

/// The maximum number of differences to collect, as a multiple of the samples' total length, which keeps memory linear.
/// Its effect on the time of `compare` can be measured with `benches/regression_speed.py`.
const GATHERED: usize = 4;

/// The differences `y - x` of all pairs of values from two ascending samples. Finds the difference of a given rank (its
/// position in ascending order) without computing all of them.
///
/// Counting the differences up to a bound takes one pass over both samples, because the differences from each value of
/// `x` are ordered too. Johnson and Mizoguchi, "Selecting the Kth element in X + Y and X1 + X2 + ... + Xm", SIAM
/// Journal on Computing 7, 1978, count in the same way. Interpolation between counts narrows down the
/// differences that may have the rank; once few enough are left, they are collected. Memory is linear in the number of
/// values.
pub(super) struct Differences<'a> {
    x: &'a [f64],
    y: &'a [f64],
    /// Bounds in ascending order, each with the number of differences that are at most that bound.
    counted: Vec<(f64, u64)>,
}

impl<'a> Differences<'a> {
    /// Prepares the differences between two samples, neither of which may be empty.
    pub(super) fn new(x: &'a [f64], y: &'a [f64]) -> Result<Self, OutOfMemory> {
        let all = x.len() as u64 * y.len() as u64;
        let lowest = y[0] - x[x.len() - 1];
        let highest = y[y.len() - 1] - x[0];
        let below_all = lowest.next_down();
        Ok(Self {
            x,
            y,
            counted: copied(&[(below_all, 0), (highest, all)])?,
        })
    }

    /// The number of differences.
    pub(super) fn count(&self) -> u64 {
        self.x.len() as u64 * self.y.len() as u64
    }

    /// The median difference: the mean of the middle two if the number of differences is even.
    pub(super) fn median(&mut self) -> Result<f64, OutOfMemory> {
        let (low, high) = (self.count().div_ceil(2), self.count() / 2 + 1);
        Ok(f64::midpoint(self.select(low)?, self.select(high)?))
    }

    /// The two differences whose ranks are `half` below and above the middle; infinite if there are no such ranks.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks of pairs in memory"
    )]
    pub(super) fn interval(&mut self, half: f64) -> Result<(f64, f64), OutOfMemory> {
        let all = self.count();
        let low = (all as f64 / 2.0 - half).floor();
        let rank = if low < 1.0 { 0 } else { low as u64 };
        if rank == 0 {
            return Ok((f64::NEG_INFINITY, f64::INFINITY));
        }
        Ok((self.select(rank)?, self.select(all + 1 - rank)?))
    }

    /// The difference with the given rank; the smallest difference has rank 1.
    pub(super) fn select(&mut self, rank: u64) -> Result<f64, OutOfMemory> {
        debug_assert!((1..=self.count()).contains(&rank));
        let few = ((self.x.len() + self.y.len()) * GATHERED) as u64;
        let mut halve = false;
        loop {
            let at = self.counted.partition_point(|&(_, count)| count < rank);
            let ((low, below), (high, upto)) = (self.counted[at - 1], self.counted[at]);
            if upto - below <= few {
                return self.gather(low, high, rank - below);
            }
            let probe = if halve {
                between(low, high)
            } else {
                interpolate((low, below), (high, upto), rank)
            };
            // Every other probe halves the interval, in case interpolation converges slowly.
            if !(low < probe && probe < high) {
                let middle = between(low, high);
                if !(low < middle && middle < high) {
                    return Ok(high);
                }
                self.probe(at, middle)?;
            } else {
                self.probe(at, probe)?;
            }
            halve = !halve;
        }
    }

    fn probe(&mut self, at: usize, bound: f64) -> Result<(), OutOfMemory> {
        let count = self.up_to(bound);
        self.counted.try_insert(at, (bound, count))
    }

    /// The number of differences that are at most `bound`.
    fn up_to(&self, bound: f64) -> u64 {
        let mut taken = 0;
        let mut count = 0;
        for &x in self.x {
            while taken < self.y.len() && self.y[taken] - x <= bound {
                taken += 1;
            }
            count += taken as u64;
        }
        count
    }

    /// The difference with the given rank among those greater than `low` and at most `high`.
    fn gather(&self, low: f64, high: f64, rank: u64) -> Result<f64, OutOfMemory> {
        let mut gathered = Vec::new();
        let mut first = 0;
        for &x in self.x {
            while first < self.y.len() && self.y[first] - x <= low {
                first += 1;
            }
            gathered.try_extend(
                self.y[first..]
                    .iter()
                    .map(|y| y - x)
                    .take_while(|&difference| difference <= high),
            )?;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a rank among what was gathered"
        )]
        let place = rank as usize - 1;
        Ok(*gathered.select_nth_unstable_by(place, f64::total_cmp).1)
    }
}

/// The difference that would have this rank if the differences between the bounds `low` and `high` were evenly spread.
/// Each bound is paired with the number of differences that are at most that bound.
#[expect(clippy::cast_precision_loss, reason = "only a guess")]
fn interpolate(low: (f64, u64), high: (f64, u64), rank: u64) -> f64 {
    let share = (rank - low.1) as f64 / (high.1 - low.1) as f64;
    low.0 + (high.0 - low.0) * share
}

/// The float half-way between `low` and `high` in the order of all floats, so that 64 halvings can reach any float.
fn between(low: f64, high: f64) -> f64 {
    from_ordinal(((i128::from(ordinal(low)) + i128::from(ordinal(high))) / 2) as i64)
}

/// The position of a float in the order of all floats.
fn ordinal(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 { i64::MIN - bits } else { bits }
}

fn from_ordinal(place: i64) -> f64 {
    let bits = if place < 0 { i64::MIN - place } else { place };
    f64::from_bits(bits as u64)
}
