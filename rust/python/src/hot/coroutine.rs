//! Calls of decorated coroutine functions: an awaitable around a coroutine, timing it from its first
//! step to its end.
//!
//! Every step (`send`, `throw`, `close`, and `await`'s own) is passed on to the coroutine, so that
//! results, exceptions and cancellation reach it and its awaiter exactly as without the wrapper.

use std::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use pyo3::{
    exceptions::PyStopIteration,
    ffi::{self, PySendResult},
    intern,
    prelude::*,
};

use super::{
    free_list::FreeList,
    raw::{PassedOn, Progress},
    tables::RawType,
};
use crate::{operation::Operation, operation_ref::OperationRef};

pub static TYPE: RawType = RawType::new();
static FREE: FreeList = FreeList::new();

/// A coroutine under way. Like the coroutine inside, it belongs to one thread at a time; its atomics
/// keep misuse harmless, and all accesses are Relaxed.
#[repr(C)]
pub struct TrackedCoroutine {
    head: ffi::PyObject,
    coroutine: Py<PyAny>,
    operation: Py<Operation>,
    operation_ref: Py<OperationRef>,
    pub weak_references: *mut ffi::PyObject,
    start: AtomicU64,
    state: AtomicU8,
    // Whether its finaliser ran, which its header remembers for good: so it is not kept for another execution.
    finalised: AtomicBool,
}

const NEW: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;

/// Wraps `coroutine`, to be recorded into `operation`.
#[inline]
pub fn new<'py>(
    coroutine: Bound<'py, PyAny>,
    operation: Bound<'py, Operation>,
    operation_ref: Py<OperationRef>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = coroutine.py();
    // SAFETY: nothing sees the object, the garbage collector included, before all its fields are written.
    unsafe {
        let mut object = FREE.pop();
        if object.is_null() {
            object = ffi::PyObject_GC_New(TYPE.get());
        }
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let tracked = object.cast::<TrackedCoroutine>();
        (&raw mut (*tracked).coroutine).write(coroutine.unbind());
        (&raw mut (*tracked).operation).write(operation.unbind());
        (&raw mut (*tracked).operation_ref).write(operation_ref);
        (&raw mut (*tracked).weak_references).write(ptr::null_mut());
        (&raw mut (*tracked).start).write(AtomicU64::new(0));
        (&raw mut (*tracked).state).write(AtomicU8::new(NEW));
        (&raw mut (*tracked).finalised).write(AtomicBool::new(false));
        ffi::PyObject_GC_Track(object.cast());
        Ok(made)
    }
}

/// Frees a wrapper that was untracked, once its last reference is gone.
///
/// # Safety
///
/// The thread is attached; `object` is a TrackedCoroutine without references.
pub unsafe fn free(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: the caller's. What is owned is given up once, and nothing reads the fields afterwards.
    unsafe {
        let tracked = object.cast::<TrackedCoroutine>();
        let finalised = (*tracked).finalised.load(Ordering::Relaxed);
        drop((&raw const (*tracked).coroutine).read().into_bound(py));
        drop((&raw const (*tracked).operation).read().into_bound(py));
        drop((&raw const (*tracked).operation_ref).read().into_bound(py));
        if finalised {
            let class = ffi::Py_TYPE(object);
            ffi::PyObject_GC_Del(object.cast());
            ffi::Py_DECREF(class.cast());
        } else {
            FREE.push(object);
        }
    }
}

impl TrackedCoroutine {
    #[inline]
    pub fn coroutine<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.coroutine.bind(py)
    }

    #[inline]
    fn operation<'a>(&'a self, py: Python<'a>) -> &'a Operation {
        self.operation.bind(py).get()
    }

    #[inline]
    fn operation_ref<'a>(&'a self, py: Python<'a>) -> &'a OperationRef {
        self.operation_ref.bind(py).get()
    }

    /// What is owned, for the garbage collector.
    pub fn owned(&self) -> [*mut ffi::PyObject; 3] {
        let (operation, operation_ref) = (self.operation.as_ptr(), self.operation_ref.as_ptr());
        [self.coroutine.as_ptr(), operation, operation_ref]
    }

    /// Whether the coroutine was started and has not ended.
    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.state.load(Ordering::Relaxed) == STARTED
    }

    /// Called before each step.
    #[inline]
    fn begin(&self, py: Python<'_>) {
        if self.state.load(Ordering::Relaxed) == NEW {
            self.state.store(STARTED, Ordering::Relaxed);
            let operation = self.operation(py);
            self.start.store(operation.begin(), Ordering::Relaxed);
        }
    }

    /// Whether the execution ends with this step, rather than having ended before.
    #[inline]
    fn ends(&self) -> bool {
        let under_way = self.state.load(Ordering::Relaxed) == STARTED;
        self.state.store(ENDED, Ordering::Relaxed);
        under_way
    }

    #[inline(always)]
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.operation_ref(py)
            .record_success(py, self.operation(py), start)
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.operation_ref(py)
            .record_cancelled(py, self.operation(py), start)
    }

    /// The coroutine was left by the current Python exception, which stays the current one.
    #[cold]
    fn end_raised(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.operation_ref(py)
            .record_raised(py, self.operation(py), start)
    }

    /// Sends `sent` to the coroutine.
    #[inline]
    pub fn send<'py>(&self, sent: &Bound<'py, PyAny>) -> PyResult<Progress<'py>> {
        let py = sent.py();
        self.begin(py);
        let step = iter_send(self.coroutine(py), sent);
        match step {
            Progress::Yielded(_) => {}
            Progress::Returned(_) => self.end(py)?,
            Progress::Raised => self.end_raised(py)?,
        }
        Ok(step)
    }

    /// Throws an exception into the coroutine; `None` says that the Python error is set.
    pub fn throw<'py>(
        &self,
        py: Python<'py>,
        arguments: &PassedOn<'_>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.begin(py);
        let throw = self.coroutine(py).getattr(intern!(py, "throw"))?;
        let result = arguments.call(&throw);
        if result.is_none() {
            let raised = PyErr::fetch(py);
            if raised.is_instance_of::<PyStopIteration>(py) {
                self.end(py)?;
                raised.restore(py);
            } else {
                raised.restore(py);
                self.end_raised(py)?;
            }
        }
        Ok(result)
    }

    /// Closes the coroutine, which cancels it.
    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Err(error) = self.coroutine(py).call_method0(intern!(py, "close")) {
            error.restore(py);
            self.end_raised(py)?;
            return Err(PyErr::fetch(py));
        }
        self.cancel(py)
    }

    /// A coroutine that will not be resumed was cancelled.
    pub fn finalise(&self, py: Python<'_>) -> PyResult<()> {
        self.finalised.store(true, Ordering::Relaxed);
        if !self.is_under_way() {
            return Ok(());
        }
        // An exception that is being raised meanwhile has nothing to do with this execution.
        let pending = PyErr::take(py);
        let cancelled = self.cancel(py);
        if let Some(pending) = pending {
            pending.restore(py);
        }
        cancelled
    }
}

#[inline]
fn iter_send<'py>(coroutine: &Bound<'py, PyAny>, sent: &Bound<'py, PyAny>) -> Progress<'py> {
    let mut result = ptr::null_mut();
    // SAFETY: both are valid; the result is a new reference, or NULL with the error set.
    unsafe {
        let status = ffi::PyIter_Send(coroutine.as_ptr(), sent.as_ptr(), &raw mut result);
        match status {
            PySendResult::PYGEN_NEXT => Progress::Yielded(Bound::from_owned_ptr(sent.py(), result)),
            PySendResult::PYGEN_RETURN => {
                Progress::Returned(Bound::from_owned_ptr(sent.py(), result))
            }
            PySendResult::PYGEN_ERROR => Progress::Raised,
        }
    }
}
