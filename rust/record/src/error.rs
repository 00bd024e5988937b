//! The errors of this crate. Recording cannot fail; an error means that an argument, such as a limit, a threshold or an
//! encoded snapshot, is invalid, or that memory ran out.
//!
//! Errors hold plain data and do not depend on the code that reports them.

use std::fmt;

use nanospan_fallible::OutOfMemory;

use crate::limits::MAX_SECONDS;

/// The reason why a call failed. For an invalid argument, the message states the value and which values are valid.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The window's length is out of range.
    Window {
        /// The rejected length, in samples.
        given: usize,
        /// The maximum length, in samples.
        most: usize,
    },
    /// `max_operations` is 0; it must be at least 1.
    MaxOperations(usize),
    /// A duration or threshold in seconds is negative, longer than 584 years or not a number.
    Seconds(f64),
    /// A quantile is outside 0 to 1, or not a number.
    Quantile(f64),
    /// The bytes do not encode a histogram snapshot.
    Snapshot(Damage),
    /// The bytes do not encode a monitor snapshot.
    MonitorSnapshot(Damage),
    /// The snapshot passed as the earlier one holds values that the later one lacks.
    NotEarlier,
    /// Two histograms cannot be merged, because together they hold more than `u64::MAX` values.
    TooManyValues,
    /// The operating system could not provide the memory block of an operation. The field is the requested size in
    /// bytes.
    NoBlock(usize),
    /// There was no memory for a copy of the recorded data, or for another value whose size depends on data.
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
            Self::Window { given, most } => {
                write!(f, "a window must hold 1 to {most} samples, got {given}")
            }
            Self::MaxOperations(given) => {
                write!(f, "max_operations must be at least 1, got {given}")
            }
            Self::Seconds(given) => {
                write!(
                    f,
                    "the number of seconds must be between 0 and {MAX_SECONDS} (584 years), got {given:?}"
                )
            }
            Self::Quantile(given) => write!(f, "a quantile must be between 0 and 1, got {given}"),
            Self::Snapshot(damage) => write!(f, "not a histogram snapshot: {damage}"),
            Self::MonitorSnapshot(damage) => write!(f, "not a monitor snapshot: {damage}"),
            Self::NotEarlier => f.write_str(
                "the earlier snapshot holds values that the later one lacks; the snapshots are of \
                 different histograms, or the histogram was cleared between them",
            ),
            Self::TooManyValues => {
                f.write_str("the histograms together hold more than 2^64 - 1 values")
            }
            Self::OutOfMemory(error) => error.fmt(f),
            Self::NoBlock(bytes) => write!(
                f,
                "out of memory: no {bytes} bytes of address space are available for an operation; lower \
                 max_metrics_per_operation or raise the process's limit"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The reason why decoding stopped before its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The bytes do not encode what they should.
    Damage(Damage),
    /// There is no memory for what the bytes encode.
    OutOfMemory(OutOfMemory),
}

impl From<Damage> for Stopped {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<OutOfMemory> for Stopped {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

impl Stopped {
    /// Returns the error to report; `damaged` converts damage.
    pub(crate) fn into_error(self, damaged: impl FnOnce(Damage) -> Error) -> Error {
        match self {
            Self::Damage(damage) => damaged(damage),
            Self::OutOfMemory(error) => error.into(),
        }
    }
}

/// The reason why bytes cannot be decoded as a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The bytes end before the snapshot is complete.
    Truncated,
    /// The bytes do not start with the expected magic bytes, which the field contains.
    Magic(&'static str),
    /// The bytes have a format version that this release cannot read.
    Version {
        /// The version found in the bytes.
        given: u8,
        /// The version that this release can read.
        readable: u8,
    },
    /// The checksum does not match the bytes, so they were altered after they were written.
    Checksum,
    /// Extra bytes follow the snapshot.
    Trailing,
    /// A number is too large for its field, or is not encoded in as few bytes as possible.
    Number,
    /// The histogram's scale is outside the range that this release supports.
    Scale {
        /// The scale found in the bytes.
        given: i8,
        /// The coarsest and the finest supported scale.
        range: (i32, i32),
    },
    /// A bucket has a count of 0, an index out of range, or bounds with no whole number of nanoseconds between them.
    Bucket,
    /// The counts, including those of zeros, add up to more than `u64::MAX`.
    Count,
    /// The minimum is not in the first bucket, the maximum is not in the last, or the minimum exceeds the maximum.
    Extremes,
    /// No values in the encoded buckets can add up to the encoded sum.
    Sum,
    /// A time or threshold is negative, longer than 584 years or not a number.
    Seconds,
    /// An operation's name is empty or occurs twice.
    Name,
    /// The byte that marks an optional field as absent or present is neither 0 nor 1.
    Mark,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end before the snapshot is complete"),
            Self::Magic(magic) => write!(f, "the bytes must start with {magic:?}"),
            Self::Version { given, readable } => {
                write!(f, "the format version must be {readable}, got {given}")
            }
            Self::Checksum => f.write_str("the checksum does not match; the bytes are damaged"),
            Self::Trailing => f.write_str("extra bytes follow the snapshot"),
            Self::Number => {
                f.write_str("a number is too large for its field or has redundant bytes")
            }
            Self::Scale {
                given,
                range: (coarsest, finest),
            } => write!(
                f,
                "the scale must be between {coarsest} and {finest}, got {given}"
            ),
            Self::Bucket => f.write_str("a bucket is empty or out of range"),
            Self::Count => f.write_str("the counts add up to more than 2^64 - 1"),
            Self::Extremes => {
                f.write_str("the minimum and maximum do not match the first and last bucket")
            }
            Self::Sum => f.write_str("no values in these buckets can add up to the sum"),
            Self::Seconds => write!(
                f,
                "a time or threshold must be between 0 and {MAX_SECONDS} seconds (584 years)"
            ),
            Self::Name => f.write_str("an operation's name is empty or occurs twice"),
            Self::Mark => f.write_str(
                "the byte that marks an optional field as absent or present must be 0 or 1",
            ),
        }
    }
}
