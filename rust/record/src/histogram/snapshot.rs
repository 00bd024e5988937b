//! A copy of a histogram: quantiles, merging, coarser scales.

use std::ops::RangeInclusive;

use super::config::{MIN_SCALE, SCALE, largest_up_to, representative};
use crate::error::Error;

/// A copy of a histogram: values in nanoseconds, in buckets of [seconds](super::config). It is a plain value:
/// mergeable with any other, whatever process or host it came from.
///
/// It is consistent in itself: minimum and maximum lie in the first and last bucket, and values in these
/// buckets can add up to the sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) scale: i32, // in [MIN_SCALE, SCALE]
    pub(super) zeros: u64,
    pub(super) first: i32,       // the index of counts[0]; 0 if there are none
    pub(super) counts: Vec<u64>, // no zero at either end
    pub(super) sum: u128,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Default for Snapshot {
    /// The histogram of no values.
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
    /// A snapshot of the buckets from `first` on at [`SCALE`].
    ///
    /// Numbers read while values were being recorded may contradict each other. The buckets are trusted; minimum,
    /// maximum and sum are moved to the nearest values that the buckets allow.
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

    /// The whole numbers in bucket `index`.
    pub(super) fn values_of(&self, index: i32) -> RangeInclusive<u64> {
        let shift = SCALE - self.scale;
        largest_up_to((index << shift) - 1) + 1..=largest_up_to(((index + 1) << shift) - 1)
    }

    /// Whether every bucket that is counted can hold a value.
    pub(super) fn is_possible(&self) -> bool {
        self.buckets()
            .all(|(index, _)| !self.values_of(index).is_empty())
    }

    /// The ranges of the minimum and the maximum.
    pub(super) fn possible_extremes(&self) -> (RangeInclusive<u64>, RangeInclusive<u64>) {
        let Some(offset) = self.counts.len().checked_sub(1) else {
            return (0..=0, 0..=0);
        };
        let smallest = match self.zeros {
            0 => self.values_of(self.first),
            _ => 0..=0,
        };
        // There are at most BUCKETS.
        (smallest, self.values_of(self.first + offset as i32))
    }

    /// The sums of values in the counted buckets, between a possible minimum and maximum that both occur. Empty if
    /// there is one value, but minimum and maximum differ.
    pub(super) fn possible_sums(&self) -> RangeInclusive<u128> {
        let wide = u128::from;
        let (mut least, mut most) = (0, 0);
        // How far the least sum falls short because the maximum must occur; likewise for the minimum.
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

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    pub(super) fn checked_count(&self) -> Option<u64> {
        let counts = self.counts.iter();
        counts.copied().try_fold(self.zeros, u64::checked_add)
    }

    /// The values' exact sum in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// The exact smallest value in nanoseconds, if there is one.
    #[must_use]
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min)
    }

    /// The exact largest value in nanoseconds, if there is one.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// The scale: 2^scale buckets an octave.
    #[must_use]
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Values that were exactly 0.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The non-empty buckets as `(index, count)`, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        (self.first..)
            .zip(self.counts.iter().copied())
            .filter(|&(_, count)| count > 0)
    }

    /// The value in nanoseconds at rank ceil(q * count), within
    /// [`RELATIVE_ERROR`](super::config::RELATIVE_ERROR) of the true one at scale 6; `None` without
    /// values.
    ///
    /// # Errors
    ///
    /// [`Error::Quantile`] if `q` is not between 0 and 1.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is off by less than one in 2^53"
    )]
    pub fn quantile(&self, q: f64) -> Result<Option<f64>, Error> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Error::Quantile(q));
        }
        let count = self.count();
        if count == 0 {
            return Ok(None);
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
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

    /// Adds `other`'s values; the result has the coarser of both scales. Associative and commutative.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyValues`] if the result would hold more than `u64::MAX` values; `self` is unchanged.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        // The only sum that can overflow: every other is a part of it, or as many 64-bit values.
        if self.count().checked_add(other.count()).is_none() {
            return Err(Error::TooManyValues);
        }
        let scale = self.scale.min(other.scale);
        let other = other.at_scale(scale);
        *self = self.at_scale(scale);
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
        let (first, last) = (self.first.min(other.first), end(self).max(end(&other)));
        let mut counts = vec![0; usize::try_from(last - i64::from(first)).unwrap_or(0)];
        for part in [&*self, &other] {
            for (index, n) in part.buckets() {
                counts[(index - first).cast_unsigned() as usize] += n;
            }
        }
        (self.first, self.counts) = (first, counts);
        Ok(())
    }

    /// How many values lie in buckets that end at or below `ns`; all of them if `ns` is at least the maximum. Smaller
    /// values in the same bucket as `ns` are otherwise not counted.
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

    /// The same values in at most `most` non-empty buckets, zeros not counted, by going to the first coarser
    /// scale that has no more; unchanged if there are not too many. At [`MIN_SCALE`] there are at most two,
    /// which is the least that can be asked for.
    #[must_use]
    pub fn with_at_most(&self, most: usize) -> Self {
        let buckets_at = |scale: i32| {
            let mut merged: Vec<i32> = self
                .buckets()
                .map(|(i, _)| i >> (self.scale - scale))
                .collect();
            merged.dedup();
            merged.len()
        };
        let scale = (MIN_SCALE..=self.scale)
            .rev()
            .find(|&scale| buckets_at(scale) <= most)
            .unwrap_or(MIN_SCALE);
        self.at_scale(scale)
    }

    /// The same values at a coarser scale, by merging neighbours; unchanged if `scale` is not coarser. No scale
    /// is coarser than [`MIN_SCALE`].
    ///
    /// Bucket `i` falls into bucket `i >> 1` one scale down, as OpenTelemetry defines perfect subsetting.
    #[must_use]
    pub fn at_scale(&self, scale: i32) -> Self {
        let mut coarse = self.clone();
        if scale >= self.scale {
            return coarse;
        }
        let scale = scale.max(MIN_SCALE);
        let shift = self.scale - scale;
        coarse.scale = scale;
        coarse.counts.clear();
        coarse.first = self.first >> shift;
        for (index, n) in self.buckets() {
            let slot = ((index >> shift) - coarse.first).cast_unsigned() as usize;
            if slot >= coarse.counts.len() {
                coarse.counts.resize(slot + 1, 0);
            }
            coarse.counts[slot] += n;
        }
        coarse
    }
}
