//! Copies of all of a monitor's operations, for export, comparison or storage.

pub mod codec;

use std::collections::HashMap;

use crate::{
    clock::Anchor, error::Error, histogram::Snapshot, operation::Operation, sample::OUTCOMES,
    seconds::Seconds,
};

/// A copy of those of a monitor's operations that have samples or executions under way.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSnapshot {
    /// When the snapshot was taken, in Unix seconds.
    pub time: f64,
    /// The operations in the order in which they were first seen.
    pub operations: Vec<OperationSnapshot>,
}

/// A copy of everything that one operation has counted since `created`.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationSnapshot {
    /// The operation's name: UTF-8, with lone surrogates encoded as if they were characters.
    pub name: Box<[u8]>,
    /// Durations of samples that succeeded.
    pub ok: Snapshot,
    /// Durations of samples that failed.
    pub error: Snapshot,
    /// Durations of samples that were cancelled.
    pub cancelled: Snapshot,
    /// Number of samples that exceeded the threshold in force when they were recorded.
    pub violations: u64,
    /// The threshold when the snapshot was taken, if one was set.
    pub threshold: Option<Seconds>,
    /// Number of executions under way.
    pub in_flight: u64,
    /// When counting began, in Unix seconds.
    pub created: f64,
}

impl OperationSnapshot {
    /// Copies the state of `operation`. A record in flight may be included in part.
    #[must_use]
    pub fn of(operation: &Operation, anchor: Anchor) -> Self {
        let [ok, error, cancelled] = OUTCOMES.map(|outcome| operation.histogram_of(outcome));
        Self {
            name: operation.name().into(),
            ok,
            error,
            cancelled,
            violations: operation.totals().violations,
            threshold: operation.block().threshold(),
            in_flight: operation.in_flight(),
            created: anchor.unix_seconds(operation.counts_from()),
        }
    }

    /// Returns the histogram for each outcome, in the order of [`OUTCOMES`].
    #[must_use]
    pub fn parts(&self) -> [&Snapshot; 3] {
        [&self.ok, &self.error, &self.cancelled]
    }

    /// Returns the histogram of all samples, whatever their outcome.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyValues`] if there are more than `u64::MAX` samples, which no monitor can record.
    pub fn all(&self) -> Result<Snapshot, Error> {
        let mut all = self.ok.clone();
        all.merge(&self.error)?;
        all.merge(&self.cancelled)?;
        Ok(all)
    }

    /// Returns true if the operation has samples or executions under way.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.in_flight > 0 || self.parts().iter().any(|part| part.count() > 0)
    }

    /// Returns what was recorded since `earlier`, a snapshot of the same operation taken at `taken` (Unix seconds).
    fn since(&self, earlier: &Self, taken: f64) -> Result<Self, Error> {
        Ok(Self {
            ok: self.ok.since(&earlier.ok)?,
            error: self.error.since(&earlier.error)?,
            cancelled: self.cancelled.since(&earlier.cancelled)?,
            violations: self
                .violations
                .checked_sub(earlier.violations)
                .ok_or(Error::NotEarlier)?,
            created: taken,
            ..self.clone()
        })
    }
}

/// Largest difference, in seconds, between two readings of the same `created`. They can differ because the anchor
/// between ticks and wall-clock time may have been renewed in between.
const SAME_CREATED: f64 = 0.1;

impl MonitorSnapshot {
    /// Returns what was recorded since `earlier`, a snapshot of the same monitor. The `created` of each operation in
    /// the result is the time of `earlier`.
    ///
    /// An operation that was created or cleared in between counts from that moment instead. An operation without new
    /// samples is left out unless executions are under way.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before: HashMap<&[u8], &OperationSnapshot> = earlier
            .operations
            .iter()
            .map(|operation| (&*operation.name, operation))
            .collect();
        let since = |now: &OperationSnapshot| {
            before
                .get(&*now.name)
                // An operation that began counting before `earlier` was taken has not been cleared since. This works
                // however far the wall clock was set back, and if it was set forward by less than the operation had
                // been counting when `earlier` was taken.
                .filter(|before| {
                    now.created < earlier.time
                        || (now.created - before.created).abs() < SAME_CREATED
                })
                // If it was cleared after all, the subtraction fails, and everything that it holds was recorded since.
                .and_then(|before| now.since(before, earlier.time).ok())
                .unwrap_or_else(|| now.clone())
        };
        Self {
            time: self.time,
            operations: self
                .operations
                .iter()
                .map(since)
                .filter(OperationSnapshot::is_of_interest)
                .collect(),
        }
    }
}
