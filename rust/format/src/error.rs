//! The error for invalid encoder options.

use std::fmt;

use nanospan_fallible::OutOfMemory;

/// The reason why encoder options were rejected. The message states the rejected value and which values are valid.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The bound of a classic bucket, in seconds, is not positive and finite, or is not larger than the preceding
    /// bound.
    Bound(f64),
    /// The limit on native buckets is lower than the number of buckets that the coarsest schema needs.
    NativeBuckets {
        /// The rejected limit.
        given: usize,
        /// The lowest valid limit.
        least: usize,
    },
    /// There is no memory for a copy of the options.
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for Error {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(given) => write!(
                f,
                "each bucket bound must be finite, > 0 and larger than the bound before it, got {given}"
            ),
            Self::NativeBuckets { given, least } => {
                write!(
                    f,
                    "max_native_buckets must be at least {least}, got {given}"
                )
            }
            Self::OutOfMemory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
