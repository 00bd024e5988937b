//! A number of seconds that is validated when it is created, used for durations and thresholds.

use crate::{error::Error, limits::MAX_SECONDS};

/// A duration or threshold in seconds; guaranteed to be between 0 and [`MAX_SECONDS`].
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Seconds(f64);

impl Seconds {
    /// Validates `value` and wraps it. The value is kept bit for bit, even if it is -0.0.
    ///
    /// # Errors
    ///
    /// [`Error::Seconds`] if `value` is negative, above [`MAX_SECONDS`] or NaN.
    #[inline]
    pub fn new(value: f64) -> Result<Self, Error> {
        if (0.0..=MAX_SECONDS).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Error::Seconds(value))
        }
    }

    /// Restores a value from the bit pattern of the `f64` that [`get`](Self::get) returned.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        let seconds = Self(f64::from_bits(bits));
        debug_assert_eq!(
            Self::new(seconds.0),
            Ok(seconds),
            "not a valid bit pattern for Seconds"
        );
        seconds
    }

    /// Returns the number of seconds.
    #[inline]
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns the value rounded to whole nanoseconds; `u64::MAX` for [`MAX_SECONDS`].
    #[inline]
    #[must_use]
    pub fn nanos(self) -> u64 {
        nanos(self.0)
    }
}

/// Rounds an unvalidated number of seconds to whole nanoseconds, like [`Seconds::nanos`]; returns 0 if `seconds` is
/// negative or NaN, and `u64::MAX` if it is [`MAX_SECONDS`] or more.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates"
)]
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9 + 0.5) as u64
}
