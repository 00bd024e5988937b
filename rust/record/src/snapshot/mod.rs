//! Copies of all operations of a monitor, to be exported, compared or saved.

pub mod codec;

use std::collections::HashMap;

use crate::{
    clock::Anchor, error::Error, histogram::Snapshot, operation::Operation, sample::OUTCOMES,
    seconds::Seconds,
};

/// A copy of all operations of a monitor that have samples or are under way.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSnapshot {
    /// When it was taken, in Unix seconds.
    pub time: f64,
    /// The operations in the order in which they were first seen.
    pub operations: Vec<OperationSnapshot>,
}

/// A copy of what one operation has counted since `created`.
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
    /// Samples over the threshold in force when they were recorded.
    pub violations: u64,
    /// The threshold.
    pub threshold: Option<Seconds>,
    /// Executions under way.
    pub in_flight: u64,
    /// When counting began, in Unix seconds.
    pub created: f64,
}

impl OperationSnapshot {
    /// A copy of `operation`. Records in flight may show in parts.
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

    /// The durations by outcome, in the order of [`OUTCOMES`].
    #[must_use]
    pub fn parts(&self) -> [&Snapshot; 3] {
        [&self.ok, &self.error, &self.cancelled]
    }

    /// The durations of all samples.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyValues`] if there are more than `u64::MAX`, which no monitor records.
    pub fn all(&self) -> Result<Snapshot, Error> {
        let mut all = self.ok.clone();
        all.merge(&self.error)?;
        all.merge(&self.cancelled)?;
        Ok(all)
    }

    /// Whether the operation has samples or executions under way.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.in_flight > 0 || self.parts().iter().any(|part| part.count() > 0)
    }

    /// What was recorded since `earlier`, a snapshot of the same operation.
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

/// How far apart two readings of one `created` may lie, in seconds: the anchor between ticks and wall time
/// may have been renewed in between.
const SAME_CREATED: f64 = 0.1;

impl MonitorSnapshot {
    /// What was recorded since `earlier`, a snapshot of the same monitor, in which case `created` is the
    /// time of `earlier`.
    ///
    /// An operation that is new, or was cleared in between, counts from its creation or clearing. One
    /// without samples since is left out unless executions are under way.
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
                // An operation that began to count before `earlier` was not cleared since. That holds however far
                // the wall clock was set back, and up to the age of `earlier` if it was set forward.
                .filter(|before| {
                    now.created < earlier.time
                        || (now.created - before.created).abs() < SAME_CREATED
                })
                // If it was cleared all the same, everything that it holds is newer than the clearing.
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
