//! The operations of a monitor, keyed by name.
//!
//! Names at call sites are almost always literals, which the interpreter interns, so all calls with the same name pass
//! the same string object. Comparing its address with the address of the operation's name is cheaper than any dict
//! look-up.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{
    Borrowed, PyTraverseError, PyVisit, ffi, intern,
    prelude::*,
    types::{PyDict, PyString},
};

use nanospan_fallible::TryCollect;

use super::objects;
use crate::{error::Fallible, operation::Operation};

/// The number of entries in the cache of recent operations: large enough that the few dozen names on a hot path rarely
/// compete for the same entry. The cache takes 2 KiB per monitor.
const PLACES: usize = 256;

/// The operations of one monitor. Operations can be added but not removed.
pub struct Operations {
    by_name: Py<PyDict>,
    // A cache of operations, each at the place that is computed from its name's address. The references are borrowed:
    // the dict, which no other code can access, keeps the operations alive.
    recent: [AtomicPtr<ffi::PyObject>; PLACES],
}

impl Operations {
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            by_name: objects::dict(py)?.unbind(),
            recent: [const { AtomicPtr::new(ptr::null_mut()) }; PLACES],
        })
    }

    #[inline]
    fn place(&self, name: *mut ffi::PyObject) -> &AtomicPtr<ffi::PyObject> {
        let address = name as usize;
        // Objects are aligned to 16 bytes, so the lowest four bits of the address are always 0. The higher bits are
        // mixed in so that neighbouring objects of the same size get different places.
        &self.recent[((address >> 4) ^ (address >> 12)) % PLACES]
    }

    /// Returns the operation whose name is the same object as `name`, if that operation is in the cache.
    #[inline]
    pub fn recent<'a, 'py>(
        &'a self,
        name: &Bound<'py, PyAny>,
    ) -> Option<Borrowed<'a, 'py, Operation>> {
        let py = name.py();
        // Acquire: pairs with the Release in `remember`, so that the operation's contents are visible.
        let found = self.place(name.as_ptr()).load(Ordering::Acquire);
        if found.is_null() {
            return None;
        }
        // SAFETY: a cached pointer is to an Operation that the dict keeps alive for as long as self lives.
        let found = unsafe { Borrowed::from_ptr(py, found).cast_unchecked::<Operation>() };
        // The operation owns its name, so no other object can have the same address.
        (found.get().name(py).as_ptr() == name.as_ptr()).then_some(found)
    }

    /// Returns the operation called `name`, if there is one.
    #[inline]
    pub fn get<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, Operation>>> {
        let found = self.by_name.bind(name.py()).get_item(name)?;
        let found = found.map(|operation| operation.cast_into()).transpose()?;
        if let Some(found) = &found {
            self.remember(found);
        }
        Ok(found)
    }

    /// Adds `operation`, unless another thread has already added an operation with the same name. Returns the operation
    /// that is stored.
    pub fn add<'py>(&self, operation: Bound<'py, Operation>) -> PyResult<Bound<'py, Operation>> {
        let py = operation.py();
        let name = operation.get().name(py).clone();
        let by_name = self.by_name.bind(py);
        let agreed = by_name.call_method1(intern!(py, "setdefault"), (name, operation))?;
        let agreed = agreed.cast_into()?;
        self.remember(&agreed);
        Ok(agreed)
    }

    // Puts an operation into the cache; it must be in the dict.
    fn remember(&self, operation: &Bound<'_, Operation>) {
        let name = operation.get().name(operation.py()).as_ptr();
        // Release: see `recent`.
        self.place(name)
            .store(operation.as_ptr(), Ordering::Release);
    }

    /// Returns all operations, in the order in which they were added.
    pub fn all<'py>(&self, py: Python<'py>) -> Fallible<Vec<Bound<'py, Operation>>> {
        let operations = objects::values(self.by_name.bind(py))?;
        operations
            .iter()
            .map(|operation| Ok(operation.cast_into().map_err(PyErr::from)?))
            .try_vec_of()
    }

    /// Visits the owned objects for the garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.by_name)
    }
}
