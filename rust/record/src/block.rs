//! The memory block that holds an operation's counts and samples: atomic words that form a header, the ring of recent
//! samples, and one histogram per outcome.
//!
//! A block contains no pointers, so it can be mapped at any address. Zeroed memory is a valid empty block, so creating
//! a block writes nothing; fields whose initial value is not zero (minima and thresholds) are stored inverted.

use std::ops::Range;

use nanospan_fallible::{OutOfMemory, filled};

use crate::{
    error::Error,
    histogram::{
        self, Recorder,
        config::{BUCKETS_PER_OCTAVE, MIN_INDEX},
    },
    lifetime::Lifetime,
    memory::Memory,
    ring::{MAX_WINDOW, Ring, SLOT_WORDS},
    sample::{Measured, OUTCOMES, Outcome, Sample},
    seconds::Seconds,
    summary::{Summary, Tally},
    sync::{Word, Writers},
};

// Header words. The first cache line is all of the header that recording a successful sample touches, unless its
// duration is given in seconds or exceeds the threshold.
const HEAD: usize = 0; // tickets claimed since creation
const OK: usize = 1; // four words of sums
const LIMIT_INVERTED: usize = 5; // !(the longest duration in ns within the threshold)
const CLEARED: usize = 6; // HEAD when the operation was last cleared
const ERROR: usize = 8; // four words of sums
const CANCELLED: usize = 12; // four words of sums
const ERRORS: usize = 16;
const CANCELLATIONS: usize = 17;
const VIOLATIONS: usize = 18;
const THRESHOLD_INVERTED: usize = 19; // !bits of the threshold in seconds
const HEADER_WORDS: usize = 24; // whole cache lines

// The layout of one outcome's sums.
const SUM_LOW: usize = 0; // nanoseconds, low and high half
const SUM_HIGH: usize = 1;
const MAX: usize = 2; // nanoseconds
const MIN_INVERTED: usize = 3; // !nanoseconds
const SUM_WORDS: usize = 4;

/// Returns the position in the header at which the sums for `outcome` begin.
#[inline(always)]
const fn sums_of(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Ok => OK,
        Outcome::Error => ERROR,
        Outcome::Cancelled => CANCELLED,
    }
}

/// An operation's counts since it was created or last cleared. They are kept separately from the histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Number of samples.
    pub count: u64,
    /// Number of samples with outcome [`Outcome::Error`].
    pub errors: u64,
    /// Number of samples with outcome [`Outcome::Cancelled`].
    pub cancelled: u64,
    /// Number of samples that exceeded the threshold in force when they were recorded.
    pub violations: u64,
}

impl Totals {
    /// Returns the fraction of samples that succeeded, from 0 to 1. Cancelled samples are ignored; the result is 1 if
    /// no sample finished.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a fraction")]
    pub fn success_rate(&self) -> f64 {
        // While samples are recorded, some counts may be ahead of others.
        match self.count.saturating_sub(self.cancelled) {
            0 => 1.0,
            finished => finished.saturating_sub(self.errors) as f64 / finished as f64,
        }
    }
}

/// The counts and samples of one operation, stored in one block of memory. All methods may be called from any number of
/// threads concurrently.
#[derive(Debug)]
pub struct Block {
    memory: Memory,
    window: u64, // in [1, MAX_WINDOW]
    capacity_log2: u32,
}

impl Block {
    /// Creates an empty block that keeps the last `window` samples.
    ///
    /// # Errors
    ///
    /// [`Error::Window`] if `window` is not between 1 and [`MAX_WINDOW`]; [`Error::NoBlock`] if the operating
    /// system cannot provide the memory.
    pub fn new(window: usize) -> Result<Self, Error> {
        if window == 0 || window > MAX_WINDOW {
            return Err(Error::Window {
                given: window,
                most: MAX_WINDOW,
            });
        }
        Ok(Self {
            memory: Memory::zeroed(Self::words(window))?,
            window: window as u64,
            capacity_log2: Ring::capacity_for(window).ilog2(),
        })
    }

    /// Returns the size, in 64-bit words, of a block that keeps the last `window` samples.
    #[must_use]
    pub const fn words(window: usize) -> usize {
        HEADER_WORDS + SLOT_WORDS * Ring::capacity_for(window) + OUTCOMES.len() * Recorder::WORDS
    }

    /// Returns how many of the most recent samples the block keeps (its window).
    #[must_use]
    pub fn window(&self) -> u64 {
        self.window
    }

    /// Splits the block into the header and the remaining words, which hold the ring and the histograms.
    #[inline(always)]
    fn parts(&self) -> (&[Word; HEADER_WORDS], &[Word]) {
        self.memory
            .words()
            .split_first_chunk()
            .expect("a block begins with its header")
    }

    #[inline(always)]
    fn header(&self, word: usize) -> &Word {
        &self.parts().0[word]
    }

    /// Reads the header word at position `word`. Relaxed ordering suffices because each field is read independently.
    #[inline]
    fn load_relaxed(&self, word: usize) -> u64 {
        self.header(word).load_relaxed()
    }

    #[inline]
    fn ring(&self) -> Ring<'_> {
        Ring::new(self.parts().1, self.capacity_log2)
    }

    #[inline]
    fn recorder(&self, outcome: Outcome) -> Recorder<'_> {
        Recorder::new(&self.parts().1[self.recorder_at(outcome)..])
    }

    /// Returns the offset of the histogram for `outcome`, in words from the end of the header.
    #[inline(always)]
    fn recorder_at(&self, outcome: Outcome) -> usize {
        (SLOT_WORDS << self.capacity_log2) + outcome as usize * Recorder::WORDS
    }

    /// Claims the next ticket (sample number) and counts the sample. The caller must then call
    /// [`record`](Self::record).
    #[inline(always)]
    pub fn claim(&self, writers: Writers) -> u64 {
        // Relaxed: tickets only need to be unique. Readers can tell from a slot's words whether its sample is complete
        // (see `ring`).
        writers.add_relaxed(self.header(HEAD), 1)
    }

    /// Records `sample` under a ticket from [`claim`](Self::claim). Returns true if the sample's duration exceeded the
    /// threshold.
    // Always inlined, so that branches on the sample's unit or outcome disappear where the caller passes a constant.
    #[inline(always)]
    pub fn record(&self, ticket: u64, sample: Sample, writers: Writers) -> bool {
        // Split only once: the compiler cannot prove that a store leaves the slice's pointer unchanged.
        let (header, rest) = self.parts();
        let add = |word: usize, amount| writers.add_relaxed(&header[word], amount);
        let ns = sample.duration.nanos();
        let sums = sums_of(sample.outcome);
        writers.raise_relaxed(&header[sums + MAX], ns);
        writers.raise_relaxed(&header[sums + MIN_INVERTED], !ns);
        Ring::new(rest, self.capacity_log2).write(ticket, sample);
        Recorder::new(&rest[self.recorder_at(sample.outcome)..]).count(ns, writers);
        let before = add(sums + SUM_LOW, ns);
        if before.checked_add(ns).is_none() {
            add(sums + SUM_HIGH, 1);
        }
        match sample.outcome {
            Outcome::Ok => {}
            Outcome::Error => _ = add(ERRORS, 1),
            Outcome::Cancelled => _ = add(CANCELLATIONS, 1),
        }
        // A duration passed in seconds may exceed the threshold by less than a nanosecond, so it is compared in
        // seconds.
        let over = match sample.duration {
            Measured::Nanos(ns) => ns > !header[LIMIT_INVERTED].load_relaxed(),
            Measured::Seconds(seconds) => self.threshold().is_some_and(|limit| seconds > limit),
        };
        if over {
            add(VIOLATIONS, 1);
        }
        over
    }

    /// Returns the operation's threshold, or `None` if no threshold is set.
    #[inline]
    #[must_use]
    pub fn threshold(&self) -> Option<Seconds> {
        match self.load_relaxed(THRESHOLD_INVERTED) {
            0 => None,
            inverted => Some(Seconds::from_bits(!inverted)),
        }
    }

    /// Sets the threshold, or removes it if `threshold` is `None`.
    pub fn set_threshold(&self, threshold: Option<Seconds>) {
        let (limit, bits) = threshold.map_or((0, 0), |threshold| {
            // `+ 0.0` turns -0.0, which is a valid threshold, into plain zero.
            let seconds = threshold.get() + 0.0;
            (!limit_ns(seconds), !seconds.to_bits())
        });
        // Relaxed: a record that sees one of the two stores late merely uses the previous threshold.
        self.header(LIMIT_INVERTED).store_relaxed(limit);
        self.header(THRESHOLD_INVERTED).store_relaxed(bits);
    }

    /// Iterates over the window as pairs of ticket and sample, oldest first. The sample is `None` if it is still being
    /// written or has been overwritten by a later one.
    ///
    /// Samples recorded during the iteration are not included, and may overwrite the oldest samples.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (u64, Option<Sample>)> {
        let Range { start, end } = self.tickets();
        let ring = self.ring();
        // A window is below 2^24.
        (0..(end - start) as usize).map(move |i| {
            let ticket = start + i as u64;
            (ticket, ring.read(ticket))
        })
    }

    /// Computes the statistics of the window's readable samples; returns `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory to sort them in.
    pub fn summary(&self) -> Result<Option<Summary>, OutOfMemory> {
        let tickets = self.tickets();
        let mut tally = Tally::with_capacity((tickets.end - tickets.start) as usize)?;
        self.ring().for_each(tickets, |sample| tally.add(sample));
        tally.finish()
    }

    /// Returns the tickets of the samples in the window.
    fn tickets(&self) -> Range<u64> {
        let (cleared, head) = (self.load_relaxed(CLEARED), self.load_relaxed(HEAD));
        head - head.saturating_sub(cleared).min(self.window)..head
    }

    /// Returns the counts since the operation was created or last cleared. A sample that is being recorded may be
    /// included in some counts and not yet in others.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let cleared = self.load_relaxed(CLEARED);
        Totals {
            count: self.load_relaxed(HEAD).saturating_sub(cleared),
            errors: self.load_relaxed(ERRORS),
            cancelled: self.load_relaxed(CANCELLATIONS),
            violations: self.load_relaxed(VIOLATIONS),
        }
    }

    /// Computes the statistics of all samples since the operation was created or last cleared. `window` is the summary
    /// of the window; if the window holds all samples, its statistics are returned.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory to add the histograms up in.
    pub fn lifetime(&self, window: &Summary) -> Result<Lifetime, OutOfMemory> {
        if self.totals().count <= window.count as u64 {
            return Ok(window.into());
        }
        let (mut all, mut zeros) = (Sums::default(), 0);
        let parts = OUTCOMES.map(|outcome| (self.recorder(outcome), self.sums(outcome)));
        let recorded = || parts.iter().filter(|(_, sums)| sums.min <= sums.max);
        for (recorder, sums) in recorded() {
            all = Sums {
                sum: all.sum + sums.sum,
                min: all.min.min(sums.min),
                max: all.max.max(sums.max),
            };
            zeros += recorder.zeros();
        }
        let (first, last) = all.octaves();
        let mut counts = filled(0, (last - first + 1).cast_unsigned() as usize)?;
        for (recorder, _) in recorded() {
            recorder.add_to(first, &mut counts);
        }
        let lifetime = Lifetime::of_buckets(zeros, first, &counts, all.sum, [all.min, all.max]);
        Ok(lifetime.unwrap_or_else(|| window.into()))
    }

    /// Reads the sum and the extremes of the samples with `outcome`.
    fn sums(&self, outcome: Outcome) -> Sums {
        let at = sums_of(outcome);
        Sums {
            min: !self.load_relaxed(at + MIN_INVERTED),
            max: self.load_relaxed(at + MAX),
            sum: u128::from(self.load_relaxed(at + SUM_HIGH)) << 64
                | u128::from(self.load_relaxed(at + SUM_LOW)),
        }
    }

    /// Copies the histogram of the samples with `outcome`. A sample that is being recorded may be included only in
    /// part.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn histogram(&self, outcome: Outcome) -> Result<histogram::Snapshot, OutOfMemory> {
        let sums = self.sums(outcome);
        let recorder = self.recorder(outcome);
        let Sums { sum, min, max } = sums;
        if min > max {
            return Ok(histogram::Snapshot::default());
        }
        let (first, last) = sums.octaves();
        let counts = recorder.counts(first, last)?;
        Ok(histogram::Snapshot::new(
            recorder.zeros(),
            first,
            counts,
            sum,
            min,
            max,
        ))
    }

    /// Discards all samples but keeps the threshold. A sample that is being recorded may be discarded only partly.
    pub fn clear(&self) {
        self.header(CLEARED).store_relaxed(self.load_relaxed(HEAD));
        for word in [ERRORS, CANCELLATIONS, VIOLATIONS] {
            self.header(word).store_relaxed(0);
        }
        for outcome in OUTCOMES {
            for word in 0..SUM_WORDS {
                self.header(sums_of(outcome) + word).store_relaxed(0);
            }
            self.recorder(outcome).clear();
        }
    }

    /// Makes the block empty in a forked child and sets its threshold. The caller must be the child's only thread.
    pub fn reset_in_child(&self, threshold: Option<Seconds>) {
        // The kernel has usually zeroed the block, including the threshold. A block that still counts samples was
        // copied.
        if self.load_relaxed(HEAD) != 0 {
            self.clear();
        }
        // Not written without a threshold, because that would take memory.
        if threshold.is_some() {
            self.set_threshold(threshold);
        }
    }
}

/// The sum and the extremes of durations, in nanoseconds. The minimum exceeds the maximum if there are no durations.
struct Sums {
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Sums {
    /// Returns the first and the last bucket to read: those of the octaves from the minimum to the maximum, because all
    /// others are empty.
    fn octaves(&self) -> (i32, i32) {
        let (first, last) = (octave_start(self.min), octave_start(self.max));
        (first, last.max(first) + BUCKETS_PER_OCTAVE)
    }
}

/// Returns a bucket index that is not above that of any value in the octave (power-of-two range) that contains `ns`.
fn octave_start(ns: u64) -> i32 {
    MIN_INDEX + ns.checked_ilog2().unwrap_or(0).cast_signed() * BUCKETS_PER_OCTAVE
}

/// Returns the longest duration, in nanoseconds, that does not exceed `seconds` when converted to seconds. Comparing a
/// duration in nanoseconds with the result is thus equivalent to comparing it in seconds with `seconds`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and the threshold was checked to be >= 0"
)]
pub(crate) fn limit_ns(seconds: f64) -> u64 {
    let over = |ns: u64| Measured::Nanos(ns).seconds() > seconds;
    let mut limit = (seconds * 1e9) as u64;
    while over(limit) {
        limit -= 1;
    }
    while limit < u64::MAX && !over(limit + 1) {
        limit += 1;
    }
    limit
}
