//! What `__aenter__` and `__aexit__` return: awaitables that are done before they are awaited.

use pyo3::{exceptions::PyStopIteration, prelude::*};

use crate::span::Span;

/// An awaitable whose result is already there, so that awaiting it never yields to the event loop.
#[pyclass(frozen, freelist = 32, module = "perfuse._core")]
pub struct Ready {
    result: Option<Py<Span>>,
}

impl Ready {
    pub fn new(result: Option<Py<Span>>) -> Self {
        Self { result }
    }
}

#[pymethods]
impl Ready {
    fn __await__(self_: PyRef<'_, Self>) -> PyRef<'_, Self> {
        self_
    }

    fn __iter__(self_: PyRef<'_, Self>) -> PyRef<'_, Self> {
        self_
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.result {
            None => Ok(None),
            Some(span) => Err(PyStopIteration::new_err((span.clone_ref(py),))),
        }
    }
}
