//! Exact statistics of a window, which holds an operation's most recent samples.

use nanospan_fallible::{OutOfMemory, TryCollect, filled, vec};

use crate::sample::{Outcome, Sample};

/// Exact statistics of an operation's most recent samples (its window). Durations are in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples.
    pub count: usize,
    /// Number of samples whose outcome is [`Outcome::Error`].
    pub errors: usize,
    /// Number of samples whose outcome is [`Outcome::Cancelled`].
    pub cancelled: usize,
    /// Arithmetic mean of the durations.
    pub mean: f64,
    /// Population standard deviation of the durations (with divisor `count`); 0 for one sample.
    pub stddev: f64,
    /// Shortest duration.
    pub min: f64,
    /// Longest duration.
    pub max: f64,
    /// Median duration. All percentiles are interpolated by Hyndman and Fan's type 7.
    pub p50: f64,
    /// 95th percentile of the durations.
    pub p95: f64,
    /// 99th percentile of the durations.
    pub p99: f64,
    /// 99.9th percentile of the durations.
    pub p999: f64,
    /// The latest end time of any sample, in [`Clock`](crate::Clock) ticks.
    pub last_end: u64,
}

impl Summary {
    /// Computes the statistics of `samples`. Returns `None` if there are no samples.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory to sort them in.
    pub fn of(samples: impl IntoIterator<Item = Sample>) -> Result<Option<Self>, OutOfMemory> {
        let samples = samples.into_iter().try_vec()?;
        let mut tally = Tally::with_capacity(samples.len())?;
        samples.into_iter().for_each(|sample| tally.add(sample));
        tally.finish()
    }

    /// Returns the fraction of samples that succeeded, from 0 to 1. Cancelled samples are ignored; the result is 1 if
    /// all samples were cancelled.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
    pub fn success_rate(&self) -> f64 {
        match self.count - self.cancelled {
            0 => 1.0,
            finished => (finished - self.errors) as f64 / finished as f64,
        }
    }
}

/// Accumulates samples one by one, and then computes their [`Summary`].
#[derive(Debug)]
pub(crate) struct Tally {
    // Bit patterns of the durations in seconds. For floats >= 0, they sort like the floats themselves. The vector has
    // room for all of them from the start.
    keys: Vec<u64>,
    // The extremes of the keys, found in the same pass.
    lowest: u64,
    highest: u64,
    errors: usize,
    cancelled: usize,
    last_end: u64,
}

impl Tally {
    /// Creates a tally of at most `samples` samples.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for them.
    pub(crate) fn with_capacity(samples: usize) -> Result<Self, OutOfMemory> {
        Ok(Self {
            keys: vec(samples)?,
            lowest: u64::MAX,
            highest: 0,
            errors: 0,
            cancelled: 0,
            last_end: 0,
        })
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "there is room for all keys")]
    pub(crate) fn add(&mut self, sample: Sample) {
        // `+ 0.0` turns -0.0, whose bit pattern would be the largest of all, into plain zero.
        let key = (sample.duration.seconds() + 0.0).to_bits();
        debug_assert!(self.keys.len() < self.keys.capacity());
        self.keys.push(key);
        self.lowest = self.lowest.min(key);
        self.highest = self.highest.max(key);
        self.errors += usize::from(sample.outcome == Outcome::Error);
        self.cancelled += usize::from(sample.outcome == Outcome::Cancelled);
        self.last_end = self.last_end.max(sample.end);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
    pub(crate) fn finish(self) -> Result<Option<Summary>, OutOfMemory> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let (lowest, highest) = (self.lowest, self.highest);
        let (min, max) = (f64::from_bits(lowest), f64::from_bits(highest));
        let count = self.keys.len();
        let mean = sum(&self.keys) / count as f64;
        let stddev = stddev(&self.keys, mean);
        let [p50, p95, p99, p999] =
            percentiles(&self.keys, lowest, highest, [0.5, 0.95, 0.99, 0.999])?;
        Ok(Some(Summary {
            count,
            errors: self.errors,
            cancelled: self.cancelled,
            // Rounding of the sum and the quotient may put the mean outside the range by a unit in the last place.
            mean: mean.clamp(min, max),
            stddev,
            min,
            max,
            p50,
            p95,
            p99,
            p999,
            last_end: self.last_end,
        }))
    }
}

/// A compensated sum: a running sum and the total of its rounding errors.
///
/// The rounding error of each addition is computed exactly, by Knuth's TwoSum ("The Art of Computer Programming",
/// volume 2, section 4.2.2), which needs no branch, unlike Neumaier's variant.
#[derive(Debug, Clone, Copy, Default)]
struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    #[inline]
    fn add(&mut self, value: f64) {
        let next = self.sum + value;
        let taken = next - self.sum;
        self.lost += (self.sum - (next - taken)) + (value - taken);
        self.sum = next;
    }

    fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// Returns the sum of the values whose bit patterns are in `keys`.
fn sum(keys: &[u64]) -> f64 {
    // Two independent sums, so that the processor can add to both at the same time.
    let mut lanes = [Compensated::default(); 2];
    let (pairs, rest) = keys.as_chunks::<2>();
    for pair in pairs {
        for (lane, &key) in lanes.iter_mut().zip(pair) {
            lane.add(f64::from_bits(key));
        }
    }
    let [mut all, other] = lanes;
    all.add(other.sum);
    all.lost += other.lost;
    rest.iter().for_each(|&key| all.add(f64::from_bits(key)));
    all.total()
}

/// Returns the population standard deviation of the values whose bit patterns are in `keys`; `mean` is their mean.
///
/// Summing the squared deviations in a second pass avoids the loss of precision in a difference of squares.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^24")]
fn stddev(keys: &[u64], mean: f64) -> f64 {
    let square = |key: u64| {
        let deviation = f64::from_bits(key) - mean;
        deviation * deviation
    };
    // Squares are never negative and so cannot cancel: short plain sums lose no visible precision. Four sums are kept,
    // so that the processor can add to them at the same time. Only their total is compensated.
    let mut all = Compensated::default();
    for block in keys.chunks(64) {
        let (fours, rest) = block.as_chunks::<4>();
        let mut lanes = [0.0; 4];
        for four in fours {
            for (lane, &key) in lanes.iter_mut().zip(four) {
                *lane += square(key);
            }
        }
        all.add(lanes.iter().sum::<f64>() + rest.iter().map(|&key| square(key)).sum::<f64>());
    }
    (all.total() / keys.len() as f64).sqrt()
}

/// Number of parts into which [`percentiles`] divides the values. With 256 or 1,024 parts, the benchmark "window of
/// 1,000" in `benches/rust` is slower.
const PARTS: usize = 512;

/// Computes the given `quantiles` by linear interpolation between closest ranks: Hyndman and Fan's type 7
/// ("Sample Quantiles in Statistical Packages", 1996), which is also NumPy's default.
///
/// `keys` contains the bit patterns of one or more values, all of them >= 0; `min` and `max` are the smallest and
/// largest key. One pass of a radix sort divides the keys into parts by magnitude. Then only the few parts that contain
/// a requested rank are sorted. This is three times as fast as selection by comparison.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for a second copy of the keys.
fn percentiles<const N: usize>(
    keys: &[u64],
    min: u64,
    max: u64,
    quantiles: [f64; N],
) -> Result<[f64; N], OutOfMemory> {
    // Parts only have to preserve the order of the keys. The bit pattern of 0 is far from that of any usual duration,
    // so a single 0 would squeeze all other samples into a few parts; adding a microsecond prevents that.
    let position = |key: u64| (f64::from_bits(key) + 1e-6).to_bits();
    let lowest = position(min);
    let bits = u64::BITS - (position(max) - lowest).leading_zeros();
    let shift = bits.saturating_sub(PARTS.ilog2());
    let part = |key: u64| (((position(key) - lowest) >> shift) as usize).min(PARTS - 1);

    // At first, `bounds[i]` is the start of part `i`; once the keys are in place, it is the start of part `i + 1`.
    let mut bounds = [0_u32; PARTS + 1];
    for &key in keys {
        bounds[part(key) + 1] += 1;
    }
    let mut sum = 0;
    for bound in &mut bounds {
        sum += *bound;
        *bound = sum;
    }
    let mut parted = filled(0, keys.len())?;
    for &key in keys {
        let next = &mut bounds[part(key)];
        parted[*next as usize] = key;
        *next += 1;
    }

    let mut sorted = [usize::MAX; 2];
    let mut at = |rank: usize| {
        let part = part(parted[rank]);
        if !sorted.contains(&part) {
            let start = part.checked_sub(1).map_or(0, |before| bounds[before]);
            parted[start as usize..bounds[part] as usize].sort_unstable();
            sorted = [sorted[1], part];
        }
        f64::from_bits(parted[rank])
    };
    let last = keys.len() - 1;
    Ok(quantiles.map(|q| {
        let (low, fraction) = rank(last, q);
        interpolate(at(low), at((low + 1).min(last)), fraction)
    }))
}

/// Returns the rank at or just below quantile `q` in a list whose last rank is `last`, and how far the quantile lies
/// beyond that rank, as a fraction of the way to the next.
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

/// Interpolates linearly from `a` (`fraction` 0) to `b` (`fraction` 1). The result is computed from the nearer end, so
/// that it is exact at both ends and monotone in `fraction`.
fn interpolate(a: f64, b: f64, fraction: f64) -> f64 {
    if fraction < 0.5 {
        a + (b - a) * fraction
    } else {
        b - (b - a) * (1.0 - fraction)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{limits::MAX_SECONDS, sample::Measured, seconds::Seconds};

    fn sample(seconds: f64, outcome: Outcome) -> Sample {
        Sample {
            end: (seconds * 1e9) as u64,
            duration: Measured::Seconds(Seconds::new(seconds).expect("seconds in range")),
            outcome,
            has_metadata: false,
        }
    }

    fn summary(seconds: &[f64]) -> Option<Summary> {
        Summary::of(seconds.iter().map(|&s| sample(s, Outcome::Ok))).expect("enough memory")
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
        let mixed = Summary::of(outcomes.map(|o| sample(1.0, o)))
            .unwrap()
            .unwrap();
        assert_eq!((mixed.errors, mixed.cancelled), (1, 2));
        assert_eq!(mixed.success_rate(), 0.5);
        let none_finished = Summary::of([sample(1.0, Outcome::Cancelled)])
            .unwrap()
            .unwrap();
        assert_eq!(none_finished.success_rate(), 1.0);
    }

    #[test]
    fn mean_and_deviation_survive_cancellation_and_huge_values() {
        let near: Vec<f64> = (0..1_000).map(|i| 1e9 + f64::from(i % 2)).collect();
        let near = summary(&near).unwrap();
        assert_eq!((near.mean, near.stddev), (1e9 + 0.5, 0.5));
        let huge = summary(&[MAX_SECONDS; 2]).unwrap();
        assert_eq!((huge.mean, huge.stddev), (MAX_SECONDS, 0.0));
    }
}
