//! An operation: its name, its block, and reading both consistently.

pub use crate::ring::Measured;
use crate::{
    block::{Block, Totals},
    clock::Clock,
    error::Error,
    histogram,
    ring::{Outcome, Sample},
    summary::Summary,
};

/// A named operation. Shared by reference; every method is safe from any thread and none blocks.
#[derive(Debug)]
pub struct Operation {
    name: Box<[u8]>,
    block: Block,
    clock: Clock,
}

/// What became of a sample.
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
    /// `attach` is called with the sample's ticket before the sample becomes readable, so that what is
    /// kept beside the ring is there when a reader finds the sample; it says whether anything is.
    #[inline(always)]
    pub fn record(
        &self,
        end: u64,
        duration: Measured,
        outcome: Outcome,
        attach: impl FnOnce(u64) -> bool,
    ) -> Recorded {
        let ticket = self.block.claim();
        let sample = Sample {
            end,
            duration,
            outcome,
            has_metadata: attach(ticket),
        };
        Recorded {
            violation: self.block.record(ticket, sample),
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

    /// A copy of the histogram of everything since start or the last clear.
    #[must_use]
    pub fn histogram(&self) -> histogram::Snapshot {
        self.block.histogram()
    }
}
