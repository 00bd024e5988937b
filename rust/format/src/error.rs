//! The options that an encoder rejects.

use std::fmt;

/// Why options were rejected. The text names the value and what would be right.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A classic bucket's bound in seconds that is not positive and finite, or not larger than the one before.
    Bound(f64),
    /// Fewer native buckets than the coarsest schema needs.
    NativeBuckets {
        /// The limit given.
        given: usize,
        /// The lowest limit.
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
