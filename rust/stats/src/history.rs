//! Finds where the level of a series changed.

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, copied, vec};

use crate::{
    location::Location,
    normal::{critical, student_two_sided, two_sided},
    partition::partition,
    quantiles::quantile,
    ranks::RankSum,
    shift::Differences,
    values::Values,
};

/// The number of values in a window. A long series is partitioned window by window, because the run time of a partition
/// is quadratic in its number of values; `benches/regression_speed.py` checks the run time.
const WINDOW: usize = 512;

/// The number of values by which the window advances. Windows overlap by half, so that every change lies away from the
/// edges of some window.
const STRIDE: usize = 256;

/// The probability that a confidence interval misses the true ratio.
const ALPHA: f64 = 0.01;

/// Criteria for reporting a change of level in a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistorySettings {
    /// The minimum reduction in scatter for which a segment is split in two. The scatter of a segment of n values
    /// ranges from 0, if all values are equal, to n - 1, if no two of them are similar.
    pub penalty: f64,
    /// The minimum number of consecutive values between two changes.
    pub min_size: usize,
    /// The minimum standardised difference between neighbouring levels.
    pub z: f64,
}

impl Default for HistorySettings {
    fn default() -> Self {
        // With these three defaults, the rows "history" of `benches/regression.py` require an F1 score of 0.80 on steps
        // and allow 0.10 false change points per 1,000 values.
        Self {
            penalty: 3.0,
            min_size: 3,
            z: 2.8,
        }
    }
}

/// A point at which the level of a series changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// The index of the first value at the new level.
    pub index: usize,
    /// The median of the level that ends here.
    pub before: f64,
    /// The median of the level that begins here.
    pub after: f64,
    /// The new level divided by the old one (1.0 = unchanged).
    pub ratio: f64,
    /// The 99 % confidence interval of `ratio`.
    pub ci: (f64, f64),
    /// The probability of measuring a difference at least this large if nothing had changed.
    pub p_value: f64,
}

/// Finds the points at which the level of `history` changed.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the computation.
pub fn change_points(
    history: &Values,
    settings: &HistorySettings,
) -> Result<Vec<ChangePoint>, OutOfMemory> {
    let logarithmic = history.all_positive();
    let series = history.scaled(logarithmic)?;
    let mut starts = Vec::new();
    let Some(mut noise) = Noise::within(&series, &starts)? else {
        return Ok(Vec::new());
    };
    for again in [true, false] {
        let scaled = series.iter().map(|value| value / noise.sd).try_vec()?;
        starts = windows(&scaled, settings, noise.inflation)?;
        let z = settings.z * (1.0 + DOUBT * (1.0 - 1.0 / noise.inflation));
        prune(&scaled, &mut starts, z, noise.inflation)?;
        // Between the changes found, the noise can be measured more clearly. If the noise turns out to be the same, a
        // second pass would find the same changes.
        match Noise::within(&series, &starts)? {
            Some(seen) if again && !seen.is_like(noise) => noise = seen,
            _ => break,
        }
    }
    describe(history, &series, noise, logarithmic, &starts)
}

fn windows(
    series: &[f64],
    settings: &HistorySettings,
    inflation: f64,
) -> Result<Vec<usize>, OutOfMemory> {
    let n = series.len();
    let mut starts = Vec::new();
    let mut begin = 0;
    loop {
        let end = (begin + WINDOW).min(n);
        let own = if begin == 0 {
            0
        } else {
            begin + (WINDOW - STRIDE) / 2
        };
        let until = if end == n {
            n
        } else {
            end - (WINDOW - STRIDE) / 2
        };
        let found = partition(
            &series[begin..end],
            settings.penalty * inflation.sqrt(),
            settings.min_size,
        )?;
        starts.try_extend(
            found
                .into_iter()
                .map(|start| begin + start)
                .filter(|start| (own..until).contains(start)),
        )?;
        if end == n {
            return Ok(starts);
        }
        begin += STRIDE;
    }
}

/// Repeatedly removes the weakest change, until the [`evidence`] for every remaining change is at least `z`.
fn prune(
    series: &[f64],
    starts: &mut Vec<usize>,
    z: f64,
    inflation: f64,
) -> Result<(), OutOfMemory> {
    let strength = |starts: &[usize], at: usize| -> Result<f64, OutOfMemory> {
        let before = if at == 0 { 0 } else { starts[at - 1] };
        let after = starts.get(at + 1).copied().unwrap_or(series.len());
        let evidence = evidence(
            &series[before..starts[at]],
            &series[starts[at]..after],
            1.0,
            inflation,
        )?;
        Ok(evidence.abs())
    };
    let mut strengths = (0..starts.len())
        .map(|at| strength(starts, at))
        .try_vec_of::<f64, OutOfMemory>()?;
    while let Some((weakest, &least)) = strengths
        .iter()
        .enumerate()
        .min_by(|a, b| a.1.total_cmp(b.1))
    {
        if least >= z {
            break;
        }
        starts.remove(weakest);
        strengths.remove(weakest);
        if weakest > 0 {
            strengths[weakest - 1] = strength(starts, weakest - 1)?;
        }
        if weakest < starts.len() {
            strengths[weakest] = strength(starts, weakest)?;
        }
    }
    Ok(())
}

/// The number of values below which a level is compared by ranks alone, because a winsorised mean and its variance need
/// more values. The rows "history" of `benches/regression.py` show the effect.
const LEVEL: usize = 24;

/// Returns the standardised difference between two neighbouring levels, measured by ranks or by winsorised values,
/// whichever difference is larger.
///
/// If two levels do not overlap, their ranks do not depend on the distance between them. For correlated values, ranks
/// alone would then provide too little evidence.
#[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
fn evidence(before: &[f64], after: &[f64], sd: f64, inflation: f64) -> Result<f64, OutOfMemory> {
    let (x, y) = (sorted(before)?, sorted(after)?);
    let by_rank = RankSum::of(&x, &y).z(inflation);
    if x.len().min(y.len()) < LEVEL {
        return Ok(by_rank);
    }
    let t = Location::of(&x)?.z(Location::of(&y)?, (inflation, inflation), sd);
    let freedom = ((x.len() + y.len()) as f64 / inflation - 2.0).max(1.0);
    let by_value = critical(student_two_sided(t, freedom)).copysign(t);
    Ok(if by_value.abs() > by_rank.abs() {
        by_value
    } else {
        by_rank
    })
}

/// Returns the values in ascending order.
fn sorted(values: &[f64]) -> Result<Vec<f64>, OutOfMemory> {
    let mut sorted = copied(values)?;
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(sorted)
}

/// The scatter of a series' values around their level.
#[derive(Debug, Clone, Copy)]
struct Noise {
    /// The standard deviation, estimated from the median distance between two values on the assumption that they are
    /// normally distributed.
    sd: f64,
    /// The variance of the values' mean, as a multiple of the variance for the same number of independent values.
    inflation: f64,
}

/// The lags at which values are compared: dense where correlation falls quickly, sparse at longer lags.
const LAGS: [usize; 11] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48];

/// The longest lag used is the length of the series divided by this number, but at least 2. Longer lags would give too
/// few independent differences.
const SHARE: usize = 60;

/// The maximum fraction by which the threshold `z` is raised for correlated values, because their correlation is only
/// an estimate. The row "history, false points per 1,000, correlated" of `benches/regression.py` shows the effect.
const DOUBT: f64 = 0.6;

/// The number of standard errors up to which a correlation is attributed to chance, as in `dependence`.
const CHANCE: f64 = 1.5;

impl Noise {
    /// Returns whether two noise estimates are so close that they would lead to nearly the same partition.
    fn is_like(self, other: Self) -> bool {
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 0.05;
        close(self.sd, other.sd) && close(self.inflation, other.inflation)
    }

    /// Estimates the noise from the differences between values at several lags, within the segments that begin at
    /// `starts`. Returns `None` if there are too few differences or all of them are zero.
    ///
    /// The estimate is a variogram (Cressie and Hawkins, "Robust estimation of the variogram", Mathematical Geology 12,
    /// 1980). It uses medians, so that the few differences across an unknown change of level have little
    /// effect.
    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    fn within(series: &[f64], starts: &[usize]) -> Result<Option<Self>, OutOfMemory> {
        let mut apart = vec(series.len())?;
        let mut scatter = Vec::new();
        let longest = (series.len() / SHARE).max(2);
        for lag in LAGS.into_iter().take_while(|&lag| lag <= longest) {
            apart.clear();
            let mut begin = 0;
            for &end in starts.iter().chain(std::iter::once(&series.len())) {
                let segment = &series[begin..end];
                if segment.len() > lag {
                    apart.try_extend(
                        segment
                            .iter()
                            .zip(&segment[lag..])
                            .map(|(a, b)| (a - b).abs()),
                    )?;
                }
                begin = end;
            }
            if apart.len() < 8 {
                break;
            }
            let middle = apart.len() / 2;
            let median = *apart.select_nth_unstable_by(middle, f64::total_cmp).1;
            let typical = if median > 0.0 {
                1.4826 * median
            } else {
                apart.iter().sum::<f64>() / apart.len() as f64
            };
            scatter.try_push((lag, typical * typical / 2.0))?;
        }
        let Some(&(_, first)) = scatter.first() else {
            return Ok(None);
        };
        if first == 0.0 {
            return Ok(None);
        }
        // The scatter at lags so long that values are independent.
        let plateau = scatter.iter().map(|&(_, s)| s).fold(0.0, f64::max);
        let chance = CHANCE / (series.len() as f64).sqrt();
        let mut inflation = 1.0;
        let mut last = 0;
        for &(lag, scatter) in &scatter {
            let correlation = 1.0 - scatter / plateau;
            if correlation < chance {
                break;
            }
            inflation += 2.0 * correlation * (lag - last) as f64;
            last = lag;
        }
        Ok(Some(Self {
            sd: plateau.sqrt(),
            inflation,
        }))
    }
}

fn describe(
    history: &Values,
    series: &[f64],
    noise: Noise,
    logarithmic: bool,
    starts: &[usize],
) -> Result<Vec<ChangePoint>, OutOfMemory> {
    let Noise { sd, inflation } = noise;
    let bounds: Vec<usize> = std::iter::once(0)
        .chain(starts.iter().copied())
        .chain(std::iter::once(series.len()))
        .try_vec()?;
    let median = |range: std::ops::Range<usize>| -> Result<f64, OutOfMemory> {
        Ok(quantile(&sorted(&history.as_slice()[range])?, 0.5))
    };
    bounds
        .windows(3)
        .map(|bounds| {
            let (begin, index, end) = (bounds[0], bounds[1], bounds[2]);
            let (before, after) = (median(begin..index)?, median(index..end)?);
            let (x, y) = (sorted(&series[begin..index])?, sorted(&series[index..end])?);
            let rank_sum = RankSum::of(&x, &y);
            let half = critical(ALPHA) * (rank_sum.variance * inflation).sqrt();
            let mut differences = Differences::new(&x, &y)?;
            let (low, high) = differences.interval(half)?;
            let ratio = |difference: f64| {
                if logarithmic {
                    (difference).exp()
                } else {
                    1.0 + difference / before.abs()
                }
            };
            Ok(ChangePoint {
                index,
                before,
                after,
                ratio: ratio(differences.median()?),
                ci: (ratio(low), ratio(high)),
                p_value: two_sided(evidence(
                    &series[begin..index],
                    &series[index..end],
                    sd,
                    inflation,
                )?),
            })
        })
        .try_vec_of()
}
