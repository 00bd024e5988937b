//! Compares two samples of durations to decide whether an operation became slower.

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, copied};

use crate::{
    dependence::LongRun,
    few::median_above,
    location::Location,
    normal::{student_critical, student_two_sided},
    quantiles::{maritz_jarrett, quantile},
    ranks::{RankSum, order, ranks},
    shift::Differences,
    values::Values,
};

/// The size of the smaller sample below which an exact test replaces the normal approximation. In such small samples,
/// the error of the approximation exceeds the p-values of interest.
const FEW: usize = 8;

/// The size of the smaller sample below which the correlation between neighbouring values cannot be estimated.
/// A correction based on such an estimate would hide changes so large that the samples' ranges do not overlap
/// (`tests/regression/test_compare.py`).
const SHORT: usize = 20;

/// The tail quantiles to compare, each with the minimum sample size, which leaves at least four values beyond the
/// quantile.
const TAILS: [(f64, usize); 3] = [(0.9, 40), (0.95, 80), (0.99, 400)];

/// The number of independent values that must lie beyond a quantile for the quantile to be judged. Fewer values reveal
/// nothing about its scatter. The limit does not hide changes: with a limit of 0.5, the rows "p99 doubled" of
/// `benches/regression.py` are the same (seeds 101 and 102 at half scale).
const BEYOND: f64 = 1.5;

/// The number by which [`compare_many`] divides the false discovery rate. A lower rate is needed because typical values
/// and tails are tested separately, each at the full rate, and because small p-values that are computed from an
/// estimated variance are inexact.
///
/// The value was chosen based on the rows "200 operations" of `benches/regression.py`. With seeds 101 and 102 at half
/// scale, these were the shares of false discoveries in simulated durations (at most 0.05 is allowed) and the shares of
/// changes found in recorded durations:
///
/// | divisor | false discoveries | found |
/// | --- | --- | --- |
/// | 1 | 0.07, 0.06 | 0.96, 0.96 |
/// | 2 | 0.03, 0.03 | 0.96, 0.93 |
/// | 3 | 0.01, 0.01 | 0.95, 0.91 |
/// | 5 | 0.01, 0.01 | 0.94, 0.88 |
///
/// On noise with bursts, the share of false discoveries came close to 0.05 only with the divisors 3 and 5
/// (2: 0.08, 0.07; 3: 0.05, 0.06).
const JUDGED: f64 = 3.0;

/// The largest value that is compared without being scaled down. The squares of larger values would overflow, so
/// samples that contain such values are multiplied by [`SHRINK`]; the verdict does not depend on the unit.
const HUGE: f64 = 1e100;
const SHRINK: f64 = 1e-200;

/// The default of [`Settings::alpha`] for a single comparison.
pub const ALPHA: f64 = 0.01;

/// The default of [`Settings::alpha`] for [`compare_many`], where it bounds the false discovery rate.
pub const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// The default of [`Settings::min_effect`].
pub const MIN_EFFECT: f64 = 0.03;

/// The default of [`Settings::tail_min_effect`]. It is larger than the median's, because tails vary more from run to
/// run.
pub const TAIL_MIN_EFFECT: f64 = 0.10;

/// The verdict of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Slower: the difference is significant and large enough to report.
    Regressed,
    /// Faster: the difference is significant and large enough to report.
    Improved,
    /// No difference is both significant and large enough to report.
    Unchanged,
    /// Too few values, or too few independent ones, for any difference to be significant.
    Insufficient,
}

/// Criteria for reporting a difference between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// For one comparison, the probability of reporting a change when nothing changed; for many, the expected share of
    /// false positives among the reported changes.
    pub alpha: f64,
    /// The smallest change in the median to report, as a fraction of the median.
    pub min_effect: f64,
    /// The smallest change in a tail quantile to report, as a fraction of that quantile.
    pub tail_min_effect: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alpha: ALPHA,
            min_effect: MIN_EFFECT,
            tail_min_effect: TAIL_MIN_EFFECT,
        }
    }
}

/// The change in one quantile between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileChange {
    /// The quantile, between 0 and 1.
    pub q: f64,
    /// The quantile's new value divided by its baseline value (1.0 = unchanged).
    pub change: f64,
    /// The probability of measuring a change at least this large if nothing had changed.
    pub p_value: f64,
}

/// The result of comparing two samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Whether the operation regressed, improved or is unchanged, or there are too few values to tell.
    pub verdict: Verdict,
    /// If nothing had changed, the probability of measuring a difference at least as clear as the clearest one found.
    pub p_value: f64,
    /// The typical current value divided by the typical baseline value; NaN if either sample is empty.
    pub shift: f64,
    /// The confidence interval of `shift`, at confidence level 1 - alpha.
    pub shift_ci: (f64, f64),
    /// Changes in the tail quantiles, limited to those for which both samples have enough values.
    pub quantiles: Vec<QuantileChange>,
    /// The effective size of the less informative sample: how many independent values would be as informative.
    pub effective_n: f64,
    /// The numbers of values in the baseline and in the current sample.
    pub counts: (usize, usize),
}

/// The values of a sample, both in ascending order and in time order.
struct Sample {
    ascending: Vec<f64>,
    /// The ranks of the values, in time order.
    ranks: Vec<f64>,
    in_time: Vec<f64>,
}

impl Sample {
    fn new(in_time: Vec<f64>) -> Result<Self, OutOfMemory> {
        let order = order(&in_time)?;
        Ok(Self {
            ascending: order
                .iter()
                .map(|&place| in_time[place as usize])
                .try_vec()?,
            ranks: ranks(&in_time, &order)?,
            in_time,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
    fn len(&self) -> f64 {
        self.in_time.len() as f64
    }
}

/// The scale on which the samples are compared. It determines how a difference is converted to a multiple of the
/// baseline value.
#[derive(Clone, Copy)]
enum Scale {
    Logarithmic,
    Linear,
}

impl Scale {
    fn ratio(self, difference: f64, from: f64) -> f64 {
        match self {
            Self::Logarithmic => difference.exp(),
            Self::Linear if difference == 0.0 => 1.0,
            Self::Linear => 1.0 + difference / from.abs(),
        }
    }
}

/// The evidence for a difference between two samples, on which the verdict is based.
struct Evidence {
    comparison: Comparison,
    /// For each test: the change, its p-value (corrected for the number of tail tests), and the smallest change to
    /// report.
    looks: Vec<(f64, f64, f64)>,
    /// A lower bound on the p-values that a rank test can give, whatever the order of the values.
    possible: f64,
}

impl Evidence {
    /// Returns the comparison with its verdict, treating a difference as significant if its p-value is at most
    /// `cutoff`.
    fn decide(mut self, alpha: f64, cutoff: f64) -> Comparison {
        let found = self.looks.iter().find(|&&(change, p_value, least)| {
            p_value <= cutoff && (change >= 1.0 + least || change <= 1.0 / (1.0 + least))
        });
        self.comparison.verdict = match found {
            Some((change, ..)) if *change > 1.0 => Verdict::Regressed,
            Some(_) => Verdict::Improved,
            None if self.possible > alpha && self.comparison.p_value > alpha => {
                Verdict::Insufficient
            }
            None => Verdict::Unchanged,
        };
        self.comparison
    }
}

/// Compares the sample `current` with the sample `baseline`.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the computation.
pub fn compare(
    baseline: &Values,
    current: &Values,
    settings: &Settings,
) -> Result<Comparison, OutOfMemory> {
    Ok(gather(baseline, current, settings)?.decide(settings.alpha, settings.alpha))
}

/// Compares each pair of baseline and current values. The expected share of false positives among the pairs reported
/// as changed is at most `settings.alpha`.
///
/// The method is that of Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal
/// Statistical Society B 57, 1995.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the computation.
#[expect(clippy::cast_precision_loss, reason = "a count of operations")]
pub fn compare_many(
    pairs: &[(Values, Values)],
    settings: &Settings,
) -> Result<Vec<Comparison>, OutOfMemory> {
    let evidence = pairs
        .iter()
        .map(|(baseline, current)| gather(baseline, current, settings))
        .try_vec_of::<Evidence, OutOfMemory>()?;
    let mut p_values = evidence
        .iter()
        .map(|each| each.comparison.p_value)
        .try_vec()?;
    p_values.sort_unstable_by(f64::total_cmp);
    let alpha = settings.alpha / JUDGED;
    let allowed = |rank: usize| alpha * rank as f64 / pairs.len() as f64;
    let cutoff = (1..=p_values.len())
        .rev()
        .map(|rank| (rank, p_values[rank - 1]))
        .find(|&(rank, p_value)| p_value <= allowed(rank))
        .map_or(0.0, |(rank, _)| allowed(rank));
    evidence
        .into_iter()
        .map(|evidence| evidence.decide(settings.alpha, cutoff))
        .try_vec()
}

fn gather(
    baseline: &Values,
    current: &Values,
    settings: &Settings,
) -> Result<Evidence, OutOfMemory> {
    let logarithmic = baseline.all_positive() && current.all_positive();
    let mut scaled = [baseline.scaled(logarithmic)?, current.scaled(logarithmic)?];
    if scaled.iter().flatten().any(|value| value.abs() > HUGE) {
        scaled
            .iter_mut()
            .flatten()
            .for_each(|value| *value *= SHRINK);
    }
    let [x, y] = scaled;
    let (x, y) = (Sample::new(x)?, Sample::new(y)?);
    let mut comparison = Comparison {
        verdict: Verdict::Insufficient,
        p_value: 1.0,
        shift: f64::NAN,
        shift_ci: (f64::NEG_INFINITY, f64::INFINITY),
        quantiles: Vec::new(),
        effective_n: 0.0,
        counts: (x.ascending.len(), y.ascending.len()),
    };
    let fewest = x.ascending.len().min(y.ascending.len());
    if fewest == 0 {
        return Ok(Evidence {
            comparison,
            looks: Vec::new(),
            possible: 1.0,
        });
    }

    let typical = quantile(&x.ascending, 0.5);
    let scale = if logarithmic {
        Scale::Logarithmic
    } else {
        Scale::Linear
    };
    let (run_x, run_y) = if fewest < SHORT && apart(&x, &y) {
        (LongRun::INDEPENDENT, LongRun::INDEPENDENT)
    } else {
        (LongRun::of(&x.ranks)?, LongRun::of(&y.ranks)?)
    };
    let (worth_x, worth_y) = (x.len() / run_x.inflation, y.len() / run_y.inflation);
    comparison.effective_n = worth_x.min(worth_y);
    let inflated = (1.0 / worth_x + 1.0 / worth_y) / (1.0 / x.len() + 1.0 / y.len());
    let rank_sum = RankSum::of(&x.ascending, &y.ascending);
    let mut differences = Differences::new(&x.ascending, &y.ascending)?;
    comparison.shift = scale.ratio(differences.median()?, typical);
    let freedom =
        1.0 / (1.0 / (worth_x + worth_y - 2.0).max(1.0) + 1.0 / (run_x.freedom + run_y.freedom));
    let half = student_critical(settings.alpha, freedom) * (rank_sum.variance * inflated).sqrt();
    let (low, high) = differences.interval(half)?;
    comparison.shift_ci = (scale.ratio(low, typical), scale.ratio(high, typical));

    if fewest < FEW {
        let (p_value, possible) = few_p(&x, &y);
        comparison.p_value = p_value;
        let looks = if clear(&x, &y) {
            copied(&[(comparison.shift, p_value, settings.min_effect)])?
        } else {
            Vec::new()
        };
        return Ok(Evidence {
            comparison,
            looks,
            possible,
        });
    }

    let possible = if fewest < SHORT {
        0.0
    } else {
        let farthest = RankSum::wholly_apart(x.len(), y.len());
        student_two_sided(farthest.z(inflated), freedom)
    };
    let tails: Vec<(QuantileChange, bool)> = TAILS
        .iter()
        .filter(|&&(_, needed)| fewest >= needed)
        .map(|&(q, _)| tail((&x, run_x), (&y, run_y), q, scale))
        .try_vec_of::<_, OutOfMemory>()?;
    // Where the samples' ranges do not overlap, ranks cannot show how far apart the samples are.
    let by_value = if apart(&x, &y) {
        let inflations = (run_x.inflation, run_y.inflation);
        Location::of(&x.ascending)?.z(Location::of(&y.ascending)?, inflations, 0.0)
    } else {
        0.0
    };
    let t = rank_sum.z(inflated).abs().max(by_value.abs());
    let bulk = student_two_sided(t, freedom);
    let mut looks = copied(&[(comparison.shift, bulk, settings.min_effect)])?;
    looks.try_extend(
        tails
            .iter()
            // If the level itself drifts, the tails drift too, so tail tests would be misleading.
            .filter(|(_, enough)| *enough && possible <= settings.alpha)
            .map(|(tail, _)| (tail.change, tail.p_value, settings.tail_min_effect)),
    )?;
    #[expect(clippy::cast_precision_loss, reason = "at most three")]
    let taken = (looks.len() - 1) as f64;
    for look in &mut looks[1..] {
        look.1 = (look.1 * taken).min(1.0);
    }
    comparison.quantiles = tails.iter().map(|&(tail, _)| tail).try_vec()?;
    comparison.p_value = looks.iter().map(|look| look.1).fold(1.0, f64::min);
    Ok(Evidence {
        comparison,
        looks,
        possible,
    })
}

/// Compares a tail quantile of two samples; also returns whether each sample has enough independent values beyond the
/// quantile.
///
/// If the level of a sample drifts, its tail quantiles drift too, though the further out a quantile is, the less it
/// drifts. The values beyond the quantile may be too few to show this drift, so at least a share of the correlation in
/// the whole sample is assumed for them.
fn tail(
    x: (&Sample, LongRun),
    y: (&Sample, LongRun),
    q: f64,
    scale: Scale,
) -> Result<(QuantileChange, bool), OutOfMemory> {
    let before = quantile(&x.0.ascending, q);
    let after = quantile(&y.0.ascending, q);
    let mut fewest = f64::INFINITY;
    let mut variance = |(sample, run): (&Sample, LongRun), at: f64| -> Result<f64, OutOfMemory> {
        let beyond: Vec<f64> = sample
            .in_time
            .iter()
            .map(|&v| f64::from(u8::from(v > at)))
            .try_vec()?;
        let seen = LongRun::of(&beyond)?.inflation;
        let inflated = seen.max(run.inflation * (1.0 - q).sqrt());
        fewest = fewest.min(sample.len() * (1.0 - q) / inflated);
        Ok(maritz_jarrett(&sample.ascending, q).powi(2) * inflated)
    };
    let sd = (variance(x, before)? + variance(y, after)?).sqrt();
    let difference = after - before;
    let z = if difference == 0.0 {
        0.0
    } else {
        difference / sd
    };
    let change = QuantileChange {
        q,
        change: scale.ratio(difference, before),
        p_value: student_two_sided(z, 2.0 * fewest),
    };
    Ok((change, fewest >= BEYOND))
}

/// Returns the two-sided p-value of the position of the smaller sample's median among the larger sample's values, and
/// the smallest p-value possible at these sample sizes.
fn few_p(x: &Sample, y: &Sample) -> (f64, f64) {
    let (few, many) = if y.in_time.len() <= x.in_time.len() {
        (y, x)
    } else {
        (x, y)
    };
    let (m, n) = (few.ascending.len(), many.ascending.len());
    let lower = few.ascending[m.div_ceil(2) - 1];
    let upper = few.ascending[m / 2];
    let below = many.ascending.partition_point(|&v| v < lower) as u64;
    let above = (n - many.ascending.partition_point(|&v| v <= upper)) as u64;
    let p = |beaten| (2.0 * median_above(m as u64, n as u64, beaten)).min(1.0);
    (p(below.max(above)), p(n as u64))
}

/// Returns true if the ranges of the two samples do not overlap.
fn apart(x: &Sample, y: &Sample) -> bool {
    let (x, y) = (&x.ascending, &y.ascending);
    x[x.len() - 1] < y[0] || y[y.len() - 1] < x[0]
}

/// Returns true if the smaller sample lies clearly above (or below) the larger one: its median beyond the larger
/// sample's p99 (or p1), and all its values beyond the larger sample's p90 (or p10).
fn clear(x: &Sample, y: &Sample) -> bool {
    let (few, many) = if y.in_time.len() <= x.in_time.len() {
        (y, x)
    } else {
        (x, y)
    };
    let few = &few.ascending;
    let many = &many.ascending;
    let median = quantile(few, 0.5);
    (median > quantile(many, 0.99) && few[0] > quantile(many, 0.9))
        || (median < quantile(many, 0.01) && few[few.len() - 1] < quantile(many, 0.1))
}
