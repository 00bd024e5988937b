//! Exact tests for samples too small for a normal approximation.

use statrs::function::factorial::ln_binomial;

/// Returns the probability, if nothing has changed, that the lower median of `m` values is larger than at least
/// `beaten` of `n` other values.
///
/// The median is that large if and only if at most `r - 1` of the `beaten + r - 1` smallest values belong to the sample
/// of `m` values, where `r` is the rank of the lower median. Every choice of `m` values is equally likely to be this
/// sample, so the probability is a tail of the hypergeometric distribution.
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
