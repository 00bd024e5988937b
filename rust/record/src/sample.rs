//! Samples. A sample describes one finished execution: when it ended, how long it took, and its outcome.

use crate::seconds::Seconds;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// The execution returned normally.
    Ok = 0,
    /// The execution raised an exception, or the caller marked it as failed.
    Error = 1,
    /// The execution was cancelled, interrupted or closed.
    Cancelled = 2,
}

/// All outcomes, in numerical order.
pub const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Error, Outcome::Cancelled];

impl Outcome {
    /// Returns the outcome's name as it appears in all output: `ok`, `error` or `cancelled`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// Decodes an outcome from its number in the two lowest bits of `bits`; ignores all other bits.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Ok,
            1 => Self::Error,
            _ => Self::Cancelled,
        }
    }
}

/// A duration, kept in the unit in which it was measured so that no precision is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured {
    /// Nanoseconds measured with nanospan's clock.
    Nanos(u64),
    /// Seconds, for a duration that the caller measured.
    Seconds(Seconds),
}

impl Measured {
    /// Returns the duration in seconds. A duration that was passed in seconds is returned unchanged.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 104 days")]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Nanos(ns) => ns as f64 / 1e9,
            Self::Seconds(seconds) => seconds.get(),
        }
    }

    /// Returns the duration rounded to whole nanoseconds; `u64::MAX` if it is 584 years or longer.
    #[inline]
    #[must_use]
    pub fn nanos(self) -> u64 {
        match self {
            Self::Nanos(ns) => ns,
            Self::Seconds(seconds) => seconds.nanos(),
        }
    }
}

/// The record of one finished execution of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the execution ended, in [`Clock`](crate::Clock) ticks.
    pub end: u64,
    /// How long the execution took.
    pub duration: Measured,
    /// How the execution ended.
    pub outcome: Outcome,
    /// Whether the sample has metadata, which is stored outside the ring of samples.
    pub has_metadata: bool,
}
