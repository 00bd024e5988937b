//! Exact tests for samples too small for a normal approximation.

use statrs::function::factorial::ln_binomial;

/// The probability, when nothing differs, that the lower median of `m` values lies above at least
/// `beaten` of `n` others.
///
/// It does exactly if among the `beaten + r - 1` smallest of all values at most `r - 1` are of the `m`, where `r` is
/// the lower median's rank: a tail of the hypergeometric distribution, as every choice of which values
/// are the `m` is equally likely.
pub(super) fn median_above(m: u64, n: u64, beaten: u64) -> f64 {
    let rank = m.div_ceil(2);
    let smallest = beaten + rank - 1;
    let all = ln_binomial(n + m, smallest);
    (0..rank)
        .filter(|&ours| ours <= smallest && smallest - ours <= n)
        .map(|ours| (ln_binomial(m, ours) + ln_binomial(n, smallest - ours) - all).exp())
        .sum::<f64>()
        .min(1.0)
}
