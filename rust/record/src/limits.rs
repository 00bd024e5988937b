//! Limits of what can be recorded.

/// The longest duration in seconds (584 years): that of 2^64 nanoseconds.
///
/// It is a valid duration itself, because `u64::MAX` nanoseconds convert to this float.
pub const MAX_SECONDS: f64 = (1_u128 << 64) as f64 / 1e9;
