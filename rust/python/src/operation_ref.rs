//! `OperationRef`, which tells a decorated function where to record: a fixed operation, or a name to look up in the
//! process-wide monitor.

use nanospan_record::{Measured, Outcome};
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyString, PyTuple},
};

use crate::{
    bindings,
    hot::{exclusive::Exclusive, objects, span},
    metadata,
    monitor::Monitor,
    names,
    operation::Operation,
    outcome,
    sync::{Generation, OnceLock},
};

/// The process-wide monitor, kept here so that decorated calls find it without running Python.
static PROCESS_MONITOR: Exclusive<Option<Py<Monitor>>> = Exclusive::new(None);
/// How many times the process-wide monitor has been replaced. An operation that was looked up in an earlier generation
/// is outdated.
static GENERATION: Generation = Generation::new();

/// Return the process-wide monitor, or None if it has not been created yet.
#[pyfunction]
pub fn process_monitor(py: Python<'_>) -> Option<Py<Monitor>> {
    PROCESS_MONITOR.with(py, |monitor| Some(monitor.as_ref()?.clone_ref(py)))
}

/// Make ``monitor`` the process-wide monitor unless there already is one, and return the process-wide monitor.
#[pyfunction]
pub fn offer_process_monitor(py: Python<'_>, monitor: Py<Monitor>) -> Py<Monitor> {
    let offered = monitor.clone_ref(py);
    let (agreed, refused) = PROCESS_MONITOR.with(py, |current| match current {
        Some(current) => (current.clone_ref(py), Some(offered)),
        None => {
            GENERATION.advance_release(); // as in `set_process_monitor`
            *current = Some(offered);
            (monitor.clone_ref(py), None)
        }
    });
    drop(refused.map(|refused| refused.into_bound(py)));
    agreed
}

/// Set the process-wide monitor, or remove it if ``monitor`` is None.
#[pyfunction]
pub fn set_process_monitor(py: Python<'_>, monitor: Option<Py<Monitor>>) {
    let before = PROCESS_MONITOR.with(py, |current| {
        // Release: pairs with the Acquires in `known` and `look_up`. A thread that reads the new number also sees the
        // new monitor, or waits until it is set.
        GENERATION.advance_release();
        std::mem::replace(current, monitor)
    });
    drop(before.map(|before| before.into_bound(py)));
}

/// Reference to the operation that a decorated function's executions are recorded into.
///
/// A reference created with a name looks the operation up in the process-wide monitor when the function is called.
///
/// Args:
///     operation: The operation's name, a non-empty string.
///     metadata: A mapping to keep with every sample.
///
/// Raises:
///     TypeError: If ``operation`` is not a str, or ``metadata`` is neither a mapping nor None.
///     ValueError: If ``operation`` is empty.
#[pyclass(frozen, module = "nanospan._core")]
pub struct OperationRef {
    // The name to look up in the process-wide monitor. If it is None, `found` is set from the start.
    name: Option<Py<PyString>>,
    // The operation found, and the generation of the process-wide monitor in which it was looked up.
    found: OnceLock<(u64, Py<Operation>)>,
    metadata: Option<Py<PyDict>>,
}

#[pymethods]
impl OperationRef {
    #[new]
    #[pyo3(signature = (operation, metadata=None))]
    fn new(operation: &Bound<'_, PyAny>, metadata: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Self {
            name: Some(names::check(operation)?.clone().unbind()),
            found: OnceLock::new(),
            metadata: metadata
                .map(|given| metadata::given(given))
                .transpose()?
                .map(Bound::unbind),
        })
    }

    /// Return a reference that always refers to ``operation``.
    ///
    /// Args:
    ///     operation: The operation to record into.
    ///     metadata: A dict to keep with every sample.
    #[staticmethod]
    pub fn fixed(operation: &Bound<'_, Operation>, metadata: Option<Bound<'_, PyDict>>) -> Self {
        Self {
            name: None,
            found: OnceLock::from((0, operation.clone().unbind())),
            metadata: metadata.map(Bound::unbind),
        }
    }

    /// Return a new span, with which Python code can time one execution of the operation.
    fn span<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let given = self.metadata.as_ref().map(|given| given.bind(py));
        span::new(&self.operation(py)?, given)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let Some(name) = &slf.get().name else {
            return Err(PyTypeError::new_err(
                "a function that records into its own monitor cannot be pickled by value; decorate it with \
                 track_performance, which records into the process-wide monitor of each process",
            ));
        };
        (slf.get_type(), (name, &slf.get().metadata)).into_pyobject(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.metadata)?;
        match self.found.get() {
            Some((_, operation)) => visit.call(operation),
            None => Ok(()),
        }
    }
}

impl OperationRef {
    /// Returns the operation to record into, looking it up if necessary.
    #[inline]
    pub fn operation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Operation>> {
        match self.known(py) {
            Some(operation) => Ok(operation.clone()),
            None => self.look_up(py),
        }
    }

    /// Returns the stored operation, or `None` if none is stored or the stored one is outdated. The operation lives as
    /// long as `self`.
    #[inline(always)]
    pub fn known<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Operation>> {
        let (generation, operation) = self.found.get()?;
        // Acquire: pairs with the Release in set_process_monitor.
        let current = self.name.is_none() || *generation == GENERATION.load_acquire();
        current.then(|| operation.bind(py))
    }

    /// Looks the operation up in the process-wide monitor, which runs Python code, and stores it.
    #[cold]
    pub fn look_up<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Operation>> {
        let ask = || -> PyResult<_> {
            let generation = GENERATION.load_acquire();
            let recorder = bindings::get(py)?.process_recorder.bind(py).call0()?;
            let monitor = recorder.cast_into::<Monitor>()?;
            Ok((generation, monitor))
        };
        let (mut generation, mut monitor) = ask()?;
        if generation != GENERATION.load_acquire() {
            // This call created the monitor, which started a new generation. With the old number, the operation would
            // be outdated immediately and be looked up on every call.
            (generation, monitor) = ask()?;
        }
        let name = self.name.as_ref();
        let name = match name {
            Some(name) => name.bind(py).clone(),
            None => objects::text(py, "")?,
        };
        let operation = monitor.get().operation_of(&name)?;
        // The generation was read before the monitor, so replacing the monitor in between makes this entry outdated.
        let _ = self.found.set((generation, operation.clone().unbind()));
        Ok(operation)
    }

    /// Ends and records an execution that succeeded. `start` is when it began, in ticks.
    #[inline(always)]
    pub fn record_success(
        &self,
        py: Python<'_>,
        operation: &Operation,
        start: u64,
    ) -> PyResult<()> {
        let end = operation.end();
        if self.metadata.is_some() {
            return self.write(py, operation, [start, end], Outcome::Ok, None);
        }
        let duration = Measured::Nanos(operation.core().clock().nanos_between(start, end));
        operation.record_plain(py, end, duration)
    }

    /// Ends and records an execution that was cancelled. `start` is when it began, in ticks.
    #[cold]
    pub fn record_cancelled(
        &self,
        py: Python<'_>,
        operation: &Operation,
        start: u64,
    ) -> PyResult<()> {
        let end = operation.end();
        self.write(py, operation, [start, end], Outcome::Cancelled, None)
    }

    /// Ends and records an execution that was ended by the current Python exception. `start` is when it began, in
    /// ticks. The exception stays set, unless recording fails; the error from recording is then returned instead.
    #[cold]
    pub fn record_raised(&self, py: Python<'_>, operation: &Operation, start: u64) -> PyResult<()> {
        let end = operation.end();
        let error = PyErr::fetch(py);
        let value = error.value(py).as_any();
        let outcome = outcome::of_exception(value.get_type().as_any(), value)?;
        self.write(py, operation, [start, end], outcome, Some(value))?;
        error.restore(py);
        Ok(())
    }

    fn write(
        &self,
        py: Python<'_>,
        operation: &Operation,
        [start, end]: [u64; 2],
        outcome: Outcome,
        exception: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let duration = Measured::Nanos(operation.core().clock().nanos_between(start, end));
        let given = self.metadata.as_ref().map(|given| given.bind(py));
        let metadata = match (outcome, given) {
            (Outcome::Ok, Some(given)) => (!given.is_empty())
                .then(|| operation.copy(given))
                .transpose(),
            _ => outcome::metadata(py, given, None, outcome, exception),
        };
        operation.record(py, end, duration, outcome, metadata)
    }
}
