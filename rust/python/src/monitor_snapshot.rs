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

/// All operations of a monitor that had samples or were under way, as they were at one moment.
///
/// It is an immutable value that outlives its monitor and travels as ``to_bytes()`` or by pickle. The operations
/// were copied one after another while recording went on: each is consistent in itself to within the
/// samples that were being recorded at that moment; there is no common instant for all of them.
#[pyclass(frozen, eq, module = "nanospan")]
pub struct MonitorSnapshot(DropWithoutGil<Core>);

impl MonitorSnapshot {
    pub fn new(snapshot: Core) -> Self {
        let is_large = snapshot.operations.len() >= 100;
        Self(DropWithoutGil::new(snapshot, is_large))
    }

    /// What Rust encodes.
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
    /// When it was taken, in Unix seconds.
    #[getter]
    fn time(&self) -> f64 {
        self.0.time
    }

    /// The operations by name, in the order in which they were first seen: a new dict each time.
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

    /// Return what was recorded since ``earlier``, a snapshot of the same monitor, whose time is then the
    /// operations' ``created``.
    ///
    /// An operation that is new, or was cleared in between, counts from its creation or clearing. One without
    /// samples since is left out unless it is under way.
    fn since(&self, py: Python<'_>, earlier: &Self) -> Self {
        Self::new(py.detach(|| self.0.since(&earlier.0)))
    }

    /// Return everything as plain dicts and lists, for JSON: quantiles, counts and the buckets themselves.
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

    /// Return the snapshot as versioned, checksummed bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.0.to_bytes()))
    }

    /// Return the snapshot that ``to_bytes`` turned into ``data``.
    ///
    /// Raises:
    ///     ValueError: If ``data`` is damaged, or is something else.
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

/// What one operation had counted since `created`, by outcome.
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

    /// Durations of the samples that succeeded.
    #[getter]
    fn ok(&self) -> Snapshot {
        Snapshot::new(self.0.ok.clone())
    }

    /// Durations of the samples that failed.
    #[getter]
    fn error(&self) -> Snapshot {
        Snapshot::new(self.0.error.clone())
    }

    /// Durations of the samples that were cancelled.
    #[getter]
    fn cancelled(&self) -> Snapshot {
        Snapshot::new(self.0.cancelled.clone())
    }

    /// Durations of all samples.
    #[getter]
    fn all(&self) -> PyResult<Snapshot> {
        Self::merged(&self.0)
    }

    /// Samples over the threshold in force when they were recorded.
    #[getter]
    fn violation_count(&self) -> u64 {
        self.0.violations
    }

    /// The threshold in seconds, None without one.
    #[getter]
    fn threshold(&self) -> Option<f64> {
        self.0.threshold.map(Seconds::get)
    }

    /// Executions under way in this process.
    #[getter]
    fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// When it began to count, in Unix seconds: the operation's first use, its last clearing, or the time of the
    /// earlier snapshot of a difference.
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
