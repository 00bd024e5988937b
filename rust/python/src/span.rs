//! An execution under way.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use perfuse_core::{Measured, Outcome};
use pyo3::{
    exceptions::{PyException, PyRuntimeError},
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use crate::{awaitable::Ready, operation::Operation};

/// One execution of an operation: what `track_operation` returns.
///
/// Use it once, with `with` or `async with`, or as a decorator, where each call of the decorated
/// function becomes a span of its own. A span belongs to one task or thread.
// Not tracked by the garbage collector, for speed. A finished span refers to no metadata, so only one
// that is never entered and whose metadata refers back to it could not be freed.
#[pyclass(frozen, freelist = 64, weakref, module = "perfuse")]
pub struct Span {
    operation: Py<Operation>,
    // Ticks at the start; from the end on, the duration in nanoseconds.
    time: AtomicU64,
    state: AtomicU8,
    has_details: AtomicU8,
    details: Mutex<Details>,
}

const NEW: u8 = 0;
const ENTERED: u8 = 1;
const ENDED: u8 = 2;

#[derive(Default)]
struct Details {
    // The caller's dict, never written to.
    given: Option<Py<PyDict>>,
    // What set() and fail() added.
    added: Option<Py<PyDict>>,
    failed: bool,
}

impl Span {
    #[inline]
    pub fn new(operation: Py<Operation>, metadata: Option<Py<PyDict>>) -> Self {
        Self {
            operation,
            time: AtomicU64::new(0),
            state: AtomicU8::new(NEW),
            has_details: AtomicU8::new(u8::from(metadata.is_some())),
            details: Mutex::new(Details {
                given: metadata,
                ..Details::default()
            }),
        }
    }

    fn details(&self) -> MutexGuard<'_, Details> {
        // Relaxed, like all of a span's atomics: a span belongs to one thread at a time, and whoever
        // hands it to another synchronises with it. They are atomics to be harmless when misused.
        self.has_details.store(1, Ordering::Relaxed);
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn enter(&self, py: Python<'_>) -> PyResult<()> {
        if self
            .state
            .compare_exchange(NEW, ENTERED, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return Err(self.misuse(py, "was already entered; call track_operation for each use"));
        }
        let now = self.operation.get().core().clock().ticks();
        self.time.store(now, Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn leave(
        &self,
        py: Python<'_>,
        exception_type: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let operation = self.operation.get();
        let clock = operation.core().clock();
        let end = clock.ticks();
        if self
            .state
            .compare_exchange(ENTERED, ENDED, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return Err(self.misuse(py, "is not under way"));
        }
        let ns = clock.nanos_between(self.time.load(Ordering::Relaxed), end);
        self.time.store(ns, Ordering::Relaxed);
        let (outcome, metadata) =
            if exception_type.is_none() && self.has_details.load(Ordering::Relaxed) == 0 {
                (Outcome::Ok, None)
            } else {
                self.conclude(py, exception_type, exception)?
            };
        operation.record(py, end, Measured::Nanos(ns), outcome, metadata)
    }

    /// The outcome, and the metadata as it is to be kept.
    #[cold]
    fn conclude<'py>(
        &self,
        py: Python<'py>,
        exception_type: &Bound<'py, PyAny>,
        exception: &Bound<'py, PyAny>,
    ) -> PyResult<(Outcome, Option<Bound<'py, PyDict>>)> {
        let Details {
            given,
            added,
            failed,
        } = std::mem::take(&mut *self.details());
        let outcome = match exception_type.cast::<PyType>() {
            Ok(class) if class.is_subclass_of::<PyException>()? => Outcome::Error,
            Ok(_) => Outcome::Cancelled,
            Err(_) if failed => Outcome::Error,
            Err(_) => Outcome::Ok,
        };
        let metadata = match &given {
            Some(given) => given.bind(py).copy()?,
            None => PyDict::new(py),
        };
        if let Some(added) = added {
            metadata.update(added.bind(py).as_mapping())?;
        }
        if outcome == Outcome::Error && !exception_type.is_none() {
            metadata.set_item(intern!(py, "error"), text_of(exception))?;
        }
        if outcome == Outcome::Cancelled {
            metadata.set_item(intern!(py, "outcome"), intern!(py, "cancelled"))?;
        }
        Ok((outcome, (!metadata.is_empty()).then_some(metadata)))
    }

    #[cold]
    fn misuse(&self, py: Python<'_>, what: &str) -> PyErr {
        let operation = self.operation.get().name(py);
        PyRuntimeError::new_err(format!("the span of operation {operation:?} {what}"))
    }

    fn add(&self, py: Python<'_>, failed: bool, items: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        if self.state.load(Ordering::Relaxed) == ENDED {
            return Err(self.misuse(py, "has ended; set() and fail() work inside the block"));
        }
        let added = {
            let mut details = self.details();
            details.failed |= failed;
            details.added.as_ref().map(|added| added.clone_ref(py))
        };
        let Some(items) = items else {
            return Ok(());
        };
        // Outside the lock: replacing values may run Python code.
        match added {
            Some(added) => added.bind(py).update(items.as_mapping()),
            None => {
                let copy = items.copy()?.unbind();
                self.details().added = Some(copy);
                Ok(())
            }
        }
    }
}

/// `str(value)`, or what it is if it has no text.
fn text_of<'py>(value: &Bound<'py, PyAny>) -> Bound<'py, PyString> {
    value.str().unwrap_or_else(|_| {
        PyString::new(value.py(), &format!("<{} without text>", value.get_type()))
    })
}

#[pymethods]
impl Span {
    fn __enter__(self_: PyRef<'_, Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        self_.enter(py)?;
        Ok(self_.into())
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = traceback;
        self.leave(py, exc_type, exc_value)
    }

    fn __aenter__(self_: PyRef<'_, Self>, py: Python<'_>) -> PyResult<Ready> {
        self_.enter(py)?;
        Ok(Ready::new(Some(self_.into())))
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Ready> {
        let _ = traceback;
        self.leave(py, exc_type, exc_value)?;
        Ok(Ready::new(None))
    }

    /// Decorates `function`, whose calls are then recorded; see `perfuse.track_performance`.
    fn __call__<'py>(
        self_: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self_.py();
        let fresh = self_.getattr(intern!(py, "_fresh"))?;
        py.import(intern!(py, "perfuse.tracking"))?
            .call_method1(intern!(py, "decorate"), (function, fresh))
    }

    /// A new span of the same operation with the same metadata.
    fn _fresh(&self, py: Python<'_>) -> Self {
        let given = match self.has_details.load(Ordering::Relaxed) {
            0 => None,
            _ => self
                .details()
                .given
                .as_ref()
                .map(|given| given.clone_ref(py)),
        };
        Self::new(self.operation.clone_ref(py), given)
    }

    /// Adds metadata to this execution's sample; works until the block ends.
    #[pyo3(signature = (**metadata))]
    fn set(&self, py: Python<'_>, metadata: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        self.add(py, false, metadata)
    }

    /// Marks this execution unsuccessful without an exception; works until the block ends.
    #[pyo3(signature = (error=None))]
    fn fail(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(error) = error else {
            return self.add(py, true, None);
        };
        let items = PyDict::new(py);
        items.set_item(intern!(py, "error"), text_of(error))?;
        self.add(py, true, Some(&items))
    }

    /// Seconds since the block was entered, or how long it took; 0.0 before.
    #[getter]
    fn elapsed(&self) -> f64 {
        let time = self.time.load(Ordering::Relaxed);
        let ns = match self.state.load(Ordering::Relaxed) {
            NEW => 0,
            ENTERED => {
                let clock = self.operation.get().core().clock();
                clock.nanos_between(time, clock.ticks())
            }
            _ => time,
        };
        Measured::Nanos(ns).seconds()
    }

    /// The operation's name.
    #[getter]
    fn operation<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.operation.get().name(py).clone()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = match self.state.load(Ordering::Relaxed) {
            NEW => "new",
            ENTERED => "under way",
            _ => "ended",
        };
        let name = self.operation.get().name(py);
        format!("<Span of {name:?}, {state}, {:.6} s>", self.elapsed())
    }
}
