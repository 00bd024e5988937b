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

/// The compiled core of nanospan. Use the names that `nanospan` exports.
// Everything behind the module is atomics or locked: it needs no GIL.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

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
        super::hot::initialise(module)
    }
}
