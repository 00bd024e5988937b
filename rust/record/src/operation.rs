//! An operation: its name, its block, and the executions under way.

use crate::{
    block::{Block, Totals},
    clock::Clock,
    error::Error,
    histogram,
    sample::{Measured, OUTCOMES, Outcome, Sample},
    summary::Summary,
    sync::{Word, Writers},
};

/// A named operation. Shared by reference; every method is safe from any thread and none blocks.
// On separate cache lines, because executions under way are counted in it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Operation {
    name: Box<[u8]>,
    block: Block,
    clock: Clock,
    // Outside the block, because nothing is under way any more in a process that was killed.
    in_flight: Word,
    // Ticks.
    counts_from: Word,
}

/// The result of recording a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The sample was over the threshold.
    pub violation: bool,
}

/// An exact copy of an operation's most recent samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Ticket and sample, oldest first.
    pub samples: Vec<(u64, Sample)>,
    /// Samples that belong to the window but were being written, or were overtaken, during the copy.
    pub skipped: usize,
}

impl Operation {
    /// An operation with a window of `window` samples. The name is opaque bytes.
    ///
    /// # Errors
    ///
    /// As [`Block::new`].
    pub fn new(name: &[u8], window: usize, clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            name: name.into(),
            block: Block::new(window)?,
            clock,
            in_flight: Word::new(0),
            counts_from: Word::new(clock.ticks()),
        })
    }

    /// The name, as given.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The state itself.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The clock that its samples are measured with.
    #[inline]
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Records a duration that ended at `end` ticks.
    ///
    /// `attach` is called with the sample's ticket before the sample becomes readable, so that a reader who finds the
    /// sample finds its metadata as well. It returns whether there is any.
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

    /// A copy of the window.
    #[must_use]
    pub fn window(&self) -> Window {
        let samples = self.block.samples();
        let expected = samples.len();
        let samples: Vec<_> = samples
            .filter_map(|(ticket, sample)| sample.map(|sample| (ticket, sample)))
            .collect();
        let skipped = expected - samples.len();
        Window { samples, skipped }
    }

    /// The statistics of the window, without a copy of it; `None` if it is empty.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.block.summary()
    }

    /// Counts since start or the last clear.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.block.totals()
    }

    /// A copy of the histogram of the samples with `outcome` since start or the last clear.
    #[must_use]
    pub fn histogram_of(&self, outcome: Outcome) -> histogram::Snapshot {
        self.block.histogram(outcome)
    }

    /// A copy of the histogram of everything since start or the last clear.
    #[must_use]
    pub fn histogram(&self) -> histogram::Snapshot {
        let [mut all, rest @ ..] = OUTCOMES.map(|outcome| self.block.histogram(outcome));
        for part in rest {
            all.merge(&part).expect("samples are numbered with 64 bits");
        }
        all
    }

    /// Counts an execution that begins, and returns the moment in ticks. [`end`](Self::end) or
    /// [`abandon`](Self::abandon) must follow.
    #[inline(always)]
    pub fn begin(&self, writers: Writers) -> u64 {
        // The clock first: on some processors its reading waits until a store before it is done.
        let now = self.clock.ticks();
        writers.add_relaxed(&self.in_flight, 1);
        now
    }

    /// Discounts an execution that ended, and returns the moment in ticks, for [`record`](Self::record).
    #[inline(always)]
    pub fn end(&self, writers: Writers) -> u64 {
        let now = self.clock.ticks();
        self.abandon(writers);
        now
    }

    /// Discounts an execution whose end will never be known.
    #[inline(always)]
    pub fn abandon(&self, writers: Writers) {
        writers.add_relaxed(&self.in_flight, u64::MAX);
    }

    /// How many executions are under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        // An end on another thread may become visible before its beginning, which makes the sum negative.
        let count = self.in_flight.load_relaxed();
        u64::try_from(count.cast_signed()).unwrap_or(0)
    }

    /// When counting began, at the creation or the last [`clear`](Self::clear), in [`Clock`] ticks.
    #[must_use]
    pub fn counts_from(&self) -> u64 {
        self.counts_from.load_relaxed()
    }

    /// Forgets every sample; the threshold, and what is under way, stay.
    pub fn clear(&self) {
        self.block.clear();
        self.counts_from.store_relaxed(self.clock.ticks());
    }
}
