//! `Atomic`, a reference to a Python object that is replaced without a lock.

use pyo3::{PyTraverseError, PyVisit, prelude::*};

use crate::hot::exclusive::Exclusive;

/// A reference to an immutable value, which any thread, signal handler or finaliser may replace at any time.
///
/// No lock is held while Python code runs, so a handler that interrupts an update can update the value, too, and a
/// child that is forked meanwhile can go on.
///
/// Args:
///     value: The initial value. It must not be modified, only replaced.
#[pyclass(frozen, module = "nanospan._core")]
pub struct Atomic(Exclusive<Py<PyAny>>);

impl Atomic {
    fn swap(&self, py: Python<'_>, expected: &Py<PyAny>, value: Py<PyAny>) -> bool {
        let result = self.0.with(py, |current| match current.is(expected) {
            true => Ok(std::mem::replace(current, value)),
            false => Err(value),
        });
        // What was displaced or refused is dropped here, because dropping it may run Python code.
        result.is_ok()
    }
}

#[pymethods]
impl Atomic {
    #[new]
    fn new(value: Py<PyAny>) -> Self {
        Self(Exclusive::new(value))
    }

    /// Return the value.
    fn get(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.with(py, |value| value.clone_ref(py))
    }

    /// Replace the value if it is ``expected``, by identity; return False if it is not.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 passes arguments of this type by value"
    )]
    fn replace(&self, py: Python<'_>, expected: Py<PyAny>, value: Py<PyAny>) -> bool {
        self.swap(py, &expected, value)
    }

    /// Replace the value by ``function(value)``, and return the new value.
    ///
    /// If the value is replaced while ``function`` runs, ``function`` is called again with the newer value. It must
    /// therefore have no side effects.
    fn update<'py>(&self, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = function.py();
        loop {
            let before = self.get(py);
            let after = function.call1((&before,))?;
            if self.swap(py, &before, after.clone().unbind()) {
                return Ok(after);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.0.collecting(|value| visit.call(&*value));
        shown.unwrap_or(Ok(()))
    }

    fn __clear__(&self, py: Python<'_>) {
        let none = py.None();
        let value = self.0.with(py, |value| std::mem::replace(value, none));
        drop(value.into_bound(py));
    }
}
