//! The operations of a monitor, by name.
//!
//! Names at call sites are almost always literals, which the interpreter interns: the same object
//! each time. Comparing its address with that of the operation's name is cheaper than any dict.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{
    Borrowed, PyTraverseError, PyVisit, ffi, intern,
    prelude::*,
    types::{PyDict, PyString},
};

use crate::operation::Operation;

/// Enough that the few dozen names of a hot path rarely share a place; 2 KiB for each monitor.
const PLACES: usize = 256;

/// The operations of one monitor. They are added, and never removed.
pub struct Operations {
    by_name: Py<PyDict>,
    // Some of the operations, each at a place that its name's address leads to. They are borrowed: the
    // dict, which is not handed out, keeps them.
    recent: [AtomicPtr<ffi::PyObject>; PLACES],
}

impl Operations {
    pub fn new(py: Python<'_>) -> Self {
        Self {
            by_name: PyDict::new(py).unbind(),
            recent: [const { AtomicPtr::new(ptr::null_mut()) }; PLACES],
        }
    }

    #[inline]
    fn place(&self, name: *mut ffi::PyObject) -> &AtomicPtr<ffi::PyObject> {
        let address = name as usize;
        // Objects are aligned to 16 bytes; neighbours of one size class differ above that.
        &self.recent[((address >> 4) ^ (address >> 12)) % PLACES]
    }

    /// An operation whose name is this very object, if it was asked for lately.
    #[inline]
    pub fn recent<'a, 'py>(
        &'a self,
        name: &Bound<'py, PyAny>,
    ) -> Option<Borrowed<'a, 'py, Operation>> {
        let py = name.py();
        // Acquire: pairs with the Release in `remember`, so that what the operation points to is seen.
        let found = self.place(name.as_ptr()).load(Ordering::Acquire);
        if found.is_null() {
            return None;
        }
        // SAFETY: what is remembered is an Operation that the dict keeps alive as long as self lives.
        let found = unsafe { Borrowed::from_ptr(py, found).cast_unchecked::<Operation>() };
        // The operation owns its name, so that no other object can have that address meanwhile.
        (found.get().name(py).as_ptr() == name.as_ptr()).then_some(found)
    }

    /// The operation called `name`, if there is one.
    #[inline]
    pub fn get<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, Operation>>> {
        let found = self.by_name.bind(name.py()).get_item(name)?;
        let found = found.map(|operation| operation.cast_into()).transpose()?;
        if let Some(found) = &found {
            self.remember(found);
        }
        Ok(found)
    }

    /// Adds `operation`, unless another thread has already added one of that name; returns whichever is stored.
    pub fn add<'py>(&self, operation: Bound<'py, Operation>) -> PyResult<Bound<'py, Operation>> {
        let py = operation.py();
        let name = operation.get().name(py).clone();
        let by_name = self.by_name.bind(py);
        let agreed = by_name.call_method1(intern!(py, "setdefault"), (name, operation))?;
        let agreed = agreed.cast_into()?;
        self.remember(&agreed);
        Ok(agreed)
    }

    // Of operations in the dict alone.
    fn remember(&self, operation: &Bound<'_, Operation>) {
        let name = operation.get().name(operation.py()).as_ptr();
        // Release: see `recent`.
        self.place(name)
            .store(operation.as_ptr(), Ordering::Release);
    }

    /// All operations, in the order in which they were added.
    pub fn all<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, Operation>>> {
        let operations = self.by_name.bind(py).values();
        operations
            .iter()
            .map(|operation| Ok(operation.cast_into()?))
            .collect()
    }

    /// Shows what is owned to the garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.by_name)
    }
}
