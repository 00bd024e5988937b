//! The distributions of test statistics: the normal distribution, and Student's t distribution for variances that are
//! estimated from few values.

use std::f64::consts::SQRT_2;

use statrs::function::{
    beta::{beta_reg, inv_beta_reg},
    erf::{erfc, erfc_inv},
};

/// The number of degrees of freedom at and above which the normal distribution replaces Student's t distribution. Their
/// 0.01 quantiles then differ by less than one part in 5,000.
const NORMAL: f64 = 1e4;

/// The smallest probability for which the inverse of Student's distribution is computed.
const LEAST: f64 = 1e-50;

/// The probability that a standard normal value is at least as far from zero as `z`, on either side.
pub(super) fn two_sided(z: f64) -> f64 {
    erfc(z.abs() / SQRT_2)
}

/// The `z` at which [`two_sided`] equals `p`, a probability between 0 and 1.
pub(super) fn critical(p: f64) -> f64 {
    SQRT_2 * erfc_inv(p)
}

/// The probability that a value from Student's t distribution is at least as far from zero as `t`, on either side
/// (Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.1 and 26.5.27).
pub(super) fn student_two_sided(t: f64, freedom: f64) -> f64 {
    if freedom >= NORMAL {
        return two_sided(t);
    }
    beta_reg(freedom / 2.0, 0.5, freedom / (freedom + t * t))
}

/// The `t` at which [`student_two_sided`] equals `p`, a probability between 0 and 1.
pub(super) fn student_critical(p: f64, freedom: f64) -> f64 {
    if freedom >= NORMAL {
        return critical(p);
    }
    let x = inv_beta_reg(freedom / 2.0, 0.5, p.max(LEAST));
    (freedom * (1.0 - x) / x).sqrt()
}
