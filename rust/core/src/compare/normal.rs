//! The standard normal distribution.

use statrs::function::erf::{erfc, erfc_inv};
use std::f64::consts::SQRT_2;

/// The probability of a value at least as far from zero as `z`, on either side.
pub(super) fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / SQRT_2)
}

/// The `z` for which [`two_sided`] is `p`, which lies in 0 to 1.
pub(super) fn critical(p: f64) -> f64 {
    SQRT_2 * erfc_inv(p)
}
