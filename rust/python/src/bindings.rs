//! What the binding needs from Python, handed to it once, when the package is imported: it imports nothing.

use std::sync::Arc;

use pyo3::{exceptions::PyRuntimeError, prelude::*};

use crate::hot::exclusive::Exclusive;

/// What makes the values that are returned, and the functions that are called.
pub struct Bindings {
    pub process_recorder: Py<PyAny>,
    pub decorate: Py<PyAny>,
    pub performance_stats: Py<PyAny>,
    pub comparison: Py<PyAny>,
    pub quantile_change: Py<PyAny>,
    pub change_point: Py<PyAny>,
    pub alarm: Py<PyAny>,
    pub snapshot_html: Py<PyAny>,
}

static BOUND: Exclusive<Option<Arc<Bindings>>> = Exclusive::new(None);

/// Give the compiled core the Python callables that it needs.
///
/// ``nanospan.wiring`` calls this when the package is imported. A further call replaces all the callables, so modules
/// can be reloaded.
///
/// Args:
///     process_recorder: Returns the process-wide recorder, creating it if there is none.
///     decorate: Decorates a function, given the function and an OperationRef.
///     performance_stats: Creates a PerformanceStats from its fields, passed in order; the next four likewise.
///     comparison: Creates a Comparison.
///     quantile_change: Creates the QuantileChange of a tail quantile.
///     change_point: Creates a ChangePoint.
///     alarm: Creates an Alarm.
///     snapshot_html: Renders a Snapshot as HTML.
#[pyfunction]
#[pyo3(signature = (*, process_recorder, decorate, performance_stats, comparison, quantile_change, change_point,
    alarm, snapshot_html))]
#[expect(clippy::too_many_arguments, reason = "the fields of Bindings")]
pub fn bind(
    py: Python<'_>,
    process_recorder: Py<PyAny>,
    decorate: Py<PyAny>,
    performance_stats: Py<PyAny>,
    comparison: Py<PyAny>,
    quantile_change: Py<PyAny>,
    change_point: Py<PyAny>,
    alarm: Py<PyAny>,
    snapshot_html: Py<PyAny>,
) {
    let bindings = Arc::new(Bindings {
        process_recorder,
        decorate,
        performance_stats,
        comparison,
        quantile_change,
        change_point,
        alarm,
        snapshot_html,
    });
    let before = BOUND.with(py, |bound| bound.replace(bindings));
    drop(before);
}

/// What was given.
///
/// # Errors
///
/// RuntimeError if nothing was.
pub fn get(py: Python<'_>) -> PyResult<Arc<Bindings>> {
    BOUND.with(py, |bound| bound.clone()).ok_or_else(|| {
        PyRuntimeError::new_err(
            "nanospan._core must be given what it needs from Python before it is used; import nanospan",
        )
    })
}
