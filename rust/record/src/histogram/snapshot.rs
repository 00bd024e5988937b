//! Copies of histograms, which can be queried for quantiles, merged and coarsened.

use std::ops::RangeInclusive;

use nanospan_fallible::{OutOfMemory, TryGrow, copied, filled, vec};

use super::config::{MIN_SCALE, SCALE, largest_up_to, representative};
use crate::error::Error;

/// A copy of a histogram. Values are in nanoseconds; bucket bounds are defined in [seconds](super::config). A snapshot
/// can be merged with any other, including snapshots from other processes and hosts.
///
/// A snapshot is always internally consistent: the minimum lies in the first bucket, the maximum in the last, and the
/// values in the buckets can add up to the sum.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Clone))]
pub struct Snapshot {
    pub(super) scale: i32, // in [MIN_SCALE, SCALE]
    pub(super) zeros: u64,
    pub(super) first: i32, // the index of counts[0]; 0 if `counts` is empty
    pub(super) counts: Vec<u64>, // no zero at either end
    pub(super) sum: u128,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// Returns the rank, counted from 1, of the `q`-quantile of `count` values: ceil(q * count). `count` must not be 0.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is off by less than one in 2^53"
)]
pub(crate) fn rank(q: f64, count: u64) -> u64 {
    ((q * count as f64).ceil() as u64).clamp(1, count)
}

impl Default for Snapshot {
    /// Creates an empty histogram.
    fn default() -> Self {
        Self {
            scale: SCALE,
            zeros: 0,
            first: 0,
            counts: Vec::new(),
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Snapshot {
    /// Copies the snapshot.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(Self {
            counts: copied(&self.counts)?,
            ..*self
        })
    }

    /// Creates a snapshot at [`SCALE`]. `counts[i]` is the count of bucket `first + i`, and `zeros` the number of
    /// values that are 0; `sum`, `min` and `max` are in nanoseconds.
    ///
    /// Arguments that were read while values were being recorded may contradict each other. The bucket counts are
    /// trusted, and `min`, `max` and `sum` are adjusted to the nearest values that the buckets allow.
    #[must_use]
    pub fn new(zeros: u64, first: i32, counts: Vec<u64>, sum: u128, min: u64, max: u64) -> Self {
        let mut snapshot = Self {
            scale: SCALE,
            zeros,
            first,
            counts,
            sum,
            min,
            max,
        };
        snapshot.trim();
        snapshot.reconcile();
        snapshot
    }

    pub(super) fn reconcile(&mut self) {
        let count = self.count();
        if count == 0 {
            *self = Self::default();
            return;
        }
        let (smallest, largest) = self.possible_extremes();
        self.max = self.max.clamp(*largest.start(), *largest.end());
        self.min = match count {
            1 => self.max,
            _ => self
                .min
                .clamp(*smallest.start(), *smallest.end())
                .min(self.max),
        };
        let sums = self.possible_sums();
        self.sum = self.sum.clamp(*sums.start(), *sums.end());
    }

    /// Returns the range of values, in whole nanoseconds, that fall into bucket `index`.
    pub(super) fn values_of(&self, index: i32) -> RangeInclusive<u64> {
        let shift = SCALE - self.scale;
        largest_up_to((index << shift) - 1) + 1..=largest_up_to(((index + 1) << shift) - 1)
    }

    /// Returns true if the range of every non-empty bucket includes at least one whole number of nanoseconds.
    pub(super) fn is_possible(&self) -> bool {
        self.buckets()
            .all(|(index, _)| !self.values_of(index).is_empty())
    }

    /// Returns the range in which the minimum must lie and the range in which the maximum must lie.
    pub(super) fn possible_extremes(&self) -> (RangeInclusive<u64>, RangeInclusive<u64>) {
        let Some(offset) = self.counts.len().checked_sub(1) else {
            return (0..=0, 0..=0);
        };
        let smallest = match self.zeros {
            0 => self.values_of(self.first),
            _ => 0..=0,
        };
        // The cast is exact: there are at most BUCKETS counts.
        (smallest, self.values_of(self.first + offset as i32))
    }

    /// Returns the range of sums that are possible with the snapshot's buckets, minimum and maximum. The range is empty
    /// if there is only one value but the minimum and maximum differ.
    pub(super) fn possible_sums(&self) -> RangeInclusive<u128> {
        let wide = u128::from;
        let (mut least, mut most) = (0, 0);
        // One value must be the maximum, so `least` is too small by `short`; one must be the minimum, so `most` is too
        // large by `over`.
        let (mut short, mut over) = (0, None);
        for (index, n) in self.buckets() {
            let values = self.values_of(index);
            let low = wide((*values.start()).max(self.min));
            let high = wide((*values.end()).min(self.max));
            // No overflow: a count below 2^64 of values below 2^64.
            least += wide(n) * low;
            most += wide(n) * high;
            short = wide(self.max) - low;
            over.get_or_insert(high - wide(self.min));
        }
        let over = over.filter(|_| self.zeros == 0).unwrap_or(0);
        least + short..=most - over
    }

    pub(super) fn trim(&mut self) {
        let end = self
            .counts
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |i| i + 1);
        self.counts.truncate(end);
        let start = self.counts.iter().position(|&n| n > 0).unwrap_or(0);
        self.counts.drain(..start);
        self.first = if self.counts.is_empty() {
            0
        } else {
            self.first + i32::try_from(start).unwrap_or(i32::MAX)
        };
    }

    /// Returns the number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    pub(super) fn checked_count(&self) -> Option<u64> {
        let counts = self.counts.iter();
        counts.copied().try_fold(self.zeros, u64::checked_add)
    }

    /// Returns the exact sum of the values, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// Returns the exact smallest value in nanoseconds; `None` if the histogram is empty.
    #[must_use]
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min)
    }

    /// Returns the exact largest value in nanoseconds; `None` if the histogram is empty.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// Returns the scale: there are 2^scale buckets per octave (a doubling of the value).
    #[must_use]
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Returns the number of values that were exactly 0.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Iterates over the non-empty buckets as `(index, count)`, in ascending order of index.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        (self.first..)
            .zip(self.counts.iter().copied())
            .filter(|&(_, count)| count > 0)
    }

    /// Estimates the `q`-quantile in nanoseconds: the value at rank ceil(q * count). Returns `None` if the histogram is
    /// empty.
    ///
    /// At scale 6, the relative error is at most [`RELATIVE_ERROR`](super::config::RELATIVE_ERROR).
    ///
    /// # Errors
    ///
    /// [`Error::Quantile`] if `q` is not between 0 and 1.
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate is less precise than a float"
    )]
    pub fn quantile(&self, q: f64) -> Result<Option<f64>, Error> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Error::Quantile(q));
        }
        let count = self.count();
        if count == 0 {
            return Ok(None);
        }
        let rank = rank(q, count);
        let mut seen = self.zeros;
        if rank <= seen {
            return Ok(Some(0.0));
        }
        let index = self.buckets().find_map(|(index, n)| {
            seen += n;
            (rank <= seen).then_some(index)
        });
        Ok(index
            .map(|index| representative(index, self.scale).clamp(self.min as f64, self.max as f64)))
    }

    /// Adds the values of `other` to this histogram, which then has the coarser of the two scales. Merging is
    /// associative and commutative.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyValues`] if the result would hold more than `u64::MAX` values; [`Error::OutOfMemory`] without
    /// enough memory for it. In either case `self` is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        // If the total count does not overflow, no other addition does: the total includes every bucket's count, and
        // the 128-bit `sum` can hold that many 64-bit values.
        if self.count().checked_add(other.count()).is_none() {
            return Err(Error::TooManyValues);
        }
        let scale = self.scale.min(other.scale);
        let (mut merged, other) = (self.at_scale(scale)?, other.at_scale(scale)?);
        merged.merge_at_scale(&other)?;
        *self = merged;
        Ok(())
    }

    /// Adds the values of `other`, which has the same scale.
    fn merge_at_scale(&mut self, other: &Self) -> Result<(), OutOfMemory> {
        self.zeros += other.zeros;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.counts.is_empty() {
            return Ok(());
        }
        if self.counts.is_empty() {
            self.first = other.first;
        }
        let end = |s: &Self| i64::from(s.first) + s.counts.len() as i64;
        let (first, last) = (self.first.min(other.first), end(self).max(end(other)));
        let mut counts = filled(0, usize::try_from(last - i64::from(first)).unwrap_or(0))?;
        for part in [&*self, other] {
            for (index, n) in part.buckets() {
                counts[(index - first).cast_unsigned() as usize] += n;
            }
        }
        (self.first, self.counts) = (first, counts);
        Ok(())
    }

    /// Returns the number of values in buckets that end at or below `ns` nanoseconds, or the total count if `ns` is at
    /// least the maximum. Below the maximum, the bucket that contains `ns` is not counted unless it ends there, even
    /// though it may hold smaller values.
    #[must_use]
    pub fn count_up_to(&self, ns: u64) -> u64 {
        if ns >= self.max {
            return self.count();
        }
        let below = self
            .buckets()
            .take_while(|&(index, _)| *self.values_of(index).end() <= ns);
        self.zeros + below.map(|(_, count)| count).sum::<u64>()
    }

    /// Returns a copy with at most `most` non-empty buckets (not counting zeros), at the finest scale that meets this
    /// limit. The copy is unchanged if the limit is already met. A limit below 2 may not be met, because even at
    /// [`MIN_SCALE`] two buckets can remain.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn with_at_most(&self, most: usize) -> Result<Self, OutOfMemory> {
        let buckets_at = |scale: i32| {
            let mut last = None;
            let merged = self.buckets().map(|(i, _)| i >> (self.scale - scale));
            // Neighbours with the same index become one bucket.
            merged
                .filter(|&index| last.replace(index) != Some(index))
                .count()
        };
        let scale = (MIN_SCALE..=self.scale)
            .rev()
            .find(|&scale| buckets_at(scale) <= most)
            .unwrap_or(MIN_SCALE);
        self.at_scale(scale)
    }

    /// Returns a copy at a coarser scale, in which neighbouring buckets are merged. The copy is unchanged if `scale` is
    /// not coarser. A scale below [`MIN_SCALE`] is treated as `MIN_SCALE`.
    ///
    /// Bucket `i` becomes part of bucket `i >> 1` at the next coarser scale, as in OpenTelemetry's perfect subsetting.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn at_scale(&self, scale: i32) -> Result<Self, OutOfMemory> {
        if scale >= self.scale {
            return self.try_clone();
        }
        let scale = scale.max(MIN_SCALE);
        let shift = self.scale - scale;
        let mut coarse = Self {
            scale,
            first: self.first >> shift,
            counts: vec((self.counts.len() >> shift) + 2)?,
            ..*self
        };
        for (index, n) in self.buckets() {
            let slot = ((index >> shift) - coarse.first).cast_unsigned() as usize;
            if slot >= coarse.counts.len() {
                coarse.counts.try_resize_with(slot + 1, || 0)?;
            }
            coarse.counts[slot] += n;
        }
        Ok(coarse)
    }
}
