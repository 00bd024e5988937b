//! Comparing two samples: did the operation become slower?

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

/// With fewer values than this in either sample, exact counts replace the normal approximation, whose error exceeds the
/// p-values of interest there.
const FEW: usize = 8;

/// With fewer values than this the correlation of neighbours cannot be estimated, and correcting for the estimate would
/// discard the evidence of samples that lie wholly apart (`tests/regression/test_compare.py`).
const SHORT: usize = 20;

/// The tail quantiles compared, each with the minimum size of a sample, which leaves at least four values beyond it.
const TAILS: [(f64, usize); 3] = [(0.9, 40), (0.95, 80), (0.99, 400)];

/// How many independent values must lie beyond a quantile for it to be judged; fewer reveal nothing about its scatter.
/// This costs nothing: with 0.5 the rows "p99 doubled" of `benches/regression.py` are the same (seeds 101 and 102 at
/// half scale).
const BEYOND: f64 = 1.5;

/// The number by which [`compare_many`] divides the false discovery rate. The bulk and the tails are tested
/// separately, each at the whole of alpha, and small p-values from an estimated variance are inexact.
///
/// Set by the rows "200 operations" of `benches/regression.py`. With seeds 101 and 102 at half its scale the false
/// discoveries among the models, of which 0.05 are allowed, and the changes found in recordings were:
///
/// | divisor | false discoveries | found |
/// | --- | --- | --- |
/// | 1 | 0.07, 0.06 | 0.96, 0.96 |
/// | 2 | 0.03, 0.03 | 0.96, 0.93 |
/// | 3 | 0.01, 0.01 | 0.95, 0.91 |
/// | 5 | 0.01, 0.01 | 0.94, 0.88 |
///
/// On noise with bursts only 3 and 5 came near the 0.05 (2: 0.08, 0.07; 3: 0.05, 0.06).
const JUDGED: f64 = 3.0;

/// The squares of larger values would overflow, so samples with such values are shrunk; the verdict does not depend on
/// the unit.
const HUGE: f64 = 1e100;
const SHRINK: f64 = 1e-200;

/// The default of [`Settings::alpha`] for a single comparison.
pub const ALPHA: f64 = 0.01;

/// The default of [`Settings::alpha`] for [`compare_many`], where it bounds the false discovery rate.
pub const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// The default of [`Settings::min_effect`].
pub const MIN_EFFECT: f64 = 0.03;

/// The default of [`Settings::tail_min_effect`]. Tails vary more than the median from run to run.
pub const TAIL_MIN_EFFECT: f64 = 0.10;

/// The verdict of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Slower: significant, and large enough to matter.
    Regressed,
    /// Faster: significant, and large enough to matter.
    Improved,
    /// No difference that is both significant and large enough.
    Unchanged,
    /// Too few values, or too few independent ones, for any difference to be significant.
    Insufficient,
}

/// Criteria for reporting a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// For one comparison, the probability of reporting a change when nothing changed; for many, the expected share of
    /// false positives among the reported changes.
    pub alpha: f64,
    /// The smallest change of the median to report, as a fraction of the median.
    pub min_effect: f64,
    /// The smallest change of a tail quantile to report, as a fraction of that quantile.
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

/// The change of one quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileChange {
    /// The quantile, between 0 and 1.
    pub q: f64,
    /// The quantile's new value divided by its baseline value (1.0 = unchanged).
    pub change: f64,
    /// The probability of a change at least this large when nothing changed.
    pub p_value: f64,
}

/// The result of comparing two samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The verdict.
    pub verdict: Verdict,
    /// The probability of a difference at least as large as the largest one found, when nothing changed.
    pub p_value: f64,
    /// The typical current value divided by the typical baseline value; NaN if either sample is empty.
    pub shift: f64,
    /// The confidence interval of the shift, at level 1 - alpha.
    pub shift_ci: (f64, f64),
    /// The changes of those tail quantiles for which both samples have enough values.
    pub quantiles: Vec<QuantileChange>,
    /// The number of independent values that the less informative sample is equivalent to.
    pub effective_n: f64,
    /// The number of values in the baseline and the current sample.
    pub counts: (usize, usize),
}

/// A sample in ascending order and in time order.
struct Sample {
    ascending: Vec<f64>,
    /// The ranks of the values, in time order.
    ranks: Vec<f64>,
    in_time: Vec<f64>,
}

impl Sample {
    fn new(in_time: Vec<f64>) -> Self {
        let order = order(&in_time);
        Self {
            ascending: order.iter().map(|&place| in_time[place as usize]).collect(),
            ranks: ranks(&in_time, &order),
            in_time,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of values in memory")]
    fn len(&self) -> f64 {
        self.in_time.len() as f64
    }
}

/// The scale of the samples, which determines how a difference becomes a multiple of the baseline's value.
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

/// The evidence for a difference, before the verdict.
struct Evidence {
    comparison: Comparison,
    /// For each test: the change, the probability of one at least as large when nothing changed (corrected for the
    /// number of tail tests), and the smallest change to report.
    looks: Vec<(f64, f64, f64)>,
    /// The smallest p-value that any ordering of the values' ranks could have yielded.
    possible: f64,
}

impl Evidence {
    /// Returns the comparison with its verdict, treating every p-value of at most `cutoff` as a real difference.
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

/// Compares `current` with `baseline`.
#[must_use]
pub fn compare(baseline: &Values, current: &Values, settings: &Settings) -> Comparison {
    gather(baseline, current, settings).decide(settings.alpha, settings.alpha)
}

/// Compares each pair of baseline and current values. The expected share of false positives among the pairs reported
/// as changed is at most `settings.alpha`.
///
/// Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57,
/// 1995.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a count of operations")]
pub fn compare_many(pairs: &[(Values, Values)], settings: &Settings) -> Vec<Comparison> {
    let evidence: Vec<Evidence> = pairs
        .iter()
        .map(|(baseline, current)| gather(baseline, current, settings))
        .collect();
    let mut p_values: Vec<f64> = evidence.iter().map(|e| e.comparison.p_value).collect();
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
        .collect()
}

fn gather(baseline: &Values, current: &Values, settings: &Settings) -> Evidence {
    let logarithmic = baseline.all_positive() && current.all_positive();
    let mut scaled = [baseline.scaled(logarithmic), current.scaled(logarithmic)];
    if scaled.iter().flatten().any(|value| value.abs() > HUGE) {
        scaled
            .iter_mut()
            .flatten()
            .for_each(|value| *value *= SHRINK);
    }
    let [x, y] = scaled.map(Sample::new);
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
        return Evidence {
            comparison,
            looks: Vec::new(),
            possible: 1.0,
        };
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
        (LongRun::of(&x.ranks), LongRun::of(&y.ranks))
    };
    let (worth_x, worth_y) = (x.len() / run_x.inflation, y.len() / run_y.inflation);
    comparison.effective_n = worth_x.min(worth_y);
    let inflated = (1.0 / worth_x + 1.0 / worth_y) / (1.0 / x.len() + 1.0 / y.len());
    let rank_sum = RankSum::of(&x.ascending, &y.ascending);
    let mut differences = Differences::new(&x.ascending, &y.ascending);
    comparison.shift = scale.ratio(differences.median(), typical);
    let freedom =
        1.0 / (1.0 / (worth_x + worth_y - 2.0).max(1.0) + 1.0 / (run_x.freedom + run_y.freedom));
    let half = student_critical(settings.alpha, freedom) * (rank_sum.variance * inflated).sqrt();
    let (low, high) = differences.interval(half);
    comparison.shift_ci = (scale.ratio(low, typical), scale.ratio(high, typical));

    if fewest < FEW {
        let (p_value, possible) = few_p(&x, &y);
        comparison.p_value = p_value;
        let looks = if clear(&x, &y) {
            vec![(comparison.shift, p_value, settings.min_effect)]
        } else {
            Vec::new()
        };
        return Evidence {
            comparison,
            looks,
            possible,
        };
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
        .collect();
    // Where the samples' ranges do not overlap, ranks cannot show how far apart the samples are.
    let by_value = if apart(&x, &y) {
        let inflations = (run_x.inflation, run_y.inflation);
        Location::of(&x.ascending).z(Location::of(&y.ascending), inflations, 0.0)
    } else {
        0.0
    };
    let t = rank_sum.z(inflated).abs().max(by_value.abs());
    let bulk = student_two_sided(t, freedom);
    let mut looks = vec![(comparison.shift, bulk, settings.min_effect)];
    looks.extend(
        tails
            .iter()
            // Where the level itself wanders, the tails wander with it.
            .filter(|(_, enough)| *enough && possible <= settings.alpha)
            .map(|(tail, _)| (tail.change, tail.p_value, settings.tail_min_effect)),
    );
    #[expect(clippy::cast_precision_loss, reason = "at most three")]
    let taken = (looks.len() - 1) as f64;
    for look in &mut looks[1..] {
        look.1 = (look.1 * taken).min(1.0);
    }
    comparison.quantiles = tails.into_iter().map(|(tail, _)| tail).collect();
    comparison.p_value = looks.iter().map(|look| look.1).fold(1.0, f64::min);
    Evidence {
        comparison,
        looks,
        possible,
    }
}

/// Compares a tail quantile of two samples; also returns whether each sample has enough independent values beyond it.
///
/// Where the level wanders, the tails wander with it, though less the further out they are. Too few values may lie
/// beyond the quantile to show that, so a share of the whole sample's dependence is assumed.
fn tail(
    x: (&Sample, LongRun),
    y: (&Sample, LongRun),
    q: f64,
    scale: Scale,
) -> (QuantileChange, bool) {
    let before = quantile(&x.0.ascending, q);
    let after = quantile(&y.0.ascending, q);
    let mut fewest = f64::INFINITY;
    let mut variance = |(sample, run): (&Sample, LongRun), at: f64| {
        let beyond: Vec<f64> = sample
            .in_time
            .iter()
            .map(|&v| f64::from(u8::from(v > at)))
            .collect();
        let seen = LongRun::of(&beyond).inflation;
        let inflated = seen.max(run.inflation * (1.0 - q).sqrt());
        fewest = fewest.min(sample.len() * (1.0 - q) / inflated);
        maritz_jarrett(&sample.ascending, q).powi(2) * inflated
    };
    let sd = (variance(x, before) + variance(y, after)).sqrt();
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
    (change, fewest >= BEYOND)
}

/// The two-sided p-value of the smaller sample's median, and the smallest p-value that it could have.
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

/// Whether the samples' ranges do not overlap.
fn apart(x: &Sample, y: &Sample) -> bool {
    let (x, y) = (&x.ascending, &y.ascending);
    x[x.len() - 1] < y[0] || y[y.len() - 1] < x[0]
}

/// Whether the smaller sample is clearly separate on one side: its median beyond the other's p99 (or p1), and all its
/// values beyond the other's p90 (or p10).
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
