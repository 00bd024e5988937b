//! All operations of a monitor at rest, as Python sees them.

use nanospan_record::{MonitorSnapshot as Core, OperationSnapshot as CoreOperation, Seconds};
use pyo3::{
    exceptions::PyValueError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyType},
};

use crate::{
    error,
    gil::{DropWithoutGil, Turns},
    names,
    snapshot::Snapshot,
};

/// Snapshot of all operations of a monitor that had samples or were running.
///
/// It is an immutable value that outlives its monitor and can be serialised with ``to_bytes()`` or pickled. Operations
/// were copied one at a time while recording continued: each copy is consistent, except for samples that were being
/// recorded at that moment, but not all copies are from the same instant.
#[pyclass(frozen, eq, module = "nanospan")]
pub struct MonitorSnapshot(DropWithoutGil<Core>);

impl MonitorSnapshot {
    pub fn new(snapshot: Core) -> Self {
        let is_large = snapshot.operations.len() >= 100;
        Self(DropWithoutGil::new(snapshot, is_large))
    }

    /// The snapshot as the Rust encoders take it.
    pub fn core(&self) -> &Core {
        &self.0
    }
}

impl PartialEq for MonitorSnapshot {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

#[pymethods]
impl MonitorSnapshot {
    /// When the snapshot was taken, in Unix seconds.
    #[getter]
    fn time(&self) -> f64 {
        self.0.time
    }

    /// The operations keyed by name, in the order first seen; a new dict each time.
    #[getter]
    fn operations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let operations = PyDict::new(py);
        let copies = py.detach(|| self.0.operations.clone());
        let mut turns = Turns::new();
        for operation in copies {
            let name = names::from_key(py, &operation.name)?;
            operations.set_item(name, OperationSnapshot(operation))?;
            turns.pass(py);
        }
        Ok(operations)
    }

    /// Return what was recorded since ``earlier``, a snapshot of the same monitor.
    ///
    /// Each operation's ``created`` becomes the time of ``earlier``, unless the operation was created or cleared after
    /// that: it then counts from its creation or clearing. An operation without samples since ``earlier`` is left out
    /// unless it is running.
    fn since(&self, py: Python<'_>, earlier: &Self) -> Self {
        Self::new(py.detach(|| self.0.since(&earlier.0)))
    }

    /// Return the snapshot as JSON-compatible dicts and lists, with quantiles, counts and buckets.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let operations = PyDict::new(py);
        let mut turns = Turns::new();
        for operation in &self.0.operations {
            let name = names::from_key(py, &operation.name)?;
            operations.set_item(name, OperationSnapshot::dict(operation, py)?)?;
            turns.pass(py);
        }
        let dict = PyDict::new(py);
        dict.set_item("time", self.0.time)?;
        dict.set_item("operations", operations)?;
        Ok(dict)
    }

    /// Serialise the snapshot to versioned, checksummed bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.to_bytes()))
    }

    /// Restore a snapshot from the bytes that ``to_bytes`` returned.
    ///
    /// Raises:
    ///     ValueError: If ``data`` is corrupt, or is not a serialised snapshot.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        // Bytes never change, and the caller keeps them.
        let snapshot = py.detach(|| Core::from_bytes(data));
        let snapshot = snapshot.map_err(|e| error::to_python("snapshot", &e))?;
        for operation in &snapshot.operations {
            names::from_key(py, &operation.name).map_err(|_| {
                let name = String::from_utf8_lossy(&operation.name);
                PyValueError::new_err(format!("snapshot: a name must be UTF-8, got {name:?}"))
            })?;
        }
        Ok(Self::new(snapshot))
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let class: Bound<'py, PyType> = py.get_type::<Self>();
        Ok((
            class.getattr(intern!(py, "from_bytes"))?,
            (self.to_bytes(py),),
        ))
    }

    fn __len__(&self) -> usize {
        self.0.operations.len()
    }

    fn __repr__(&self) -> String {
        let operations = self.0.operations.len();
        format!("<MonitorSnapshot of {operations} operations>")
    }
}

/// One operation's durations and counts since ``created``, separated by outcome.
#[pyclass(frozen, eq, module = "nanospan")]
#[derive(PartialEq)]
pub struct OperationSnapshot(CoreOperation);

impl OperationSnapshot {
    fn merged(operation: &CoreOperation) -> PyResult<Snapshot> {
        let all = operation.all().map_err(|e| error::to_python("all", &e))?;
        Ok(Snapshot::new(all))
    }

    fn dict<'py>(operation: &CoreOperation, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("created", operation.created)?;
        dict.set_item("threshold", operation.threshold.map(Seconds::get))?;
        dict.set_item("violation_count", operation.violations)?;
        dict.set_item("in_flight", operation.in_flight)?;
        let [ok, error, cancelled] = operation.parts();
        dict.set_item("ok", Snapshot::dict(ok, py)?)?;
        dict.set_item("error", Snapshot::dict(error, py)?)?;
        dict.set_item("cancelled", Snapshot::dict(cancelled, py)?)?;
        Ok(dict)
    }
}

#[pymethods]
impl OperationSnapshot {
    /// The operation's name.
    #[getter]
    fn operation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        names::from_key(py, &self.0.name)
    }

    /// Durations of the executions that succeeded.
    #[getter]
    fn ok(&self) -> Snapshot {
        Snapshot::new(self.0.ok.clone())
    }

    /// Durations of the executions that failed.
    #[getter]
    fn error(&self) -> Snapshot {
        Snapshot::new(self.0.error.clone())
    }

    /// Durations of the executions that were cancelled.
    #[getter]
    fn cancelled(&self) -> Snapshot {
        Snapshot::new(self.0.cancelled.clone())
    }

    /// Durations of all executions, whatever their outcome.
    #[getter]
    fn all(&self) -> PyResult<Snapshot> {
        Self::merged(&self.0)
    }

    /// Number of samples longer than the threshold in force when they were recorded.
    #[getter]
    fn violation_count(&self) -> u64 {
        self.0.violations
    }

    /// The threshold in seconds, or None if there is none.
    #[getter]
    fn threshold(&self) -> Option<f64> {
        self.0.threshold.map(Seconds::get)
    }

    /// Number of executions that were running in the process that took the snapshot.
    #[getter]
    fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// When counting began, in Unix seconds: the operation's first use, its last clearing or, in a difference of two
    /// snapshots, the time of the earlier one.
    #[getter]
    fn created(&self) -> f64 {
        self.0.created
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let [ok, error, cancelled] = self.0.parts().map(|part| part.count());
        let name = self.operation(py)?;
        Ok(format!(
            "<OperationSnapshot {name:?} ok={ok} error={error} cancelled={cancelled}>"
        ))
    }
}
