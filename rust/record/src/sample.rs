//! One finished execution: when it ended, how long it took, and its outcome.

use crate::seconds::Seconds;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// It returned.
    Ok = 0,
    /// An exception left it, or the caller said that it failed.
    Error = 1,
    /// It was cancelled, interrupted or closed.
    Cancelled = 2,
}

/// Every outcome, in the order of their numbers.
pub const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Error, Outcome::Cancelled];

impl Outcome {
    /// The name used in every text that nanospan writes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// The outcome with that number; only the two lowest bits count.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Ok,
            1 => Self::Error,
            _ => Self::Cancelled,
        }
    }
}

/// A duration as it was measured, so that it comes back exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measured {
    /// Nanoseconds by our own clock.
    Nanos(u64),
    /// Seconds that the caller measured.
    Seconds(Seconds),
}

impl Measured {
    /// The duration in seconds; bit for bit the caller's value where the caller gave seconds.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 104 days")]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Nanos(ns) => ns as f64 / 1e9,
            Self::Seconds(seconds) => seconds.get(),
        }
    }

    /// The duration in whole nanoseconds, rounded; `u64::MAX` for 584 years and more.
    #[inline]
    #[must_use]
    pub fn nanos(self) -> u64 {
        match self {
            Self::Nanos(ns) => ns,
            Self::Seconds(seconds) => seconds.nanos(),
        }
    }
}

/// One finished execution of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it ended, in [`Clock`](crate::Clock) ticks.
    pub end: u64,
    /// How long it took.
    pub duration: Measured,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether metadata is kept for it beside the ring.
    pub has_metadata: bool,
}
