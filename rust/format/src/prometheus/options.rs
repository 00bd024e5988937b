//! Options for how histograms are exposed.

use nanospan_fallible::OutOfMemory;
use nanospan_record::histogram::Snapshot;

use super::classic::Bounds;
use crate::error::Error;

/// Options for exposing histograms: the bounds of classic buckets, and the maximum number of native buckets.
#[derive(Debug, PartialEq)]
pub struct Options {
    bounds: Bounds,
    max_native_buckets: usize, // at least LEAST_NATIVE_BUCKETS
}

/// The smallest valid limit on the number of native buckets. Even at Prometheus' coarsest schema, -4, the durations
/// that can be recorded span five buckets.
pub const LEAST_NATIVE_BUCKETS: usize = 5;

impl Options {
    /// Creates options for classic histograms with the bucket bounds `bounds`, in seconds (no classic buckets if
    /// `bounds` is empty), and native histograms with at most `max_native_buckets` buckets.
    ///
    /// # Errors
    ///
    /// [`Error::Bound`] if the bounds are not positive, finite and ascending; [`Error::NativeBuckets`] if
    /// `max_native_buckets` is below [`LEAST_NATIVE_BUCKETS`]; [`Error::OutOfMemory`] if there is no memory for the
    /// bounds.
    pub fn new(bounds: &[f64], max_native_buckets: usize) -> Result<Self, Error> {
        if max_native_buckets < LEAST_NATIVE_BUCKETS {
            return Err(Error::NativeBuckets {
                given: max_native_buckets,
                least: LEAST_NATIVE_BUCKETS,
            });
        }
        Ok(Self {
            bounds: Bounds::new(bounds)?,
            max_native_buckets,
        })
    }

    /// Returns the bounds of the classic buckets.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(super) fn native(&self, histogram: &Snapshot) -> Result<Snapshot, OutOfMemory> {
        histogram.with_at_most(self.max_native_buckets)
    }
}
