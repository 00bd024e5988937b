//! Clocks: a monotonic counter that measures durations, and the conversion of its readings to wall-clock timestamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::{Mutex, OnceLock};

/// The process-wide monotonic clock that measures durations.
///
/// The `quanta` crate reads the processor's time-stamp counter if it is invariant, and the operating system's monotonic
/// clock otherwise. The counter is calibrated once per process, when the first `Clock` is created; this takes
/// milliseconds, at most 0.2 s. The counter is read without a serialising fence, so the processor may reorder the read
/// by tens of instructions, which take far less time than any code worth measuring.
#[derive(Debug, Clone, Copy)]
pub struct Clock(&'static quanta::Clock);

impl Clock {
    /// Returns the process-wide clock, calibrating it on first use.
    #[must_use]
    pub fn get() -> Self {
        static CLOCK: OnceLock<quanta::Clock> = OnceLock::new();
        // Miri cannot read the time-stamp counter, so its clock stands still.
        Self(CLOCK.get_or_init(|| match cfg!(miri) {
            true => quanta::Clock::mock().0,
            false => quanta::Clock::new(),
        }))
    }

    /// Reads the counter; the result is in ticks, the counter's own unit. Never fails or blocks.
    #[inline]
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.0.raw()
    }

    /// Returns the time from `start` to `end` in nanoseconds, or 0 if `end` is before `start`. Both must be results
    /// of [`ticks`](Self::ticks).
    #[inline]
    #[must_use]
    pub fn nanos_between(&self, start: u64, end: u64) -> u64 {
        self.0.delta_as_nanos(start, end)
    }
}

/// Maximum difference between the wall clock and the time that an [`Anchor`] predicts; beyond it, a new anchor is
/// taken.
///
/// While an anchor is kept, every export gives a sample the same timestamp. A larger difference means that the wall
/// clock was adjusted or that calibration error has accumulated; then a correct timestamp matters more than an
/// unchanged one.
const DRIFT_ALLOWED: Duration = Duration::from_millis(1);

/// Converts ticks to Unix time. Keeps an [`Anchor`], and renews it when the wall clock drifts from the predicted time.
#[derive(Debug)]
pub struct WallClock {
    clock: Clock,
    anchor: Mutex<Anchor>,
}

/// Readings of the tick counter and the wall clock taken at the same moment, used to convert ticks to Unix time.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    ticks: u64,
    unix_ns: u64,
    clock: Clock,
}

impl WallClock {
    /// Creates a converter whose first anchor is taken now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let anchor = Mutex::new(Anchor::now(clock));
        Self { clock, anchor }
    }

    /// Returns the anchor with which to convert a batch of ticks; renews the anchor first if the clocks have drifted
    /// apart.
    pub fn anchor(&self) -> Anchor {
        let now = Anchor::now(self.clock);
        let mut anchor = self.anchor.lock();
        let drift = anchor.unix_ns(now.ticks).abs_diff(now.unix_ns);
        if u128::from(drift) > DRIFT_ALLOWED.as_nanos() {
            *anchor = now;
        }
        *anchor
    }
}

impl Anchor {
    fn now(clock: Clock) -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            ticks: clock.ticks(),
            // u64 nanoseconds since 1970 last until the year 2554.
            unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX),
            clock,
        }
    }

    /// Converts `ticks` to Unix time in nanoseconds.
    #[must_use]
    pub fn unix_ns(&self, ticks: u64) -> u64 {
        if ticks >= self.ticks {
            self.unix_ns
                .saturating_add(self.clock.nanos_between(self.ticks, ticks))
        } else {
            self.unix_ns
                .saturating_sub(self.clock.nanos_between(ticks, self.ticks))
        }
    }

    /// Converts `ticks` to Unix time in seconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an f64 resolves 0.2 microseconds today, as time.time() does"
    )]
    pub fn unix_seconds(&self, ticks: u64) -> f64 {
        self.unix_ns(ticks) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "the clock stands still under Miri")]
    fn a_sleep_is_measured_within_its_bounds() {
        let clock = Clock::get();
        let (start, before) = (clock.ticks(), std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let ns = clock.nanos_between(start, clock.ticks());
        let outer = before.elapsed().as_nanos() as u64;
        assert!(ns >= 19_900_000, "{ns}");
        // 0.1 % allows for calibration error. The sleep may take longer than requested, so it is timed independently.
        assert!(ns <= outer + outer / 1000, "{ns} > {outer}");
    }

    #[test]
    fn time_never_runs_backwards() {
        let clock = Clock::get();
        assert_eq!(clock.nanos_between(1_000, 10), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "the clock stands still under Miri")]
    fn ticks_convert_to_wall_time_on_both_sides_of_the_anchor() {
        let clock = Clock::get();
        let earlier = clock.ticks();
        let wall = WallClock::new(clock);
        let unix = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let anchor = wall.anchor();
        let now = unix().as_secs_f64();
        assert!((anchor.unix_seconds(clock.ticks()) - now).abs() < 0.1);
        assert!((anchor.unix_seconds(earlier) - now).abs() < 0.1);
        assert!(anchor.unix_seconds(earlier) <= anchor.unix_seconds(clock.ticks()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "the clock stands still under Miri")]
    fn one_sample_keeps_its_timestamp_between_two_anchors() {
        let wall = WallClock::new(Clock::get());
        let ticks = Clock::get().ticks();
        let first = wall.anchor().unix_seconds(ticks);
        std::thread::sleep(Duration::from_millis(2));
        let second = wall.anchor().unix_seconds(ticks);
        assert!((first - second).abs() < 0.05);
    }
}
