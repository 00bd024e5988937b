//! `Monitor`, the native base class of `nanospan.PerformanceMonitor`, which records operations.

use std::sync::Arc;

use nanospan_record::{Lookup, Outcome, Refusal, Registry, Seconds, registry::OVERFLOW};
use pyo3::{
    Borrowed, PyTraverseError, PyVisit,
    exceptions::PyRuntimeError,
    intern,
    prelude::*,
    types::{PyBool, PyDict, PyList, PyMappingProxy, PyString, PyTuple},
};

use crate::{
    arguments::{number, whole_number},
    error::{self, Failure, Fallible, memory_error},
    hot::{objects, operations::Operations},
    messages::shown,
    monitor_snapshot::MonitorSnapshot,
    names,
    operation::{Operation, Shared, events_failed},
    sync::OnceLock,
};

/// Native base class of ``nanospan.PerformanceMonitor``; use that class instead.
#[pyclass(frozen, subclass, module = "nanospan._core")]
pub struct Monitor {
    // Set by __init__ rather than __new__, so that subclasses can define their own constructor arguments.
    inner: OnceLock<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    // Does not contain names beyond `max_operations`.
    operations: Operations,
}

impl Monitor {
    #[inline]
    fn inner(&self) -> PyResult<&Inner> {
        self.inner
            .get()
            .ok_or_else(|| {
            PyRuntimeError::new_err(
                "PerformanceMonitor.__init__ was not called; a subclass must call super().__init__()",
            )
        })
    }
}

impl Monitor {
    /// Returns the operation whose name is the same object as `name`, if that operation is in the cache of recent
    /// operations.
    #[inline]
    pub fn recent<'a, 'py>(
        &'a self,
        name: &Bound<'py, PyAny>,
    ) -> Option<Borrowed<'a, 'py, Operation>> {
        self.inner.get()?.operations.recent(name)
    }

    /// Returns the operation called `name`, creating it on first use. Once there are `max_operations` operations,
    /// returns the overflow operation for any new name.
    pub fn operation_of<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Operation>> {
        self.inner()?.operation(name)
    }
}

impl Inner {
    fn known<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Operation>>> {
        self.operations.get(names::check(name)?)
    }

    #[inline]
    fn operation<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Operation>> {
        match self.known(name)? {
            Some(operation) => Ok(operation),
            None => self.first_seen(names::check(name)?),
        }
    }

    #[cold]
    fn first_seen<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, Operation>> {
        let py = name.py();
        match self.shared.registry().operation(&names::key(name)?) {
            Lookup::Own(core) => {
                let name = names::exact(name)?.cast_into::<PyString>()?;
                // If another thread has added the operation first, `add` returns that thread's operation.
                self.operations.add(self.new_operation(core, name)?)
            }
            Lookup::Refused { first, reason, .. } => {
                if first && let Some(events) = self.shared.events(py) {
                    let reported = match reason {
                        Refusal::Full => {
                            let arguments = (name, self.shared.registry().max_operations());
                            events.call_method1(intern!(py, "overflow"), arguments)
                        }
                        Refusal::OutOfMemory(error) => {
                            let arguments = (name, error.to_string());
                            events.call_method1(intern!(py, "out_of_memory"), arguments)
                        }
                    };
                    events_failed(py, reported.map(drop))?;
                }
                self.overflow(py)
            }
        }
    }

    fn new_operation<'py>(
        &self,
        core: Arc<nanospan_record::Operation>,
        name: Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, Operation>> {
        let py = name.py();
        Bound::new(
            py,
            Operation::new(core, name.unbind(), Arc::clone(&self.shared)),
        )
    }

    /// Returns the overflow operation, which receives the samples of all new names once there are `max_operations`
    /// operations. It exists from the start.
    fn overflow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Operation>> {
        let name = names::from_key(py, OVERFLOW)?;
        if let Some(overflow) = self.operations.get(&name)? {
            return Ok(overflow);
        }
        let core = self.shared.registry().get(OVERFLOW);
        let core =
            core.ok_or_else(|| PyRuntimeError::new_err("the overflow operation is missing"))?;
        self.operations.add(self.new_operation(core, name)?)
    }
}

#[pymethods]
impl Monitor {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            inner: OnceLock::new(),
        }
    }

    fn __init__(
        &self,
        py: Python<'_>,
        max_metrics_per_operation: &Bound<'_, PyAny>,
        max_operations: &Bound<'_, PyAny>,
        events: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let window = whole_number("max_metrics_per_operation", max_metrics_per_operation)?;
        let operations = whole_number("max_operations", max_operations)?;
        let registry = Registry::new(window, operations)
            .map_err(|e| error::to_python("PerformanceMonitor", &e))?;
        let inner = Inner {
            shared: Arc::new(Shared::new(registry, events)),
            operations: Operations::new(py)?,
        };
        inner.overflow(py)?;
        self.inner.set(inner).map_err(|_| {
            PyRuntimeError::new_err(
                "this monitor is already initialised; do not call __init__ again",
            )
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(inner) = self.inner.get() else {
            return Ok(());
        };
        inner.operations.traverse(&visit)?;
        inner.shared.traverse(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        if let Some(inner) = self.inner.get() {
            inner.shared.clear(py);
        }
    }

    /// Return a handle to an operation, creating the operation on first use.
    ///
    /// Recording through the handle is faster than through the monitor, because the name is not looked up each time.
    ///
    /// Args:
    ///     operation: The operation's name, a non-empty string.
    ///
    /// Raises:
    ///     TypeError: If ``operation`` is not a str.
    ///     ValueError: If ``operation`` is empty.
    fn operation<'py>(&self, operation: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Operation>> {
        self.operation_of(operation)
    }

    /// Resume recording after ``disable``.
    fn enable(&self) -> PyResult<()> {
        self.inner()?.shared.enable(true);
        Ok(())
    }

    /// Stop recording: executions that begin or end before the next ``enable`` are not recorded.
    fn disable(&self) -> PyResult<()> {
        self.inner()?.shared.enable(false);
        Ok(())
    }

    /// Whether samples are being recorded.
    #[getter]
    fn enabled(&self) -> PyResult<bool> {
        Ok(self.inner()?.shared.enabled())
    }

    /// Maximum number of samples in each operation's window.
    #[getter]
    fn max_metrics_per_operation(&self) -> PyResult<usize> {
        Ok(self.inner()?.shared.registry().window())
    }

    /// Maximum number of operation names that are recorded separately.
    #[getter]
    fn max_operations(&self) -> PyResult<usize> {
        Ok(self.inner()?.shared.registry().max_operations())
    }

    /// Number of look-ups of new names after ``max_operations`` was reached; each returned ``__overflow__`` instead.
    #[getter]
    fn refused_names(&self) -> PyResult<u64> {
        Ok(self.inner()?.shared.registry().refused())
    }

    /// Set or remove the duration above which an operation's samples are violations.
    ///
    /// Args:
    ///     operation: The operation's name. The operation need not have any samples yet.
    ///     threshold_seconds: Samples strictly longer than this are violations. None removes the threshold.
    ///
    /// Raises:
    ///     TypeError: If ``operation`` is not a str, or ``threshold_seconds`` is neither a number nor None.
    ///     ValueError: If ``operation`` is empty, or ``threshold_seconds`` is negative, longer than 584 years or NaN.
    fn set_threshold(
        &self,
        operation: &Bound<'_, PyAny>,
        threshold_seconds: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let name = names::check(operation)?;
        let asked = || format!("threshold of operation {}", shown(name));
        let threshold = match threshold_seconds {
            None => None,
            Some(seconds) => Some(
                Seconds::new(number(seconds, asked)?)
                    .map_err(|refused| error::to_python(&asked(), &refused))?,
            ),
        };
        let registry = self.inner()?.shared.registry();
        registry
            .set_threshold(&names::key(name)?, threshold)
            .map_err(memory_error)
    }

    /// Read-only copy of all thresholds in seconds, keyed by operation name.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> Fallible<Bound<'py, PyMappingProxy>> {
        let thresholds = objects::dict(py)?;
        for (name, threshold) in self.inner()?.shared.registry().thresholds()? {
            let seconds = objects::float(py, threshold.get())?;
            thresholds.set_item(names::from_key(py, &name)?, seconds)?;
        }
        Ok(PyMappingProxy::new(py, thresholds.as_mapping()))
    }

    /// Delete the samples of ``operation``, or those of all operations if ``operation`` is None. Thresholds are kept.
    #[pyo3(signature = (operation=None))]
    fn clear_metrics(&self, py: Python<'_>, operation: Option<&Bound<'_, PyAny>>) -> Fallible<()> {
        let inner = self.inner()?;
        match operation {
            Some(name) => {
                if let Some(known) = inner.known(name)? {
                    known.get().clear(py);
                }
            }
            None => {
                for operation in inner.operations.all(py)? {
                    operation.get().clear(py);
                }
            }
        }
        Ok(())
    }

    /// Make every operation count from zero in a forked child; thresholds and handles are kept.
    ///
    /// Must be called by the child's only thread, before it records.
    fn _reset_in_child(&self, py: Python<'_>) -> Fallible<()> {
        let inner = self.inner()?;
        inner.shared.registry().reset_in_child();
        for operation in inner.operations.all(py)? {
            operation.get().forget_metadata(py);
        }
        Ok(())
    }

    /// Return the names of the operations whose window has samples, in the order in which they were first used.
    fn _names<'py>(&self, py: Python<'py>) -> Fallible<Bound<'py, PyList>> {
        let mut all = self.inner()?.operations.all(py)?;
        all.retain(|operation| operation.get().core().block().samples().len() > 0);
        let names = all.iter().map(|each| Ok(each.get().name(py).clone()));
        objects::list::<_, Failure>(py, names)
    }

    /// Return a snapshot of every operation that has samples or is running.
    ///
    /// Operations are copied one at a time, with the GIL released, while recording continues. Each copy is consistent
    /// except for samples that are being recorded at that moment.
    fn snapshot(&self, py: Python<'_>) -> Fallible<MonitorSnapshot> {
        // The locks are taken while holding the GIL, so that no other thread can fork the process while a lock is held.
        let begun = self.inner()?.shared.registry().begin_snapshot()?;
        Ok(MonitorSnapshot::new(py.detach(|| begun.finish())?))
    }

    /// Return the statistics of the samples in the operation's window, or None if it has no samples.
    ///
    /// A sample that another thread is recording at the same time may be missing.
    fn get_stats<'py>(&self, operation: &Bound<'py, PyAny>) -> Fallible<Option<Bound<'py, PyAny>>> {
        match self.inner()?.known(operation)? {
            Some(known) => known.get().stats(operation.py()),
            None => Ok(None),
        }
    }

    /// Return the durations of the samples in the window that ended after ``moment``, and the time of the latest end.
    ///
    /// Durations are in seconds, oldest sample first. Both times are in monotonic clock ticks, which changes to the
    /// system clock do not affect; pass 0 to get the whole window. If there are no such samples, the second value is
    /// ``moment``.
    fn _durations_since<'py>(
        &self,
        operation: &Bound<'py, PyAny>,
        moment: u64,
    ) -> Fallible<(Bound<'py, PyList>, u64)> {
        let py = operation.py();
        match self.inner()?.known(operation)? {
            Some(operation) => operation.get().durations_since(py, moment),
            None => Ok((PyList::empty(py), moment)),
        }
    }

    /// Return the samples in the operation's window, oldest first.
    ///
    /// Each sample is a tuple of duration in seconds, Unix time of its end, success, and a copy of its metadata.
    fn _samples<'py>(
        &self,
        py: Python<'py>,
        operation: &Bound<'py, PyAny>,
    ) -> Fallible<Bound<'py, PyList>> {
        let inner = self.inner()?;
        let Some(operation) = inner.known(operation)? else {
            return Ok(PyList::empty(py));
        };
        let samples = operation.get().samples(py)?;
        let anchor = inner.shared.registry().wall().anchor();
        let exported = samples
            .into_iter()
            .map(|(sample, metadata)| -> Fallible<_> {
                let success = PyBool::new(py, sample.outcome == Outcome::Ok).to_owned();
                let fields = [
                    objects::float(py, sample.duration.seconds())?.into_any(),
                    objects::float(py, anchor.unix_seconds(sample.end))?.into_any(),
                    success.into_any(),
                    metadata.into_any(),
                ];
                Ok(objects::tuple(py, fields)?)
            });
        objects::list(py, exported)
    }
}
