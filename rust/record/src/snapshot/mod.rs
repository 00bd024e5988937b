//! Monitor snapshots: copies of a monitor's operations, for export, comparison or storage.

pub mod codec;

use std::collections::HashMap;

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, boxed, insert, vec};

use crate::{
    clock::Anchor, error::Error, histogram::Snapshot, operation::Operation, sample::OUTCOMES,
    seconds::Seconds,
};

/// A copy of a monitor's operations. Operations with neither samples nor executions under way are left out.
#[derive(Debug, PartialEq)]
#[cfg_attr(test, derive(Clone))]
pub struct MonitorSnapshot {
    /// When the snapshot was taken, in Unix seconds.
    pub time: f64,
    /// The operations in the order of their creation, with the overflow operation last.
    pub operations: Vec<OperationSnapshot>,
}

/// A copy of one operation's histograms and counts, which cover the time since `created`.
#[derive(Debug, PartialEq)]
#[cfg_attr(test, derive(Clone))]
pub struct OperationSnapshot {
    /// The operation's name: UTF-8, with lone surrogates encoded as if they were characters.
    pub name: Box<[u8]>,
    /// Histogram of the durations of successful executions.
    pub ok: Snapshot,
    /// Histogram of the durations of failed executions.
    pub error: Snapshot,
    /// Histogram of the durations of cancelled executions.
    pub cancelled: Snapshot,
    /// Number of samples that exceeded the threshold in force when they were recorded.
    pub violations: u64,
    /// The operation's threshold when the snapshot was taken; `None` if it had no threshold.
    pub threshold: Option<Seconds>,
    /// Number of executions under way.
    pub in_flight: u64,
    /// When counting began (at creation or the last clear), in Unix seconds.
    pub created: f64,
}

impl OperationSnapshot {
    /// Takes a snapshot of `operation`; `anchor` converts its times to Unix time. A sample that is being recorded may
    /// be included only in part.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn of(operation: &Operation, anchor: Anchor) -> Result<Self, OutOfMemory> {
        let [ok, error, cancelled] = OUTCOMES.map(|outcome| operation.histogram_of(outcome));
        Ok(Self {
            name: boxed(operation.name())?,
            ok: ok?,
            error: error?,
            cancelled: cancelled?,
            violations: operation.totals().violations,
            threshold: operation.block().threshold(),
            in_flight: operation.in_flight(),
            created: anchor.unix_seconds(operation.counts_from()),
        })
    }

    /// Copies the snapshot.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(Self {
            name: boxed(&self.name)?,
            ok: self.ok.try_clone()?,
            error: self.error.try_clone()?,
            cancelled: self.cancelled.try_clone()?,
            ..*self
        })
    }

    /// Returns the histograms of the three outcomes, in the order of [`OUTCOMES`].
    #[must_use]
    pub fn parts(&self) -> [&Snapshot; 3] {
        [&self.ok, &self.error, &self.cancelled]
    }

    /// Returns a histogram of all samples, with any outcome.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyValues`] if there are more than `u64::MAX` samples, which no monitor can record;
    /// [`Error::OutOfMemory`] if there is no memory for the histogram.
    pub fn all(&self) -> Result<Snapshot, Error> {
        let mut all = self.ok.try_clone()?;
        all.merge(&self.error)?;
        all.merge(&self.cancelled)?;
        Ok(all)
    }

    /// Returns true if the operation has samples or executions under way.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.in_flight > 0 || self.parts().iter().any(|part| part.count() > 0)
    }

    /// Returns the part of the snapshot that was recorded since `earlier`, a snapshot of the same operation that was
    /// taken at `taken` (Unix seconds).
    fn since(&self, earlier: &Self, taken: f64) -> Result<Self, Error> {
        Ok(Self {
            name: boxed(&self.name)?,
            ok: self.ok.since(&earlier.ok)?,
            error: self.error.since(&earlier.error)?,
            cancelled: self.cancelled.since(&earlier.cancelled)?,
            violations: self
                .violations
                .checked_sub(earlier.violations)
                .ok_or(Error::NotEarlier)?,
            created: taken,
            ..*self
        })
    }
}

/// Maximum difference, in seconds, at which an operation's `created` times in two snapshots are treated as equal. They
/// can differ slightly, because the conversion from ticks to wall-clock time may have been recalibrated between the
/// snapshots.
const SAME_CREATED: f64 = 0.1;

impl MonitorSnapshot {
    /// Returns the part of the snapshot that was recorded since `earlier`, an earlier snapshot of the same monitor.
    ///
    /// An operation that is not in `earlier` or was cleared after it is included in full and keeps its own `created`
    /// time. For every other operation, `created` becomes the time of `earlier`. An operation without new samples is
    /// left out unless executions are under way.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the result.
    pub fn since(&self, earlier: &Self) -> Result<Self, OutOfMemory> {
        let mut before: HashMap<&[u8], &OperationSnapshot> = HashMap::new();
        for operation in &earlier.operations {
            insert(&mut before, &*operation.name, operation)?;
        }
        let since = |now: &OperationSnapshot| {
            let before = before
                .get(&*now.name)
                // An operation that began counting before `earlier` was taken has not been cleared since. This holds
                // even if the wall clock was set back by any amount, or forward by less than the time that the
                // operation had been counting when `earlier` was taken.
                .filter(|before| {
                    now.created < earlier.time
                        || (now.created - before.created).abs() < SAME_CREATED
                })
                .map(|before| now.since(before, earlier.time));
            match before {
                Some(Ok(since)) => Ok(since),
                Some(Err(Error::OutOfMemory(error))) => Err(error),
                // If the operation was cleared after all, the subtraction fails, and all of its samples are new.
                Some(Err(_)) | None => now.try_clone(),
            }
        };
        let operations = of_interest(self.operations.iter().map(since))?;
        Ok(Self {
            time: self.time,
            operations,
        })
    }

    /// Copies the snapshots of all operations.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copies.
    pub fn copies(&self) -> Result<Vec<OperationSnapshot>, OutOfMemory> {
        self.operations
            .iter()
            .map(OperationSnapshot::try_clone)
            .try_vec_of()
    }
}

/// Collects the snapshots that have samples or executions under way.
pub(crate) fn of_interest(
    snapshots: impl Iterator<Item = Result<OperationSnapshot, OutOfMemory>>,
) -> Result<Vec<OperationSnapshot>, OutOfMemory> {
    let mut collected = vec(snapshots.size_hint().0)?;
    for snapshot in snapshots {
        let snapshot = snapshot?;
        if snapshot.is_of_interest() {
            collected.try_push(snapshot)?;
        }
    }
    Ok(collected)
}
