//! The error of this crate.

use std::fmt;

/// The error for memory that the system did not provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The number of bytes that were needed.
    pub bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "out of memory: no {} bytes are available", self.bytes)
    }
}

impl std::error::Error for OutOfMemory {}

impl OutOfMemory {
    /// Creates the error for an allocation of `count` values of type `T`.
    #[must_use]
    pub fn of<T>(count: usize) -> Self {
        Self {
            bytes: count.saturating_mul(size_of::<T>()),
        }
    }
}
