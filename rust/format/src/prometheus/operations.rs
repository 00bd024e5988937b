//! Writes the metric families that describe a monitor's operations.

use nanospan_fallible::{OutOfMemory, TryGrow, vec};
use nanospan_record::{
    OUTCOMES, Outcome, Seconds,
    snapshot::{MonitorSnapshot, OperationSnapshot},
};

use super::family::{Head, Kind, Writer};
use crate::names;

const DURATION: Head = Head::fixed(
    "nanospan_operation_duration_seconds",
    "How long executions of an operation took.",
    "seconds",
    Kind::Histogram,
);
const VIOLATIONS: Head = Head::fixed(
    "nanospan_operation_violations",
    "Executions that took longer than the operation's threshold.",
    "",
    Kind::Counter,
);
const THRESHOLD: Head = Head::fixed(
    "nanospan_operation_threshold_seconds",
    "The duration over which an execution is a violation.",
    "seconds",
    Kind::Gauge,
);
const IN_FLIGHT: Head = Head::fixed(
    "nanospan_operation_in_flight",
    "Executions under way.",
    "",
    Kind::Gauge,
);

/// A monitor's snapshot to expose, with labels that distinguish it from other sources in the same exposition.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The monitor's snapshot.
    pub snapshot: &'a MonitorSnapshot,
    /// Labels added to every series of the snapshot. They must not be called `operation`, `outcome` or `le`.
    pub labels: &'a [(String, String)],
}

fn operations<'a>(
    sources: &'a [Source<'_>],
) -> impl Iterator<Item = (&'a [(String, String)], &'a OperationSnapshot)> {
    sources.iter().flat_map(|source| {
        let operations = source.snapshot.operations.iter();
        operations.map(|operation| (source.labels, operation))
    })
}

/// A family of counters or gauges: its head, and a function that returns an operation's value, or `None` if the
/// operation has no series in this family.
type Numbers = (Head, fn(&OperationSnapshot) -> Option<f64>);

const NUMBERS: [Numbers; 3] = [
    (VIOLATIONS, |operation| {
        // Without a threshold, there can be no violations.
        let possible = operation.threshold.is_some() || operation.violations > 0;
        possible.then_some(operation.violations as f64)
    }),
    (THRESHOLD, |operation| operation.threshold.map(Seconds::get)),
    (IN_FLIGHT, |operation| Some(operation.in_flight as f64)),
];

pub(super) fn write(sources: &[Source<'_>], writer: &mut impl Writer) -> Result<(), OutOfMemory> {
    writer.begin(&DURATION)?;
    for (labels, operation) in operations(sources) {
        with_labels(labels, operation, |labels| {
            for (outcome, histogram) in OUTCOMES.into_iter().zip(operation.parts()) {
                // Prometheus' `rate` ignores the first value of a series: if the series for errors appeared only with
                // the first error, that error would never be seen. An empty histogram of cancelled samples is still
                // left out, because few users watch it and a classic histogram is many series.
                if outcome == Outcome::Cancelled && histogram.count() == 0 {
                    continue;
                }
                labels.try_push(("outcome", outcome.name()))?;
                writer.histogram(labels, histogram, Some(operation.created))?;
                labels.pop();
            }
            Ok(())
        })?;
    }
    for (head, value) in &NUMBERS {
        writer.begin(head)?;
        for (labels, operation) in operations(sources) {
            if let Some(value) = value(operation) {
                let created = (head.kind == Kind::Counter).then_some(operation.created);
                with_labels(labels, operation, |labels| {
                    writer.number(labels, value, created)
                })?;
            }
        }
    }
    Ok(())
}

fn with_labels<'a>(
    labels: &'a [(String, String)],
    operation: &'a OperationSnapshot,
    write: impl FnOnce(&mut Vec<(&str, &str)>) -> Result<(), OutOfMemory>,
) -> Result<(), OutOfMemory> {
    let name = names::escape(&operation.name)?;
    let mut all = vec(labels.len() + 2)?;
    all.try_extend(labels.iter().map(|(name, value)| (&**name, &**value)))?;
    all.try_push(("operation", &*name))?;
    write(&mut all)
}
