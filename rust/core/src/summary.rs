//! Statistics of a window, exact.

use crate::ring::{Outcome, Sample};

/// What a window of samples amounts to. Durations are seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Samples in the window.
    pub count: usize,
    /// Samples whose outcome is [`Outcome::Error`].
    pub errors: usize,
    /// Samples whose outcome is [`Outcome::Cancelled`].
    pub cancelled: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of the window itself (divided by `count`); 0 for one sample.
    pub stddev: f64,
    /// Shortest.
    pub min: f64,
    /// Longest.
    pub max: f64,
    /// Median; this and the further percentiles are of type 7.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// When the latest of the samples ended, in [`Clock`](crate::Clock) ticks.
    pub last_end: u64,
}

impl Summary {
    /// Condenses samples; `None` if there are none.
    #[must_use]
    pub fn of(samples: impl IntoIterator<Item = Sample>) -> Option<Self> {
        let (mut errors, mut cancelled, mut last_end) = (0, 0, 0);
        let mut seconds: Vec<f64> = samples
            .into_iter()
            .map(|sample| {
                match sample.outcome {
                    Outcome::Ok => {}
                    Outcome::Error => errors += 1,
                    Outcome::Cancelled => cancelled += 1,
                }
                last_end = last_end.max(sample.end);
                sample.duration.seconds()
            })
            .collect();
        if seconds.is_empty() {
            return None;
        }
        let (mean, stddev) = mean_and_stddev(&seconds);
        let [p50, p95, p99, p999] = percentiles(&mut seconds, [0.5, 0.95, 0.99, 0.999]);
        let (min, max) = seconds
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(min, max), &s| {
                (min.min(s), max.max(s))
            });
        Some(Self {
            count: seconds.len(),
            errors,
            cancelled,
            mean,
            stddev,
            min,
            max,
            p50,
            p95,
            p99,
            p999,
            last_end,
        })
    }

    /// The share of samples that succeeded among those that were not cancelled; 1 if all were.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
    pub fn success_rate(&self) -> f64 {
        match self.count - self.cancelled {
            0 => 1.0,
            finished => (finished - self.errors) as f64 / finished as f64,
        }
    }
}

/// Mean and population standard deviation of finite values >= 0, scaled so that neither overflows.
///
/// The sum is Neumaier's compensated sum ("Rundungsfehleranalyse einiger Verfahren zur Summation
/// endlicher Summen", 1974); the variance takes a second pass over the deviations.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
fn mean_and_stddev(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let largest = values.iter().fold(0.0_f64, |a, &b| a.max(b));
    // Only sums near the end of the range need scaling, and only powers of two scale exactly.
    let scale = if largest > 1e100 {
        (-512_f64).exp2()
    } else {
        1.0
    };
    let mean = neumaier_sum(values.iter().map(|v| v * scale)) / n;
    let squares = neumaier_sum(values.iter().map(|v| (v * scale - mean).powi(2)));
    (mean / scale, (squares / n).sqrt() / scale)
}

fn neumaier_sum(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, lost) = values.fold((0.0_f64, 0.0), |(sum, lost), value| {
        let next = sum + value;
        let rounding = if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        (next, lost + rounding)
    });
    sum + lost
}

/// Percentiles at ascending `quantiles` by linear interpolation between closest ranks: Hyndman and
/// Fan's type 7 ("Sample Quantiles in Statistical Packages", 1996), as NumPy's default.
///
/// Reorders `values`, which must not be empty nor hold NaN.
fn percentiles<const N: usize>(values: &mut [f64], quantiles: [f64; N]) -> [f64; N] {
    let last = values.len() - 1;
    let mut out = [0.0; N];
    // From the highest down, each selection works only on what lies below the one before.
    let mut end = values.len();
    for (slot, q) in out.iter_mut().zip(quantiles).rev() {
        let (low, fraction) = rank(last, q);
        let high = (low + 1).min(last);
        if high < end {
            values[..end].select_nth_unstable_by(high, f64::total_cmp);
            end = high + 1;
        }
        if low < high && low + 1 < end {
            values[..high].select_nth_unstable_by(low, f64::total_cmp);
            end = low + 1;
        }
        *slot = interpolate(values[low], values[high], fraction);
    }
    out
}

/// The lower of the two ranks that `q` falls between, and how far it lies towards the next.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are >= 0 and below 2^24"
)]
fn rank(last: usize, q: f64) -> (usize, f64) {
    let position = q * last as f64;
    let low = position.floor();
    (low as usize, position - low)
}

/// From `a` towards `b`, computed from the nearer end so that both ends are exact and the result is
/// monotone in `fraction`.
fn interpolate(a: f64, b: f64, fraction: f64) -> f64 {
    if fraction < 0.5 {
        a + (b - a) * fraction
    } else {
        b - (b - a) * (1.0 - fraction)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::ring::Measured;

    fn sample(seconds: f64, outcome: Outcome) -> Sample {
        Sample {
            end: (seconds * 1e9) as u64,
            duration: Measured::Seconds(seconds),
            outcome,
            has_metadata: false,
        }
    }

    fn summary(seconds: &[f64]) -> Option<Summary> {
        Summary::of(seconds.iter().map(|&s| sample(s, Outcome::Ok)))
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let one = summary(&[0.1]).unwrap();
        let all = [
            one.mean, one.min, one.max, one.p50, one.p95, one.p99, one.p999,
        ];
        assert_eq!(all, [0.1; 7]);
        assert_eq!(one.stddev, 0.0);
    }

    #[test]
    fn percentiles_interpolate_between_closest_ranks() {
        let two = summary(&[2.0, 1.0]).unwrap();
        assert_eq!([two.p50, two.p95, two.p99], [1.5, 1.95, 1.99]);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let hundred = summary(&hundred).unwrap();
        assert_eq!(
            [hundred.p50, hundred.p95, hundred.p99],
            [50.5, 95.05, 99.01]
        );
    }

    #[test]
    fn cancelled_samples_do_not_count_against_success() {
        let outcomes = [
            Outcome::Ok,
            Outcome::Error,
            Outcome::Cancelled,
            Outcome::Cancelled,
        ];
        let mixed = Summary::of(outcomes.map(|o| sample(1.0, o))).unwrap();
        assert_eq!((mixed.errors, mixed.cancelled), (1, 2));
        assert_eq!(mixed.success_rate(), 0.5);
        let none_finished = Summary::of([sample(1.0, Outcome::Cancelled)]).unwrap();
        assert_eq!(none_finished.success_rate(), 1.0);
    }

    #[test]
    fn mean_and_deviation_survive_cancellation_and_huge_values() {
        let near: Vec<f64> = (0..1_000).map(|i| 1e9 + f64::from(i % 2)).collect();
        let near = summary(&near).unwrap();
        assert_eq!((near.mean, near.stddev), (1e9 + 0.5, 0.5));
        let huge = summary(&[f64::MAX, f64::MAX]).unwrap();
        assert_eq!((huge.mean, huge.stddev), (f64::MAX, 0.0));
    }

    proptest! {
        #[test]
        fn percentiles_equal_those_of_the_sorted_values(
            values in vec(prop_oneof![0.0..1e-3, 0.0..1e3, Just(0.25)], 1..300),
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = |q| {
                let (low, fraction) = rank(sorted.len() - 1, q);
                interpolate(sorted[low], sorted[(low + 1).min(sorted.len() - 1)], fraction)
            };
            let got = summary(&values).unwrap();
            prop_assert_eq!(
                [got.p50, got.p95, got.p99, got.p999],
                [exact(0.5), exact(0.95), exact(0.99), exact(0.999)]
            );
            prop_assert_eq!((got.min, got.max), (sorted[0], sorted[sorted.len() - 1]));
            prop_assert!(got.min <= got.mean && got.mean <= got.max * (1.0 + 1e-15));
        }
    }
}
