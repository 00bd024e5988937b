//! Classic histograms: cumulative counts at fixed bounds, derived from exponential buckets.

use nanospan_record::{
    histogram::{
        Snapshot,
        config::{SCALE, index_of},
    },
    seconds::nanos,
};

use crate::error::Error;

/// Upper bounds of classic buckets, in seconds.
///
/// A bound counts only the values in exponential buckets that end at or below it. It never counts a larger value, but a
/// value less than one bucket (1.1 % at scale 6) below it may be counted only at the next bound. Unlike an estimate of
/// how many of a bucket's values lie below the bound, such a count never falls while values are added; readers would
/// take a fall for a restart. A bound that is a power of two, in seconds, is the end of a bucket at every scale from 0
/// on, so its count is exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    seconds: Vec<f64>,
    // For each bound, the first bucket at SCALE that holds larger values.
    over: Vec<i32>,
}

impl Bounds {
    /// Creates bounds at `seconds`.
    ///
    /// # Errors
    ///
    /// [`Error::Bound`] if a bound is not positive and finite, or not larger than the preceding one.
    pub fn new(seconds: &[f64]) -> Result<Self, Error> {
        let mut before = 0.0;
        for &bound in seconds {
            if !(bound.is_finite() && bound > before) {
                return Err(Error::Bound(bound));
            }
            before = bound;
        }
        let over = |&bound: &f64| index_of(nanos(bound).saturating_add(1));
        Ok(Self {
            seconds: seconds.to_vec(),
            over: seconds.iter().map(over).collect(),
        })
    }

    /// Returns the bounds in seconds.
    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// Iterates over the number of values counted at each bound. The number at `+Inf`, the histogram's count, is not
    /// included.
    pub fn cumulative(&self, histogram: &Snapshot) -> impl Iterator<Item = u64> {
        let shift = SCALE - histogram.scale();
        let mut buckets = histogram.buckets().peekable();
        let mut below = histogram.zeros();
        self.over.iter().map(move |over| {
            while let Some((_, count)) = buckets.next_if(|&(index, _)| index < over >> shift) {
                below += count;
            }
            below
        })
    }
}
