//! Subtracts an earlier snapshot of a histogram from a later one.

use super::snapshot::Snapshot;
use crate::error::Error;

impl Snapshot {
    /// Returns a histogram of the values recorded since `earlier`, a snapshot of the same histogram. If the two
    /// snapshots have different scales, the result has the coarser one.
    ///
    /// Counts and sum are exact. The minimum is exact if it is lower than that of `earlier`. Otherwise the true minimum
    /// is unknown, and the smallest value that the buckets and the sum allow is used instead; it lies in the correct
    /// bucket. The maximum is treated likewise if it is not higher.
    ///
    /// # Errors
    ///
    /// [`Error::NotEarlier`] if `earlier` holds values that `self` does not; [`Error::OutOfMemory`] if there is no
    /// memory for the result.
    pub fn since(&self, earlier: &Self) -> Result<Self, Error> {
        let scale = self.scale.min(earlier.scale);
        let (mut since, before) = (self.at_scale(scale)?, earlier.at_scale(scale)?);
        let less = |now: u64, before: u64| now.checked_sub(before).ok_or(Error::NotEarlier);
        since.zeros = less(since.zeros, before.zeros)?;
        for (index, count) in before.buckets() {
            let slot = usize::try_from(i64::from(index) - i64::from(since.first));
            let now = slot.ok().and_then(|slot| since.counts.get_mut(slot));
            let now = now.ok_or(Error::NotEarlier)?;
            *now = less(*now, count)?;
        }
        since.sum = since.sum.checked_sub(before.sum).ok_or(Error::NotEarlier)?;
        since.trim();
        since.widen(self.min < earlier.min, self.max > earlier.max);
        since.reconcile();
        Ok(since)
    }

    /// If the maximum is unknown, sets it to the largest value that the buckets and the sum allow: the maximum if all
    /// other values were as small as possible. Then, if the minimum is unknown, sets it to the smallest value that they
    /// allow.
    fn widen(&mut self, min_known: bool, max_known: bool) {
        let last = self.first + self.counts.len().saturating_sub(1) as i32; // at most BUCKETS
        let lowest = if min_known { self.min } else { 0 };
        let low = |s: &Self, index| u128::from((*s.values_of(index).start()).max(lowest));
        let high = |s: &Self, index| u128::from((*s.values_of(index).end()).min(s.max));
        if !max_known {
            let least: u128 = self
                .buckets()
                .map(|(i, n)| u128::from(n) * low(self, i))
                .sum();
            let others = least.saturating_sub(low(self, last));
            // A result beyond 64 bits lies above every bucket; the next line limits it to the last one.
            self.max = u64::try_from(self.sum.saturating_sub(others)).unwrap_or(u64::MAX);
            self.max = self.max.min(*self.values_of(last).end());
        }
        if !min_known {
            let most: u128 = self
                .buckets()
                .map(|(i, n)| u128::from(n) * high(self, i))
                .sum();
            let others = most.saturating_sub(high(self, self.first));
            self.min = u64::try_from(self.sum.saturating_sub(others)).unwrap_or(0);
        }
    }
}
