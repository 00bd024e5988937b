//! The Python callables that the compiled core needs. The core imports no Python modules: the package passes the
//! callables to it with [`bind`] when it is imported.

use std::sync::Arc;

use pyo3::{exceptions::PyRuntimeError, prelude::*};

use crate::hot::exclusive::Exclusive;

/// Constructors of the Python values that the core returns, and Python functions that it calls.
pub struct Bindings {
    pub process_recorder: Py<PyAny>,
    pub decorate: Py<PyAny>,
    pub wrap: Py<PyAny>,
    pub performance_stats: Py<PyAny>,
    pub comparison: Py<PyAny>,
    pub quantile_change: Py<PyAny>,
    pub change_point: Py<PyAny>,
    pub alarm: Py<PyAny>,
    pub snapshot_html: Py<PyAny>,
}

static BOUND: Exclusive<Option<Arc<Bindings>>> = Exclusive::new(None);

/// Pass the compiled core the Python callables that it needs.
///
/// ``nanospan.wiring`` calls this function when the package is imported. Calling it again replaces all the callables,
/// so that modules can be reloaded.
///
/// Args:
///     process_recorder: Returns the process-wide recorder, creating it if it does not exist yet.
///     decorate: Decorates a function, given the function and an OperationRef.
///     wrap: Wraps a function in a native callable, given the function, an Operation and the metadata, a dict or None.
///     performance_stats: Creates a PerformanceStats from its fields, passed by position.
///     comparison: Creates a Comparison from its fields, passed by position.
///     quantile_change: Creates a QuantileChange from its fields, passed by position.
///     change_point: Creates a ChangePoint from its fields, passed by position.
///     alarm: Creates an Alarm from its fields, passed by position.
///     snapshot_html: Renders a Snapshot as HTML.
#[pyfunction]
#[pyo3(signature = (*, process_recorder, decorate, wrap, performance_stats, comparison, quantile_change,
    change_point, alarm, snapshot_html))]
#[expect(
    clippy::too_many_arguments,
    reason = "one argument for each field of Bindings"
)]
pub fn bind(
    py: Python<'_>,
    process_recorder: Py<PyAny>,
    decorate: Py<PyAny>,
    wrap: Py<PyAny>,
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
        wrap,
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

/// Returns the callables that were passed to [`bind`].
///
/// # Errors
///
/// RuntimeError if [`bind`] has not been called.
pub fn get(py: Python<'_>) -> PyResult<Arc<Bindings>> {
    BOUND.with(py, |bound| bound.clone()).ok_or_else(|| {
        PyRuntimeError::new_err(
            "nanospan._core must be initialised with bind() before it is used; import nanospan",
        )
    })
}
