//! `nanospan._core`: the Python face of `nanospan-record`, `nanospan-stats` and `nanospan-format`. Translation only:
//! every decision is made in those crates or in the Python package.

#![deny(unsafe_code)]
#![expect(
    clippy::disallowed_types,
    reason = "objects of the interpreter are shared by its rules, not by those of the recording core"
)]

use pyo3::prelude::*;

mod coroutine;
mod done;
mod error;
mod exclusive;
mod free_list;
mod function;
mod json;
mod metadata;
mod methods;
mod monitor;
mod monitor_snapshot;
mod name_cache;
mod names;
mod operation;
mod outcome;
mod prometheus;
mod raw;
mod regression;
mod rows;
mod snapshot;
mod source;
mod span;
mod step;
mod stop;
mod unheld;
mod values;

/// The compiled core of nanospan. Use the names that `nanospan` exports.
// Everything behind the module is atomics or locked: it needs no GIL.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::{
        function::tracked_function,
        json::metadata_json,
        monitor::Monitor,
        monitor_snapshot::{MonitorSnapshot, OperationSnapshot},
        operation::Operation,
        prometheus::{Chunks, PrometheusEncoder},
        regression::{OnlineDetector, change_points, compare, compare_many},
        rows::{event_rows, extent, lanes, pixels, table_rows},
        snapshot::Snapshot,
        source::{Source, process_monitor, set_process_monitor},
    };

    /// The version of nanospan, of which Cargo.toml holds the only copy.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// The operation that takes the samples of names past `max_operations`.
    #[pymodule_export]
    const OVERFLOW_OPERATION: &str = match std::str::from_utf8(nanospan_record::registry::OVERFLOW)
    {
        Ok(name) => name,
        Err(_) => unreachable!(),
    };

    #[pymodule_init]
    fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        super::step::initialise(py)?;
        module.add("Span", super::span::initialise(py)?)?;
        super::done::initialise(py)?;
        super::coroutine::initialise(py)?;
        super::function::initialise(py)?;
        super::methods::initialise(py)
    }
}
