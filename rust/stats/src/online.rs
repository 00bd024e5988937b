//! Detects changes in the level of a stream of values as they happen.

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, copied, vec};

use crate::{
    dependence::{inflation, lag_one},
    quantiles::quantile,
};

/// Settings of an [`OnlineDetector`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnlineSettings {
    /// The number of values from which a level is first learned.
    pub warmup: usize,
    /// The number of values in each batch. The mean of each batch is compared with the level.
    pub batch: usize,
    /// The largest deviation from the learned level that never raises an alarm, however long it lasts, in standard
    /// deviations of a batch's mean. The tolerance is `k` plus the standard error of the level.
    pub k: f64,
    /// The limit on the accumulated deviation beyond the tolerance (see `k`), in standard deviations of a batch's mean.
    /// An alarm is raised when the limit is exceeded.
    pub h: f64,
}

impl Default for OnlineSettings {
    fn default() -> Self {
        // With these defaults, the rows "online" of `benches/regression.py` allow 0.30 false alarms per 10,000 values.
        // A small `k` with a large `h` finds small changes that the textbook values 0.5 and 5 miss, and reports large
        // changes a few batches later.
        Self {
            warmup: 400,
            batch: 10,
            k: 0.3,
            h: 13.0,
        }
    }
}

/// A detected change in the level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// The index of the value that raised the alarm, counted from 0.
    pub index: u64,
    /// The approximate start of the change: the index of the first value in the run of deviations that provides
    /// most of the evidence.
    pub since: u64,
    /// The level learned before the change.
    pub before: f64,
    /// The level after the change.
    pub after: f64,
    /// `after` divided by `before`, where 1.0 means unchanged; if `before` is negative, 1 plus the change divided by
    /// the absolute value of `before`.
    pub ratio: f64,
}

/// Learns the level of a stream of values and detects when the level changes.
///
/// The method is a two-sided CUSUM (Page, "Continuous inspection schemes", Biometrika 41, 1954) of the means of small
/// batches. The detector takes the values' logarithms if all values in the warm-up are positive. It winsorises the
/// values, so that outliers raise no alarms, and measures the means in units of their long-run standard deviation, so
/// that correlation between neighbouring values raises no alarms either.
///
/// After the warm-up, the detector also learns from deviations that later values cancel out, so its estimate of the
/// level becomes more precise and follows a slow drift. After an alarm, the detector learns the new level. Memory use
/// is fixed once the first level has been learned.
#[derive(Debug)]
pub struct OnlineDetector {
    settings: OnlineSettings,
    /// The values from which a level is being learned; empty once the level is known. There is room for all of them.
    learning: Vec<f64>,
    level: Option<Level>,
    batch: Batch,
    up: Side,
    down: Side,
    /// Sums over the batches from which the level has not been updated yet; it is updated when no run of deviations is
    /// in progress, up or down.
    pending: Moments,
    seen: u64,
}

/// The learned level of a stream, and the scatter around it.
#[derive(Debug, Clone, Copy)]
struct Level {
    logarithmic: bool,
    /// Values below `low` are replaced by `low`, and values above `high` by `high`.
    low: f64,
    high: f64,
    /// The mean of the values after winsorising.
    centre: f64,
    /// The first centre learned; `moments` and `last` hold deviations from it.
    origin: f64,
    moments: Moments,
    /// The mean of the previous batch, as a deviation from `origin`.
    last: f64,
    /// The reciprocal of the long-run standard deviation of a batch's mean.
    scale: f64,
    /// The standard error of `centre`, as a multiple of the long-run standard deviation of a batch's mean.
    doubt: f64,
    /// The mean of the values before winsorising.
    mean: f64,
}

/// Running sums over batch means.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
    /// The sum of the products of each mean and the one before it.
    products: f64,
}

impl Moments {
    fn add(&mut self, mean: f64, before: f64) {
        self.count += 1.0;
        self.sum += mean;
        self.squares += mean * mean;
        self.products += mean * before;
    }

    /// Returns the mean of the batch means, and the long-run variance of a batch mean.
    fn long_run(&self) -> (f64, f64) {
        let mean = self.sum / self.count;
        let squares = (self.squares - self.count * mean * mean).max(0.0);
        let products = self.products - self.count * mean * mean;
        let variance = squares / (self.count - 1.0);
        (
            mean,
            variance * inflation(lag_one(self.count, products, squares)),
        )
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    winsorised: f64,
    plain: f64,
    count: usize,
}

/// A run of deviations that later values have not yet cancelled out.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    excess: f64,
    since: u64,
    plain: f64,
    count: usize,
}

impl Run {
    fn add(&mut self, deviation: f64, batch: Batch, start: u64) {
        if self.excess == 0.0 {
            *self = Self {
                since: start,
                ..Self::default()
            };
        }
        self.excess = (self.excess + deviation).max(0.0);
        self.plain += batch.plain;
        self.count += batch.count;
    }
}

/// The distance beyond the tolerance at which a deviation counts as clear, in standard deviations of a batch's mean.
/// Clear deviations affect the reported start and level of a change ([`Alarm::since`] and [`Alarm::after`]), but not
/// whether an alarm is raised.
const CLEAR: f64 = 1.0;

/// The current runs of deviations in one direction, up or down.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    run: Run,
    /// The run of clear deviations. It starts with a large change, whereas `run` may already be under way by then.
    clear: Run,
}

impl Side {
    fn add(&mut self, deviation: f64, batch: Batch, start: u64) {
        self.run.add(deviation, batch, start);
        self.clear.add(deviation - CLEAR, batch, start);
    }

    /// Returns the run that best shows when and to what value the level changed: `clear` if it provides most of
    /// the evidence, otherwise `run`.
    fn clearest(&self) -> Run {
        if self.clear.excess > self.run.excess / 2.0 {
            self.clear
        } else {
            self.run
        }
    }
}

impl OnlineDetector {
    /// Creates a detector. `warmup` must be at least `8 * batch`, and `batch` at least 1.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for `warmup` values.
    pub fn new(settings: OnlineSettings) -> Result<Self, OutOfMemory> {
        Ok(Self {
            settings,
            learning: vec(settings.warmup)?,
            level: None,
            batch: Batch::default(),
            up: Side::default(),
            down: Side::default(),
            pending: Moments::default(),
            seen: 0,
        })
    }

    /// Processes the next value, which must be finite; returns an alarm if it reveals a change in the level.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory to learn a level; the detector has then ignored the value.
    #[inline]
    pub fn update(&mut self, value: f64) -> Result<Option<Alarm>, OutOfMemory> {
        let index = self.seen;
        let Some(level) = &self.level else {
            self.learn(value)?;
            self.seen += 1;
            return Ok(None);
        };
        self.seen += 1;
        let plain = level.scaled(value);
        self.batch.winsorised += plain.clamp(level.low, level.high);
        self.batch.plain += plain.max(level.mean - 50.0);
        self.batch.count += 1;
        if self.batch.count < self.settings.batch {
            return Ok(None);
        }
        let level = *level;
        Ok(self.judge(level, index))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    fn judge(&mut self, level: Level, index: u64) -> Option<Alarm> {
        let batch = std::mem::take(&mut self.batch);
        let start = index + 1 - batch.count as u64;
        let mean = batch.winsorised / batch.count as f64;
        let deviation = (mean - level.centre) * level.scale;
        let tolerated = self.settings.k + level.doubt;
        self.up.add(deviation - tolerated, batch, start);
        self.down.add(-deviation - tolerated, batch, start);
        self.pending.add(mean - level.origin, level.last);
        let alarmed = [self.up, self.down]
            .into_iter()
            .find(|side| side.run.excess > self.settings.h);
        let Some(side) = alarmed else {
            if let Some(level) = &mut self.level {
                level.last = mean - level.origin;
                if self.up.run.excess == 0.0 && self.down.run.excess == 0.0 {
                    level.learn(std::mem::take(&mut self.pending));
                }
            }
            return None;
        };
        let run = side.clearest();
        let after = run.plain / run.count as f64;
        let alarm = Alarm {
            index,
            since: run.since,
            before: level.plain(level.mean),
            after: level.plain(after),
            ratio: level.ratio(after),
        };
        self.level = None;
        (self.up, self.down) = (Side::default(), Side::default());
        self.pending = Moments::default();
        Some(alarm)
    }

    fn learn(&mut self, value: f64) -> Result<(), OutOfMemory> {
        self.learning.try_push(value)?;
        if self.learning.len() == self.settings.warmup {
            match Level::of(&self.learning, self.settings.batch) {
                Ok(level) => self.level = Some(level),
                Err(error) => {
                    self.learning.pop();
                    return Err(error);
                }
            }
            self.learning.clear();
        }
        Ok(())
    }
}

/// The number of recent batches that largely determine the level, so that it follows a drift: 2,000 values with the
/// default batch of 10. Older batches count less and less. The "online" rows of `benches/regression.py` show the
/// effect.
const REMEMBERED: f64 = 200.0;

/// The distance from the median, in robust standard deviations, beyond which values are winsorised, as in `location`.
const WINSORISED_AT: f64 = 3.0;

/// Returns the minimum spread to assume around a level, so that rounding errors do not count as changes in a constant
/// level.
fn rounding(level: f64, logarithmic: bool) -> f64 {
    let least = if logarithmic { 1.0 } else { 1e-290 };
    16.0 * f64::EPSILON * level.abs().max(least)
}

impl Level {
    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    fn of(values: &[f64], batch: usize) -> Result<Self, OutOfMemory> {
        let logarithmic = values.iter().all(|&value| value > 0.0);
        let mut values = copied(values)?;
        if logarithmic {
            values.iter_mut().for_each(|value| *value = value.ln());
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut sorted = copied(&values)?;
        sorted.sort_unstable_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let mut away = sorted
            .iter()
            .map(|value| (value - median).abs())
            .try_vec()?;
        away.sort_unstable_by(f64::total_cmp);
        // If most values are equal, the robust spread is zero, so the mean distance from the median is used instead.
        let robust = 1.4826 * quantile(&away, 0.5);
        let typical = away.iter().sum::<f64>() / away.len() as f64;
        let least = rounding(median, logarithmic);
        let spread = if robust > least {
            robust
        } else {
            typical.max(least)
        };
        let (low, high) = (
            median - WINSORISED_AT * spread,
            median + WINSORISED_AT * spread,
        );
        let means: Vec<f64> = values
            .chunks_exact(batch)
            .map(|chunk| chunk.iter().map(|v| v.clamp(low, high)).sum::<f64>() / batch as f64)
            .try_vec()?;
        let origin = means.iter().sum::<f64>() / means.len() as f64;
        let mut moments = Moments::default();
        let mut last = 0.0;
        for deviation in means.iter().map(|mean| mean - origin) {
            moments.add(deviation, last);
            last = deviation;
        }
        let mut level = Self {
            logarithmic,
            low,
            high,
            centre: origin,
            origin,
            moments: Moments::default(),
            last,
            scale: 0.0,
            doubt: 0.0,
            mean,
        };
        level.learn(moments);
        Ok(level)
    }

    /// Updates the level with batches whose deviations cancelled out.
    fn learn(&mut self, batches: Moments) {
        let moments = &mut self.moments;
        moments.count += batches.count;
        moments.sum += batches.sum;
        moments.squares += batches.squares;
        moments.products += batches.products;
        if moments.count > REMEMBERED {
            let share = REMEMBERED / moments.count;
            moments.count *= share;
            moments.sum *= share;
            moments.squares *= share;
            moments.products *= share;
        }
        let (centre, variance) = moments.long_run();
        self.centre = self.origin + centre;
        self.doubt = 1.0 / self.moments.count.sqrt();
        // The standard deviation is as uncertain as the centre, and an underestimate raises false alarms.
        let sd = variance.sqrt() * (1.0 + self.doubt);
        self.scale = 1.0 / sd.max(rounding(self.origin, self.logarithmic));
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.logarithmic { value.ln() } else { value }
    }

    fn plain(&self, scaled: f64) -> f64 {
        if self.logarithmic {
            scaled.exp()
        } else {
            scaled
        }
    }

    fn ratio(&self, after: f64) -> f64 {
        if self.logarithmic {
            (after - self.mean).exp()
        } else {
            1.0 + (after - self.mean) / self.mean.abs()
        }
    }
}
