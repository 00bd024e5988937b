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
/// Only what lies in buckets that end at or below a bound is counted there: never a value over it, while values
/// less than one bucket (1.1 % at scale 6) below it may first count at the next bound. Unlike an estimate of how
/// many of a bucket's values lie below the bound, such counts never fall while values are added, which readers
/// take for a restart. A power of two of a second ends a bucket at every scale from 0 on, so that counts there
/// are exact.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    seconds: Vec<f64>,
    // For each, the first bucket at SCALE that holds larger values.
    over: Vec<i32>,
}

impl Bounds {
    /// Bounds at `seconds`.
    ///
    /// # Errors
    ///
    /// [`Error::Bound`] if one is not positive and finite, or not larger than the one before.
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

    /// The bounds.
    #[must_use]
    pub fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// How many of the values are counted at each bound; the total is the histogram's count.
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
