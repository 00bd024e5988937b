//! The error for invalid encoder options.

use std::fmt;

/// The reason options were rejected. Its message names the rejected value and the valid ones.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A classic bucket's bound, in seconds, that is not positive and finite, or not larger than the preceding bound.
    Bound(f64),
    /// Fewer native buckets than the coarsest schema needs.
    NativeBuckets {
        /// The rejected limit.
        given: usize,
        /// The lowest valid limit.
        least: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound(given) => write!(
                f,
                "bounds must be finite numbers of seconds > 0, each larger than the one before, got {given}"
            ),
            Self::NativeBuckets { given, least } => {
                write!(
                    f,
                    "a native histogram must have at least {least} buckets, got {given}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}
