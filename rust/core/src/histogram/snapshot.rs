//! A histogram at rest: quantiles, merging, coarser scales.

use super::config::{SCALE, representative};
use crate::error::Error;

/// A copy of a histogram, in nanoseconds. It is a plain value: mergeable with any other, whatever process
/// or host it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    scale: i32,
    zeros: u64,
    first: i32,
    counts: Vec<u64>,
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Snapshot {
    /// The histogram of no values.
    fn default() -> Self {
        Self {
            scale: SCALE,
            zeros: 0,
            first: 0,
            counts: Vec::new(),
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Snapshot {
    /// A snapshot of the buckets from `first` on at [`SCALE`], in canonical form: no empty bucket at
    /// either end.
    #[must_use]
    pub fn new(zeros: u64, first: i32, counts: Vec<u64>, sum: u128, min: u64, max: u64) -> Self {
        let mut snapshot = Self {
            scale: SCALE,
            zeros,
            first,
            counts,
            sum,
            min,
            max,
        };
        snapshot.trim();
        snapshot
    }

    fn trim(&mut self) {
        let end = self
            .counts
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |i| i + 1);
        self.counts.truncate(end);
        let start = self.counts.iter().position(|&n| n > 0).unwrap_or(0);
        self.counts.drain(..start);
        self.first = if self.counts.is_empty() {
            0
        } else {
            self.first + i32::try_from(start).unwrap_or(i32::MAX)
        };
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// The values' exact sum in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u128 {
        self.sum
    }

    /// The exact smallest value in nanoseconds, if there is one.
    #[must_use]
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min)
    }

    /// The exact largest value in nanoseconds, if there is one.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max)
    }

    /// The scale: 2^scale buckets an octave.
    #[must_use]
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Values that were exactly 0.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The non-empty buckets as `(index, count)`, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (i32, u64)> {
        (self.first..)
            .zip(self.counts.iter().copied())
            .filter(|&(_, count)| count > 0)
    }

    /// The value in nanoseconds at rank ceil(q * count), within
    /// [`RELATIVE_ERROR`](super::config::RELATIVE_ERROR) of the true one at scale 6; `None` without
    /// values.
    ///
    /// # Errors
    ///
    /// [`Error::Quantile`] if `q` is not between 0 and 1.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is off by less than one in 2^53"
    )]
    pub fn quantile(&self, q: f64) -> Result<Option<f64>, Error> {
        if !(0.0..=1.0).contains(&q) {
            return Err(Error::Quantile(q));
        }
        let count = self.count();
        if count == 0 {
            return Ok(None);
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = self.zeros;
        if rank <= seen {
            return Ok(Some(0.0));
        }
        let index = self.buckets().find_map(|(index, n)| {
            seen += n;
            (rank <= seen).then_some(index)
        });
        Ok(index
            .map(|index| representative(index, self.scale).clamp(self.min as f64, self.max as f64)))
    }

    /// Adds `other`'s values; the result has the coarser of both scales. Associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        let scale = self.scale.min(other.scale);
        let other = other.at_scale(scale);
        *self = self.at_scale(scale);
        self.zeros += other.zeros;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            self.first = other.first;
        }
        let end = |s: &Self| i64::from(s.first) + s.counts.len() as i64;
        let (first, last) = (self.first.min(other.first), end(self).max(end(&other)));
        let mut counts = vec![0; usize::try_from(last - i64::from(first)).unwrap_or(0)];
        for part in [&*self, &other] {
            for (index, n) in part.buckets() {
                counts[(index - first).cast_unsigned() as usize] += n;
            }
        }
        (self.first, self.counts) = (first, counts);
    }

    /// The same values at a coarser scale, by merging neighbours; unchanged if `scale` is not coarser.
    ///
    /// Bucket `i` falls into bucket `i >> 1` one scale down, as OpenTelemetry defines perfect subsetting.
    #[must_use]
    pub fn at_scale(&self, scale: i32) -> Self {
        let mut coarse = self.clone();
        if scale >= self.scale {
            return coarse;
        }
        // An i32 index is 0 or -1 after 31 halvings.
        let shift = (self.scale - scale).min(31);
        coarse.scale = scale;
        coarse.counts.clear();
        coarse.first = self.first >> shift;
        for (index, n) in self.buckets() {
            let slot = ((index >> shift) - coarse.first).cast_unsigned() as usize;
            if slot >= coarse.counts.len() {
                coarse.counts.resize(slot + 1, 0);
            }
            coarse.counts[slot] += n;
        }
        coarse
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    //! Properties: a quantile is within the stated error of the exact one; merging is associative and
    //! commutative and equals recording everything in one place; coarsening commutes with merging.

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::histogram::{
        Recorder,
        config::{MAX_INDEX, MIN_INDEX, RELATIVE_ERROR, index_of, lower_bound},
    };

    fn recorded(values: &[u64]) -> Snapshot {
        let memory = crate::memory::Memory::zeroed(Recorder::WORDS).expect("one histogram fits");
        let recorder = Recorder::new(memory.words());
        for &value in values {
            recorder.count(value);
        }
        Snapshot::new(
            recorder.zeros(),
            MIN_INDEX,
            recorder.counts(MIN_INDEX, MAX_INDEX),
            values.iter().map(|&v| u128::from(v)).sum(),
            values.iter().copied().min().unwrap_or(u64::MAX),
            values.iter().copied().max().unwrap_or(0),
        )
    }

    fn durations() -> impl Strategy<Value = Vec<u64>> {
        // Every order of magnitude from 0 ns to an hour is as likely as any other.
        vec(
            (0_u64..4_000_000_000_000, 0_u32..42).prop_map(|(v, s)| v >> s),
            0..300,
        )
    }

    fn merged(mut a: Snapshot, b: &Snapshot) -> Snapshot {
        a.merge(b);
        a
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        let empty = recorded(&[]);
        assert_eq!(empty, Snapshot::default());
        assert_eq!(empty.quantile(0.5), Ok(None));
        assert_eq!((empty.min_ns(), empty.max_ns()), (None, None));
    }

    #[test]
    fn quantiles_outside_zero_to_one_are_refused() {
        for q in [-0.1, 1.1, f64::INFINITY] {
            assert_eq!(recorded(&[1]).quantile(q), Err(Error::Quantile(q)));
        }
        assert!(recorded(&[1]).quantile(f64::NAN).is_err());
    }

    #[test]
    fn one_bucket_remains_at_the_coarsest_scales() {
        let coarse = recorded(&[2, 1_000, u64::MAX]).at_scale(-40);
        assert_eq!(coarse.buckets().collect::<Vec<_>>(), [(0, 3)]);
        assert_eq!(
            recorded(&[1]).at_scale(-40).buckets().collect::<Vec<_>>(),
            [(-1, 1)]
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error(values in durations(), q in 0.0..=1.0_f64) {
            prop_assume!(!values.is_empty());
            let snapshot = recorded(&values);
            let mut sorted = values;
            sorted.sort_unstable();
            let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
            let exact = sorted[rank - 1] as f64;
            let estimate = snapshot.quantile(q).unwrap().unwrap();
            prop_assert!((estimate - exact).abs() <= RELATIVE_ERROR * exact * (1.0 + 1e-9));
        }

        #[test]
        fn merging_equals_recording_everything(a in durations(), b in durations()) {
            let together = recorded(&[a.clone(), b.clone()].concat());
            let (a, b) = (recorded(&a), recorded(&b));
            prop_assert_eq!(merged(a.clone(), &b), together.clone());
            prop_assert_eq!(merged(b, &a), together);
        }

        #[test]
        fn merging_is_associative_at_any_scales(
            a in durations(), b in durations(), c in durations(),
            i in -3..=6_i32, j in -3..=6_i32,
        ) {
            let (a, b, c) = (recorded(&a).at_scale(i), recorded(&b).at_scale(j), recorded(&c));
            prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a, &merged(b, &c)));
        }

        #[test]
        fn coarser_buckets_follow_the_definition(values in durations(), scale in -4..6_i32) {
            let coarse = recorded(&values).at_scale(scale);
            prop_assert_eq!(coarse.count(), values.len() as u64);
            for (index, n) in coarse.buckets() {
                // Each fine bucket lies wholly inside one coarse bucket, so comparing the ends of the
                // value's own fine bucket is exact where comparing the value in floating point is not.
                let inside = values.iter().filter(|&&v| v > 0).filter(|&&v| {
                    let fine = index_of(v);
                    let (low, high) = (f64::from(fine) / 64.0, f64::from(fine + 1) / 64.0);
                    let width = f64::from(-scale).exp2();
                    low >= f64::from(index) * width && high <= f64::from(index + 1) * width
                });
                prop_assert_eq!(inside.count() as u64, n);
            }
            let bounds = coarse.buckets().map(|(i, _)| lower_bound(i, scale));
            prop_assert!(bounds.is_sorted());
        }
    }
}
