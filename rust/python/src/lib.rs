//! `nanospan._core`: the Python face of `nanospan-record`, `nanospan-stats` and `nanospan-format`. Translation only:
//! every decision is made in those crates or in the Python package.

#![deny(unsafe_code)]

use pyo3::prelude::*;

mod arguments;
mod bindings;
mod error;
mod export;
mod gil;
#[allow(
    unsafe_code,
    clippy::disallowed_types,
    reason = "types and functions written against the C API, for their speed; their atomics and cells lie in its objects"
)]
mod hot;
mod metadata;
mod monitor;
mod monitor_snapshot;
mod names;
mod operation;
mod operation_ref;
mod outcome;
mod regression;
mod snapshot;
mod sync;
mod values;

/// The compiled core of nanospan. Use it through the names that ``nanospan`` exports.
// Everything behind the module is atomics or locked: it needs no GIL.
#[pymodule(gil_used = false)]
mod _core {
    use nanospan_stats::Verdict;
    use pyo3::prelude::*;

    use super::regression::verdict_name;

    #[pymodule_export]
    use super::{
        bindings::bind,
        export::{
            prometheus::{Chunks, PrometheusEncoder},
            samples::{Lanes, Samples},
        },
        hot::function::tracked_function,
        monitor::Monitor,
        monitor_snapshot::{MonitorSnapshot, OperationSnapshot},
        operation::Operation,
        operation_ref::{OperationRef, process_monitor, set_process_monitor},
        regression::{OnlineDetector, change_points, compare, compare_many},
        snapshot::Snapshot,
    };

    /// The version of nanospan; Cargo.toml is its only source.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// The name of the operation that receives the samples of all names beyond `max_operations`.
    #[pymodule_export]
    const OVERFLOW_OPERATION: &str = match std::str::from_utf8(nanospan_record::registry::OVERFLOW)
    {
        Ok(name) => name,
        Err(_) => unreachable!(),
    };

    /// The names of the outcomes; an outcome column holds indices into this tuple.
    #[pymodule_export]
    const OUTCOMES: (&str, &str, &str) = {
        let [first, second, third] = nanospan_record::OUTCOMES;
        (first.name(), second.name(), third.name())
    };

    /// The possible verdicts of a comparison.
    #[pymodule_export]
    const VERDICTS: (&str, &str, &str, &str) = (
        verdict_name(Verdict::Regressed),
        verdict_name(Verdict::Improved),
        verdict_name(Verdict::Unchanged),
        verdict_name(Verdict::Insufficient),
    );

    /// The default `alpha` of `compare`.
    #[pymodule_export]
    const ALPHA: f64 = nanospan_stats::ALPHA;

    /// The default `fdr` of `compare_many`.
    #[pymodule_export]
    const FALSE_DISCOVERY_RATE: f64 = nanospan_stats::FALSE_DISCOVERY_RATE;

    /// The default of both.
    #[pymodule_export]
    const MIN_EFFECT: f64 = nanospan_stats::MIN_EFFECT;

    /// The default of both.
    #[pymodule_export]
    const TAIL_MIN_EFFECT: f64 = nanospan_stats::TAIL_MIN_EFFECT;

    /// The bytes that every serialised monitor snapshot begins with.
    #[pymodule_export]
    const SNAPSHOT_MAGIC: &[u8] = nanospan_record::snapshot::codec::MAGIC.as_bytes();

    #[pymodule_init]
    fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::hot::initialise(module)
    }
}
