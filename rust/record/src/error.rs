//! What can be refused. Recording itself cannot fail; only names, limits and thresholds can be wrong.

use std::fmt;

use crate::{histogram::Damage, snapshot};

/// Why a call was refused. The text names the value and what would be right.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The window's length is zero or over [`MAX_WINDOW`](crate::ring::MAX_WINDOW).
    Window(usize),
    /// Room for no operation at all was asked for.
    MaxOperations(usize),
    /// A duration or threshold in seconds is negative, infinite or not a number.
    Seconds(f64),
    /// A quantile outside 0 to 1, or not a number.
    Quantile(f64),
    /// Bytes that are no histogram snapshot.
    Snapshot(Damage),
    /// A snapshot that should be earlier holds values that the later one does not.
    NotEarlier,
    /// Bytes that are no snapshot of a monitor.
    MonitorSnapshot(snapshot::Damage),
    /// Two histograms hold more than `u64::MAX` values together.
    TooManyValues,
    /// The operating system gave no memory for an operation's block of that many bytes.
    OutOfMemory(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(given) => write!(
                f,
                "a window holds 1 to {} samples, got {given}",
                crate::ring::MAX_WINDOW
            ),
            Self::MaxOperations(given) => {
                write!(f, "max_operations must be at least 1, got {given}")
            }
            Self::Seconds(given) => {
                write!(f, "must be a finite number of seconds >= 0, got {given}")
            }
            Self::Quantile(given) => write!(f, "a quantile lies between 0 and 1, got {given}"),
            Self::Snapshot(damage) => write!(f, "not a histogram snapshot: {damage}"),
            Self::NotEarlier => f.write_str(
                "the earlier snapshot holds values that the later one does not; it is of another \
                 histogram, or the histogram was cleared in between",
            ),
            Self::MonitorSnapshot(damage) => write!(f, "not a monitor's snapshot: {damage}"),
            Self::TooManyValues => {
                f.write_str("the histograms hold more than 2^64 - 1 values together")
            }
            Self::OutOfMemory(bytes) => write!(
                f,
                "no memory for an operation ({bytes} bytes of address space); lower \
                 max_metrics_per_operation or max_operations"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Checks that `value` can be a duration or a threshold.
///
/// # Errors
///
/// [`Error::Seconds`] if `value` is negative, infinite or NaN.
pub fn check_seconds(value: f64) -> Result<f64, Error> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(Error::Seconds(value))
    }
}
