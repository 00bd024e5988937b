//! Derives the buckets of classic Prometheus histograms, which are cumulative counts at fixed bounds, from exponential
//! buckets.

use nanospan_fallible::{TryCollect, copied};
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
/// The count at a bound includes the exponential buckets that end at or below the bound. It never includes a value
/// above the bound, but a value slightly below the bound (by less than one bucket, 1.1 % at scale 6) may be counted
/// only at the next bound. Estimating how much of a bucket lies below the bound would not work: such a count could
/// fall while values are added, which Prometheus would interpret as a counter reset. If a bound is a power of two, in
/// seconds, an exponential bucket ends there at every scale of 0 or more, so the count at that bound is exact.
#[derive(Debug, PartialEq)]
pub struct Bounds {
    seconds: Vec<f64>,
    // For each bound, the index of the first bucket at SCALE that can hold values above the bound.
    over: Vec<i32>,
}

impl Bounds {
    /// Creates bounds from `seconds`, which must be in ascending order.
    ///
    /// # Errors
    ///
    /// [`Error::Bound`] if a bound is not positive and finite, or not larger than the preceding one;
    /// [`Error::OutOfMemory`] if there is no memory for the bounds.
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
            seconds: copied(seconds)?,
            over: seconds.iter().map(over).try_vec()?,
        })
    }

    /// Returns the bounds in seconds.
    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// Iterates over the cumulative counts of `histogram`, one per bound. The count at `+Inf`, which is the total
    /// count, is not included.
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
