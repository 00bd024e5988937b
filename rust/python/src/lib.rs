//! `nanospan._core`: the Python bindings of `nanospan-record`, `nanospan-stats` and `nanospan-format`.
//!
//! The bindings only convert between Rust and Python; all logic is in those crates or in the Python package.

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
    reason = "types and functions written against the C API for speed; their atomics and cells are fields of C structs"
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
// The module does not need the GIL: all its shared state is atomic or protected by a lock.
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
        names::{escape_name, unescape_name},
        operation::Operation,
        operation_ref::{OperationRef, process_monitor, set_process_monitor},
        outcome::outcome_of,
        regression::{OnlineDetector, change_points, compare, compare_many},
        snapshot::Snapshot,
    };

    /// The version of nanospan, taken from Cargo.toml.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python uses")]
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

    /// The possible values of a comparison's verdict.
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

    /// The default `min_effect` of `compare` and `compare_many`.
    #[pymodule_export]
    const MIN_EFFECT: f64 = nanospan_stats::MIN_EFFECT;

    /// The default `tail_min_effect` of `compare` and `compare_many`.
    #[pymodule_export]
    const TAIL_MIN_EFFECT: f64 = nanospan_stats::TAIL_MIN_EFFECT;

    /// The longest duration and the largest threshold in seconds (584 years); longer ones raise ValueError.
    #[pymodule_export]
    const MAX_DURATION: f64 = nanospan_record::seconds::MAX_SECONDS;

    /// The first bytes of every serialised monitor snapshot.
    #[pymodule_export]
    const SNAPSHOT_MAGIC: &[u8] = nanospan_record::snapshot::codec::MAGIC.as_bytes();

    #[pymodule_init]
    fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::hot::initialise(module)
    }
}
