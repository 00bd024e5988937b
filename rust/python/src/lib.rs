//! `nanospan._core`: the Python bindings of `nanospan-record`, `nanospan-stats` and `nanospan-format`.
//!
//! The bindings only convert between Rust and Python; all logic is in those crates or in the Python package.

#![deny(unsafe_code)]

use nanospan_record::OUTCOMES;
use nanospan_stats::Verdict;
use pyo3::{prelude::*, types::PyTuple};

use crate::regression::verdict_name;

mod arguments;
mod atomic;
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
mod messages;
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
// The module does not need the GIL: all its shared state is atomic or protected by a lock. Its contents are added by
// hand rather than with `#[pymodule_export]`, which would create Python objects before the interpreter is checked.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    hot::interpreter::claim(module.py())?;

    module.add_class::<atomic::Atomic>()?;
    module.add_class::<export::prometheus::Chunks>()?;
    module.add_class::<export::prometheus::PrometheusEncoder>()?;
    module.add_class::<export::samples::Lanes>()?;
    module.add_class::<export::samples::Samples>()?;
    module.add_class::<hot::tracker::Tracker>()?;
    module.add_class::<monitor::Monitor>()?;
    module.add_class::<monitor_snapshot::MonitorSnapshot>()?;
    module.add_class::<monitor_snapshot::OperationSnapshot>()?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<operation_ref::OperationRef>()?;
    module.add_class::<regression::OnlineDetector>()?;
    module.add_class::<snapshot::Snapshot>()?;

    module.add_function(wrap_pyfunction!(bindings::bind, module)?)?;
    module.add_function(wrap_pyfunction!(hot::function::tracked_function, module)?)?;
    module.add_function(wrap_pyfunction!(hot::vectorcall::attach, module)?)?;
    module.add_function(wrap_pyfunction!(names::escape_name, module)?)?;
    module.add_function(wrap_pyfunction!(names::unescape_name, module)?)?;
    module.add_function(wrap_pyfunction!(
        operation_ref::offer_process_monitor,
        module
    )?)?;
    module.add_function(wrap_pyfunction!(operation_ref::process_monitor, module)?)?;
    module.add_function(wrap_pyfunction!(
        operation_ref::set_process_monitor,
        module
    )?)?;
    module.add_function(wrap_pyfunction!(outcome::outcome_of, module)?)?;
    module.add_function(wrap_pyfunction!(regression::change_points, module)?)?;
    module.add_function(wrap_pyfunction!(regression::compare, module)?)?;
    module.add_function(wrap_pyfunction!(regression::compare_many, module)?)?;

    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    // The operation that receives the samples of all names beyond `max_operations`.
    module.add(
        "OVERFLOW_OPERATION",
        names::from_key(module.py(), nanospan_record::registry::OVERFLOW)?,
    )?;
    // The names of the outcomes; an outcome column holds indices into this tuple.
    let [ok, error, cancelled] = OUTCOMES.map(nanospan_record::Outcome::name);
    module.add("OUTCOMES", (ok, error, cancelled))?;
    // The possible values of a comparison's verdict.
    let verdicts = [
        Verdict::Regressed,
        Verdict::Improved,
        Verdict::Unchanged,
        Verdict::Insufficient,
    ];
    module.add(
        "VERDICTS",
        PyTuple::new(module.py(), verdicts.map(verdict_name))?,
    )?;
    // The defaults of the arguments of `compare` and `compare_many`.
    module.add("ALPHA", nanospan_stats::ALPHA)?;
    module.add("FALSE_DISCOVERY_RATE", nanospan_stats::FALSE_DISCOVERY_RATE)?;
    module.add("MIN_EFFECT", nanospan_stats::MIN_EFFECT)?;
    module.add("TAIL_MIN_EFFECT", nanospan_stats::TAIL_MIN_EFFECT)?;
    // The longest duration and the largest threshold in seconds (584 years); longer ones raise ValueError.
    module.add("MAX_DURATION", nanospan_record::limits::MAX_SECONDS)?;
    // The first bytes of every serialised monitor snapshot.
    module.add(
        "SNAPSHOT_MAGIC",
        nanospan_record::snapshot::codec::MAGIC.as_bytes(),
    )?;
    // Whether Python code calls functions through their vectorcall; see hot/vectorcall.rs.
    module.add("VECTORCALL_IS_USED", cfg!(any(not(Py_3_11), Py_3_12)))?;

    hot::initialise(module)
}
