//! Reasons for rejecting a call. Recording cannot fail; only limits, thresholds and other arguments can be invalid.
//!
//! Errors hold plain data and do not depend on the code that reports them.

use std::fmt;

/// The reason a call was rejected. Its message names the rejected value and the valid ones.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The window's length is out of range.
    Window {
        /// The length given, in samples.
        given: usize,
        /// The longest window.
        most: usize,
    },
    /// `max_operations` leaves no room for a single operation.
    MaxOperations(usize),
    /// A duration or threshold in seconds is negative, infinite or not a number.
    Seconds(f64),
    /// A quantile is outside 0 to 1, or not a number.
    Quantile(f64),
    /// The bytes are not a histogram snapshot.
    Snapshot(Damage),
    /// The bytes are not a snapshot of a monitor.
    MonitorSnapshot(Damage),
    /// The snapshot that should be the earlier one holds values that the later one lacks.
    NotEarlier,
    /// Two histograms together hold more than `u64::MAX` values.
    TooManyValues,
    /// The operating system refused the memory for an operation's block; the field is the block's size in bytes.
    OutOfMemory(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { given, most } => {
                write!(f, "a window must hold 1 to {most} samples, got {given}")
            }
            Self::MaxOperations(given) => {
                write!(f, "max_operations must be at least 1, got {given}")
            }
            Self::Seconds(given) => {
                write!(f, "must be a finite number of seconds >= 0, got {given}")
            }
            Self::Quantile(given) => write!(f, "a quantile must be between 0 and 1, got {given}"),
            Self::Snapshot(damage) => write!(f, "not a histogram snapshot: {damage}"),
            Self::MonitorSnapshot(damage) => write!(f, "not a monitor snapshot: {damage}"),
            Self::NotEarlier => f.write_str(
                "the earlier snapshot holds values that the later one lacks; it is of another \
                 histogram, or the histogram was cleared in between",
            ),
            Self::TooManyValues => {
                f.write_str("the histograms hold more than 2^64 - 1 values together")
            }
            Self::OutOfMemory(bytes) => write!(
                f,
                "out of memory for an operation ({bytes} bytes of address space); lower \
                 max_metrics_per_operation or max_operations"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The defect found in bytes that should encode a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes end too early.
    Truncated,
    /// The bytes do not start with the expected magic, which is the field.
    Magic(&'static str),
    /// The bytes have a format version that this release cannot read.
    Version {
        /// The version found.
        given: u8,
        /// The version that can be read.
        readable: u8,
    },
    /// The checksum does not match: the bytes were changed after they were written.
    Checksum,
    /// Bytes are left over after the snapshot.
    Trailing,
    /// A number is too large for its field, or longer than it needs to be.
    Number,
    /// The scale is not one that this release records or coarsens to.
    Scale {
        /// The scale found.
        given: i8,
        /// The coarsest and the finest valid scale.
        range: (i32, i32),
    },
    /// A bucket is empty, out of range, or too narrow to hold a whole number of nanoseconds.
    Bucket,
    /// The counts add up to more than `u64::MAX`.
    Count,
    /// The minimum or maximum is outside the first or last bucket.
    Extremes,
    /// Values in the given buckets cannot add up to the given sum.
    Sum,
    /// A time or threshold is negative, infinite or not a number.
    Seconds,
    /// A name is empty, or occurs twice.
    Name,
    /// The byte that marks an optional field as absent or present is neither 0 nor 1.
    Mark,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::Magic(magic) => write!(f, "it does not start with {magic:?}"),
            Self::Version { given, readable } => {
                write!(f, "the version must be {readable}, got {given}")
            }
            Self::Checksum => f.write_str("the checksum differs: the bytes were changed"),
            Self::Trailing => f.write_str("bytes are left over"),
            Self::Number => f.write_str("a number is too large, or longer than it needs to be"),
            Self::Scale {
                given,
                range: (coarsest, finest),
            } => write!(
                f,
                "the scale must be between {coarsest} and {finest}, got {given}"
            ),
            Self::Bucket => f.write_str("a bucket is empty or out of range"),
            Self::Count => f.write_str("the counts add up to more than 64 bits"),
            Self::Extremes => {
                f.write_str("the minimum or maximum is outside the first or last bucket")
            }
            Self::Sum => f.write_str("the sum is impossible for these buckets"),
            Self::Seconds => f.write_str("a time or threshold is not a finite number >= 0"),
            Self::Name => f.write_str("a name is empty, or occurs twice"),
            Self::Mark => f.write_str("the mark of an optional field is neither 0 nor 1"),
        }
    }
}
