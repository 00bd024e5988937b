//! A stream of values: did the level change just now?

use super::{
    dependence::{inflation, lag_one},
    quantiles::quantile,
};

/// How an [`OnlineDetector`] learns and judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnlineSettings {
    /// How many values the level is learned from.
    pub warmup: usize,
    /// How many values are averaged before they are judged.
    pub batch: usize,
    /// The deviation that is tolerated for ever, in standard deviations of a batch's mean.
    pub k: f64,
    /// The sum of deviations beyond `k` that raises an alarm, in the same unit.
    pub h: f64,
}

impl Default for OnlineSettings {
    fn default() -> Self {
        Self {
            warmup: 400,
            batch: 10,
            k: 0.75,
            h: 6.0,
        }
    }
}

/// A change of level that was noticed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    /// The value that raised it, from 0.
    pub index: u64,
    /// The first value of the run of deviations that raised it.
    pub since: u64,
    /// The level that was learned.
    pub before: f64,
    /// The level since the change.
    pub after: f64,
    /// The level after as a multiple of the one before.
    pub ratio: f64,
}

/// Learns the level of a stream and notices when it changes: a two-sided CUSUM (Page, "Continuous inspection
/// schemes", Biometrika 41, 1954) of the means of small batches of winsorised logarithms, in units of their
/// long-run standard deviation, so that neither outliers nor correlated neighbours raise it.
///
/// After an alarm it learns the new level. Memory is fixed once the first level is learned.
#[derive(Debug, Clone)]
pub struct OnlineDetector {
    settings: OnlineSettings,
    /// The values being learned from; empty while judging.
    learning: Vec<f64>,
    level: Option<Level>,
    batch: Batch,
    up: Run,
    down: Run,
    seen: u64,
}

/// What was learned.
#[derive(Debug, Clone, Copy)]
struct Level {
    logarithmic: bool,
    /// Values outside are taken for these.
    low: f64,
    high: f64,
    /// Of the winsorised values.
    centre: f64,
    /// One over the long-run standard deviation of a batch's mean.
    scale: f64,
    /// The mean of the values as they are.
    mean: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    winsorised: f64,
    plain: f64,
    count: usize,
}

/// Deviations to one side that have not been made up for.
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

impl OnlineDetector {
    /// One that has seen nothing. `warmup` is at least four batches, a batch at least one value.
    #[must_use]
    pub fn new(settings: OnlineSettings) -> Self {
        Self {
            settings,
            learning: Vec::with_capacity(settings.warmup),
            level: None,
            batch: Batch::default(),
            up: Run::default(),
            down: Run::default(),
            seen: 0,
        }
    }

    /// Takes the next value, which is finite, and says whether the level changed.
    #[inline]
    pub fn update(&mut self, value: f64) -> Option<Alarm> {
        let index = self.seen;
        self.seen += 1;
        let Some(level) = self.level else {
            self.learn(value);
            return None;
        };
        let plain = level.scaled(value);
        self.batch.winsorised += plain.clamp(level.low, level.high);
        self.batch.plain += plain.max(level.mean - 50.0);
        self.batch.count += 1;
        if self.batch.count < self.settings.batch {
            return None;
        }
        self.judge(level, index)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    fn judge(&mut self, level: Level, index: u64) -> Option<Alarm> {
        let batch = std::mem::take(&mut self.batch);
        let start = index + 1 - batch.count as u64;
        let deviation = (batch.winsorised / batch.count as f64 - level.centre) * level.scale;
        self.up.add(deviation - self.settings.k, batch, start);
        self.down.add(-deviation - self.settings.k, batch, start);
        let run = [self.up, self.down]
            .into_iter()
            .find(|run| run.excess > self.settings.h)?;
        let after = run.plain / run.count as f64;
        let alarm = Alarm {
            index,
            since: run.since,
            before: level.plain(level.mean),
            after: level.plain(after),
            ratio: level.ratio(after),
        };
        self.level = None;
        (self.up, self.down) = (Run::default(), Run::default());
        Some(alarm)
    }

    fn learn(&mut self, value: f64) {
        self.learning.push(value);
        if self.learning.len() == self.settings.warmup {
            self.level = Some(Level::of(&mut self.learning, self.settings.batch));
            self.learning.clear();
        }
    }
}

/// How far from the median a value may lie, in robust standard deviations, before it is winsorised.
const WINSORISED_AT: f64 = 3.0;

impl Level {
    #[expect(clippy::cast_precision_loss, reason = "counts of values in memory")]
    fn of(values: &mut [f64], batch: usize) -> Self {
        let logarithmic = values.iter().all(|&value| value > 0.0);
        if logarithmic {
            values.iter_mut().for_each(|value| *value = value.ln());
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = quantile(&sorted, 0.5);
        let mut away: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        away.sort_unstable_by(f64::total_cmp);
        let spread = 1.4826 * quantile(&away, 0.5);
        let (low, high) = (
            median - WINSORISED_AT * spread,
            median + WINSORISED_AT * spread,
        );
        let means: Vec<f64> = values
            .chunks_exact(batch)
            .map(|chunk| chunk.iter().map(|v| v.clamp(low, high)).sum::<f64>() / batch as f64)
            .collect();
        let count = means.len() as f64;
        let centre = means.iter().sum::<f64>() / count;
        let variance = means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / (count - 1.0);
        let sd = (variance * inflation(lag_one(&means))).sqrt();
        // A level without any spread is left by whatever differs from it by more than rounding.
        let least = f64::EPSILON * median.abs().max(f64::MIN_POSITIVE) * 16.0;
        Self {
            logarithmic,
            low,
            high,
            centre,
            scale: 1.0 / sd.max(least),
            mean,
        }
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
