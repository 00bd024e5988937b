//! Operations: each has a name, the data recorded under that name, and a count of executions under way.

use nanospan_fallible::{OutOfMemory, TryGrow, boxed, vec};

use crate::{
    block::{Block, Totals},
    clock::Clock,
    error::Error,
    histogram,
    sample::{Measured, OUTCOMES, Outcome, Sample},
    seconds::Seconds,
    summary::Summary,
    sync::{Word, Writers},
};

/// A named operation and everything recorded for it. Every method may be called from any thread and never blocks.
// Aligned so that no two operations share a cache line, because every execution writes to `in_flight`.
#[derive(Debug)]
#[repr(align(64))]
pub struct Operation {
    name: Box<[u8]>,
    block: Block,
    clock: Clock,
    // Kept outside the block, because no execution is under way any more once the process has ended.
    in_flight: Word,
    // When counting began, in ticks.
    counts_from: Word,
}

/// The result of recording a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Whether the sample's duration exceeded the operation's threshold.
    pub violation: bool,
}

/// A copy of an operation's most recent samples.
#[derive(Debug, PartialEq)]
pub struct Window {
    /// The samples with their tickets (sample numbers), oldest first.
    pub samples: Vec<(u64, Sample)>,
    /// Number of samples left out because they were being written or overwritten while the window was copied.
    pub skipped: usize,
}

impl Operation {
    /// Creates an operation that keeps the last `window` samples. The name is treated as opaque bytes.
    ///
    /// # Errors
    ///
    /// The same errors as [`Block::new`]: an invalid `window`, or a lack of memory.
    pub fn new(name: &[u8], window: usize, clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            name: boxed(name)?,
            block: Block::new(window)?,
            clock,
            in_flight: Word::new(0),
            counts_from: Word::new(clock.ticks()),
        })
    }

    /// Returns the operation's name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the memory block that holds the operation's counts and samples.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Returns the clock that times the operation's executions.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Records a finished execution: its end time in [`Clock`] ticks, its duration and its outcome.
    ///
    /// `attach` is called with the sample's ticket before the sample becomes readable, so that a reader that finds the
    /// sample also finds its metadata. `attach` must return true if the sample has metadata.
    #[inline(always)]
    pub fn record(
        &self,
        end: u64,
        duration: Measured,
        outcome: Outcome,
        writers: Writers,
        attach: impl FnOnce(u64) -> bool,
    ) -> Recorded {
        let ticket = self.block.claim(writers);
        let sample = Sample {
            end,
            duration,
            outcome,
            has_metadata: attach(ticket),
        };
        Recorded {
            violation: self.block.record(ticket, sample, writers),
        }
    }

    /// Copies the most recent samples.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn window(&self) -> Result<Window, OutOfMemory> {
        let window = self.block.samples();
        let expected = window.len();
        let mut samples = vec(expected)?;
        samples.try_extend(
            window.filter_map(|(ticket, sample)| sample.map(|sample| (ticket, sample))),
        )?;
        let skipped = expected - samples.len();
        Ok(Window { samples, skipped })
    }

    /// Computes the statistics of the most recent samples without copying them; returns `None` if there are no samples.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory to sort them in.
    pub fn summary(&self) -> Result<Option<Summary>, OutOfMemory> {
        self.block.summary()
    }

    /// Returns the counts since the operation was created or last cleared.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.block.totals()
    }

    /// Copies the histogram of all samples with `outcome` since the operation was created or last cleared.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn histogram_of(&self, outcome: Outcome) -> Result<histogram::Snapshot, OutOfMemory> {
        self.block.histogram(outcome)
    }

    /// Returns a histogram of all samples, with any outcome, since the operation was created or last cleared.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there is no memory for the histogram.
    pub fn histogram(&self) -> Result<histogram::Snapshot, Error> {
        let mut all = histogram::Snapshot::default();
        for outcome in OUTCOMES {
            all.merge(&self.block.histogram(outcome)?)?;
        }
        Ok(all)
    }

    /// Counts a new execution as under way and returns its start time in ticks. The caller must call [`end`](Self::end)
    /// or [`abandon`](Self::abandon) later.
    #[inline(always)]
    pub fn begin(&self, writers: Writers) -> u64 {
        // The clock is read first because on some processors reading it waits for preceding stores to complete.
        let now = self.clock.ticks();
        writers.add_relaxed(&self.in_flight, 1);
        now
    }

    /// Stops counting an execution as under way and returns its end time in ticks, to pass to [`record`](Self::record).
    #[inline(always)]
    pub fn end(&self, writers: Writers) -> u64 {
        let now = self.clock.ticks();
        self.abandon(writers);
        now
    }

    /// Stops counting an execution as under way, without recording a sample.
    #[inline(always)]
    pub fn abandon(&self, writers: Writers) {
        writers.decrement_relaxed(&self.in_flight);
    }

    /// Returns the number of executions under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        // In a forked child, the end of an inherited execution may make the count negative for a moment.
        let count = self.in_flight.load_relaxed();
        u64::try_from(count.cast_signed()).unwrap_or(0)
    }

    /// Returns the time at which counting began: at creation or at the last [`clear`](Self::clear), in [`Clock`] ticks.
    #[must_use]
    pub fn counts_from(&self) -> u64 {
        self.counts_from.load_relaxed()
    }

    /// Makes the operation count from zero in a forked child, which has the threshold `threshold`. The caller must be
    /// the child's only thread.
    ///
    /// Executions that were under way in the parent's threads do not exist in the child, so none count as under way.
    /// The forking thread's own executions may still end in the child; each of them is then recorded by both processes.
    pub fn reset_in_child(&self, threshold: Option<Seconds>) {
        self.block.reset_in_child(threshold);
        self.in_flight.store_relaxed(0);
        self.counts_from.store_relaxed(self.clock.ticks());
    }

    /// Discards all samples. Keeps the threshold and the count of executions under way.
    pub fn clear(&self) {
        self.block.clear();
        self.counts_from.store_relaxed(self.clock.ticks());
    }
}
