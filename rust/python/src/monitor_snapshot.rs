//! The Python classes for snapshots of a monitor and its operations.

use nanospan_record::{MonitorSnapshot as Core, OperationSnapshot as CoreOperation, Seconds};
use pyo3::{
    exceptions::{PyMemoryError, PyValueError},
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyString, PyType},
};

use crate::{
    error::{self, Fallible},
    gil::{DropWithoutGil, Turns},
    hot::objects,
    messages::{shorten, shown},
    names,
    snapshot::Snapshot,
};

/// Snapshot of a monitor's operations, except those that had no samples and were not running.
///
/// It is an immutable value that outlives its monitor and can be serialised with ``to_bytes()`` or pickled. The
/// operations were copied one after another while recording continued, so their copies are from slightly different
/// moments. Each copy is consistent except for samples that were being recorded at that moment.
#[pyclass(frozen, eq, module = "nanospan")]
pub struct MonitorSnapshot(DropWithoutGil<Core>);

impl MonitorSnapshot {
    pub fn new(snapshot: Core) -> Self {
        let is_large = snapshot.operations.len() >= 100;
        Self(DropWithoutGil::new(snapshot, is_large))
    }

    /// Returns the underlying snapshot, for the Rust encoders.
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

    /// The operations' snapshots keyed by name, in the order in which the names were first used. Each access creates a
    /// new dict.
    #[getter]
    fn operations<'py>(&self, py: Python<'py>) -> Fallible<Bound<'py, PyDict>> {
        let operations = objects::dict(py)?;
        let copies = py.detach(|| self.0.copies())?;
        let mut turns = Turns::new();
        for operation in copies {
            let name = names::from_key(py, &operation.name)?;
            operations.set_item(name, Bound::new(py, OperationSnapshot(operation))?)?;
            turns.pass(py);
        }
        Ok(operations)
    }

    /// Return a snapshot that contains only what was recorded since ``earlier``, a snapshot of the same monitor.
    ///
    /// In the result, an operation's ``created`` is the time of ``earlier``, or the time when the operation was created
    /// or cleared if that was later. Operations without samples since ``earlier`` are left out unless they are running.
    fn since(&self, py: Python<'_>, earlier: &Self) -> Fallible<Self> {
        Ok(Self::new(py.detach(|| self.0.since(&earlier.0))?))
    }

    /// Return the snapshot as JSON-compatible dicts and lists, with quantiles, counts and buckets.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let operations = objects::dict(py)?;
        let mut turns = Turns::new();
        for operation in &self.0.operations {
            let name = names::from_key(py, &operation.name)?;
            operations.set_item(name, OperationSnapshot::dict(operation, py)?)?;
            turns.pass(py);
        }
        let dict = objects::dict(py)?;
        dict.set_item(intern!(py, "time"), objects::float(py, self.0.time)?)?;
        dict.set_item(intern!(py, "operations"), operations)?;
        Ok(dict)
    }

    /// Serialise the snapshot to versioned, checksummed bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Fallible<Bound<'py, PyBytes>> {
        Ok(objects::bytes(py, &py.detach(|| self.0.to_bytes())?)?)
    }

    /// Restore a snapshot from the bytes that ``to_bytes`` returned.
    ///
    /// Raises:
    ///     ValueError: If ``data`` is corrupt or not a serialised monitor snapshot.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        // Reading `data` without the GIL is safe: bytes are immutable, and the caller keeps them alive.
        let snapshot = py.detach(|| Core::from_bytes(data));
        let snapshot = snapshot.map_err(|e| error::to_python("snapshot", &e))?;
        for operation in &snapshot.operations {
            names::from_key(py, &operation.name).map_err(|error| {
                if error.is_instance_of::<PyMemoryError>(py) {
                    return error;
                }
                let name = operation.name.escape_ascii();
                PyValueError::new_err(format!(
                    "snapshot: an operation's name must be UTF-8, got {}",
                    shorten(&format!("\"{name}\""))
                ))
            })?;
        }
        Ok(Self::new(snapshot))
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> Fallible<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let class: Bound<'py, PyType> = py.get_type::<Self>();
        Ok((
            class.getattr(intern!(py, "from_bytes"))?,
            (self.to_bytes(py)?,),
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

/// Snapshot of one operation: its durations since ``created``, separated by outcome, and its counts.
#[pyclass(frozen, eq, module = "nanospan")]
#[derive(PartialEq)]
pub struct OperationSnapshot(CoreOperation);

impl OperationSnapshot {
    fn merged(operation: &CoreOperation) -> PyResult<Snapshot> {
        let all = operation.all().map_err(|e| error::to_python("all", &e))?;
        Ok(Snapshot::new(all))
    }

    fn dict<'py>(operation: &CoreOperation, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = objects::dict(py)?;
        let float = |value| objects::float(py, value);
        let threshold = operation.threshold.map(Seconds::get).map(float);
        dict.set_item(intern!(py, "created"), float(operation.created)?)?;
        dict.set_item(intern!(py, "threshold"), threshold.transpose()?)?;
        let violations = objects::int(py, operation.violations)?;
        dict.set_item(intern!(py, "violation_count"), violations)?;
        let in_flight = objects::int(py, operation.in_flight)?;
        dict.set_item(intern!(py, "in_flight"), in_flight)?;
        let [ok, error, cancelled] = operation.parts();
        dict.set_item(intern!(py, "ok"), Snapshot::dict(ok, py)?)?;
        dict.set_item(intern!(py, "error"), Snapshot::dict(error, py)?)?;
        dict.set_item(intern!(py, "cancelled"), Snapshot::dict(cancelled, py)?)?;
        Ok(dict)
    }
}

#[pymethods]
impl OperationSnapshot {
    /// The operation's name.
    #[getter]
    fn operation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        names::from_key(py, &self.0.name)
    }

    /// Histogram of the durations of executions that succeeded.
    #[getter]
    fn ok(&self) -> Fallible<Snapshot> {
        Ok(Snapshot::new(self.0.ok.try_clone()?))
    }

    /// Histogram of the durations of executions that failed.
    #[getter]
    fn error(&self) -> Fallible<Snapshot> {
        Ok(Snapshot::new(self.0.error.try_clone()?))
    }

    /// Histogram of the durations of executions that were cancelled.
    #[getter]
    fn cancelled(&self) -> Fallible<Snapshot> {
        Ok(Snapshot::new(self.0.cancelled.try_clone()?))
    }

    /// Histogram of the durations of all executions, regardless of outcome.
    #[getter]
    fn all(&self) -> PyResult<Snapshot> {
        Self::merged(&self.0)
    }

    /// Number of samples that exceeded the threshold in force when they were recorded.
    #[getter]
    fn violation_count(&self) -> u64 {
        self.0.violations
    }

    /// The operation's threshold in seconds, or None if it has no threshold.
    #[getter]
    fn threshold(&self) -> Option<f64> {
        self.0.threshold.map(Seconds::get)
    }

    /// Number of executions that were running when the snapshot was taken, in the process that took it.
    #[getter]
    fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// When counting began, in Unix seconds.
    ///
    /// This is when the operation was first used or last cleared. In the result of ``MonitorSnapshot.since``, it is the
    /// time of the earlier snapshot if that is later.
    #[getter]
    fn created(&self) -> f64 {
        self.0.created
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let [ok, error, cancelled] = self.0.parts().map(|part| part.count());
        let name = self.operation(py)?;
        Ok(format!(
            "<OperationSnapshot {} ok={ok} error={error} cancelled={cancelled}>",
            shown(&name)
        ))
    }
}
