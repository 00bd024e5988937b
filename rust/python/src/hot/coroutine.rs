//! The awaitable that a decorated coroutine function returns. It wraps a coroutine and times it from its first step to
//! its end.
//!
//! Every step (`send`, `throw`, `close` and the steps of `await`) is forwarded to the coroutine. Results, exceptions
//! and cancellation therefore reach the coroutine and its awaiter exactly as they would without the wrapper.

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
    stack,
    tables::RawType,
};
use crate::{operation::Operation, operation_ref::OperationRef};

pub static TYPE: RawType = RawType::new();
static FREE: FreeList = FreeList::new();

/// Wrapper that times a coroutine. Like the wrapped coroutine, it must be used by one thread at a time. Its fields are
/// atomic only to keep concurrent misuse memory-safe, so all accesses are Relaxed.
#[repr(C)]
pub struct TrackedCoroutine {
    head: ffi::PyObject,
    coroutine: Py<PyAny>,
    operation: Py<Operation>,
    operation_ref: Py<OperationRef>,
    pub weak_references: *mut ffi::PyObject,
    start: AtomicU64,
    state: AtomicU8,
    // Whether the finaliser has run. CPython marks the object as finalised permanently, so it must not be reused.
    finalised: AtomicBool,
}

const NEW: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;

/// Wraps `coroutine` so that its execution is recorded into `operation`, with the metadata of `operation_ref`.
#[inline]
pub fn new<'py>(
    coroutine: Bound<'py, PyAny>,
    operation: Bound<'py, Operation>,
    operation_ref: Py<OperationRef>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = coroutine.py();
    // SAFETY: nothing, not even the garbage collector, can see the object before all its fields are written.
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

/// Frees a wrapper whose last reference is gone, or keeps its memory for reuse.
///
/// # Safety
///
/// The thread must be attached. `object` must be a TrackedCoroutine that has no references and is not tracked by the
/// garbage collector.
pub unsafe fn free(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: promised by the caller. Each owned reference is released once, and nothing reads the fields afterwards.
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

    /// Returns the objects that the wrapper owns, for the garbage collector.
    pub fn owned(&self) -> [*mut ffi::PyObject; 3] {
        let (operation, operation_ref) = (self.operation.as_ptr(), self.operation_ref.as_ptr());
        [self.coroutine.as_ptr(), operation, operation_ref]
    }

    /// Returns whether the coroutine has started and not yet ended.
    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.state.load(Ordering::Relaxed) == STARTED
    }

    /// Starts timing if this is the first step; must be called before each step.
    #[inline]
    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.load(Ordering::Relaxed) != NEW {
            return Ok(());
        }
        // Later steps find the stack as deep as the first one did.
        if let Err(error) = stack::check(py) {
            self.close(py)?;
            return Err(error);
        }
        self.state.store(STARTED, Ordering::Relaxed);
        let operation = self.operation(py);
        self.start.store(operation.begin(), Ordering::Relaxed);
        Ok(())
    }

    /// Marks the execution as ended; returns false if it was not running.
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

    /// Records that the current Python exception ended the coroutine. The exception stays set.
    #[cold]
    fn end_raised(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.operation_ref(py)
            .record_raised(py, self.operation(py), start)
    }

    /// Sends `sent` to the coroutine, and records the execution if this step ends it.
    #[inline]
    pub fn send<'py>(&self, sent: &Bound<'py, PyAny>) -> PyResult<Progress<'py>> {
        let py = sent.py();
        self.begin(py)?;
        let step = iter_send(self.coroutine(py), sent);
        match step {
            Progress::Yielded(_) => {}
            Progress::Returned(_) => self.end(py)?,
            Progress::Raised => self.end_raised(py)?,
        }
        Ok(step)
    }

    /// Throws an exception into the coroutine, and records the execution if that ends it. Returns the value yielded, or
    /// `None` if the Python error is set.
    pub fn throw<'py>(
        &self,
        py: Python<'py>,
        arguments: &PassedOn<'_>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.begin(py)?;
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

    /// Closes the coroutine. If it has started and not ended, it is recorded as cancelled, or with the outcome of the
    /// exception that closing it raised.
    pub fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Err(error) = self.coroutine(py).call_method0(intern!(py, "close")) {
            error.restore(py);
            self.end_raised(py)?;
            return Err(PyErr::fetch(py));
        }
        self.cancel(py)
    }

    /// Records the coroutine as cancelled if it has started but not ended, because it will never be resumed.
    pub fn finalise(&self, py: Python<'_>) -> PyResult<()> {
        self.finalised.store(true, Ordering::Relaxed);
        if !self.is_under_way() {
            return Ok(());
        }
        // If an exception is being raised at this moment, it has nothing to do with this execution.
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
    // SAFETY: both objects are valid; the result is a new reference, or NULL with the error set.
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
