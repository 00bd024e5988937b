//! Calls of decorated coroutine functions: an awaitable around a coroutine, timing it from its first
//! step to its end.
//!
//! Every step (`send`, `throw`, `close`, and `await`'s own) is passed on to the coroutine, so that
//! results, exceptions and cancellation reach it and its awaiter exactly as without the wrapper.

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use pyo3::{
    ffi::{self, PySendResult},
    intern,
    prelude::*,
    types::PyString,
};

use super::{
    free_list::FreeList,
    raw::{self, RawType, Table, borrowed, guarded},
    stop,
};
use crate::{operation::Operation, operation_ref::OperationRef};

static TYPE: RawType = RawType::new();
static FREE: FreeList = FreeList::new();

/// A coroutine under way. Like the coroutine inside, it belongs to one thread at a time; its atomics
/// keep misuse harmless, and all accesses are Relaxed.
#[repr(C)]
struct TrackedCoroutine {
    head: ffi::PyObject,
    // Owned: the coroutine, an Operation, a OperationRef.
    coroutine: *mut ffi::PyObject,
    operation: *mut ffi::PyObject,
    source: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
    start: AtomicU64,
    state: AtomicU8,
    // Whether its finaliser ran, which its header remembers for good: so it is not kept for another execution.
    finalised: AtomicBool,
}

const NEW: u8 = 0;
const STARTED: u8 = 1;
const ENDED: u8 = 2;

/// Wraps `coroutine`, to be recorded into `operation`.
///
/// # Safety
///
/// `source` is a OperationRef.
#[inline]
pub unsafe fn new(
    py: Python<'_>,
    coroutine: Bound<'_, PyAny>,
    operation: Bound<'_, Operation>,
    source: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    // SAFETY: the object is not seen by anybody, the garbage collector included, before all its fields
    // are written.
    unsafe {
        let mut object = FREE.pop();
        if object.is_null() {
            object = ffi::PyObject_GC_New(TYPE.get());
        }
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        let tracked = object.cast::<TrackedCoroutine>();
        ffi::Py_INCREF(source);
        (&raw mut (*tracked).coroutine).write(coroutine.into_ptr());
        (&raw mut (*tracked).operation).write(operation.into_ptr());
        (&raw mut (*tracked).source).write(source);
        (&raw mut (*tracked).weak_references).write(ptr::null_mut());
        (&raw mut (*tracked).start).write(AtomicU64::new(0));
        (&raw mut (*tracked).state).write(AtomicU8::new(NEW));
        (&raw mut (*tracked).finalised).write(AtomicBool::new(false));
        ffi::PyObject_GC_Track(object.cast());
        Ok(object)
    }
}

impl TrackedCoroutine {
    /// The wrapper behind `object`.
    ///
    /// # Safety
    ///
    /// `object` is one and outlives `'a`.
    #[inline]
    unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: instances of TYPE are made by `new` alone.
        unsafe { &*object.cast() }
    }

    #[inline]
    fn operation<'a>(&'a self, py: Python<'a>) -> &'a Operation {
        // SAFETY: owned, an Operation.
        unsafe {
            borrowed(py, &self.operation)
                .cast_unchecked::<Operation>()
                .get()
        }
    }

    fn source<'a>(&'a self, py: Python<'a>) -> &'a OperationRef {
        // SAFETY: owned, a OperationRef.
        unsafe {
            borrowed(py, &self.source)
                .cast_unchecked::<OperationRef>()
                .get()
        }
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
        self.source(py)
            .record_success(py, self.operation(py), start)
    }

    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.source(py)
            .record_cancelled(py, self.operation(py), start)
    }

    /// The coroutine was left by the current Python exception, which stays the current one.
    #[cold]
    fn end_raised(&self, py: Python<'_>) -> PyResult<()> {
        if !self.ends() {
            return Ok(());
        }
        let start = self.start.load(Ordering::Relaxed);
        self.source(py).record_raised(py, self.operation(py), start)
    }

    /// One step: the coroutine's status and its result, which is null on an error.
    #[inline]
    fn step(&self, py: Python<'_>, sent: *mut ffi::PyObject) -> (PySendResult, *mut ffi::PyObject) {
        self.begin(py);
        let mut result = ptr::null_mut();
        // SAFETY: the coroutine is owned; `sent` is the caller's argument.
        let status = unsafe { ffi::PyIter_Send(self.coroutine, sent, &raw mut result) };
        let ended = match status {
            PySendResult::PYGEN_NEXT => return (status, result),
            PySendResult::PYGEN_RETURN => self.end(py),
            PySendResult::PYGEN_ERROR => self.end_raised(py),
        };
        if let Err(error) = ended {
            error.restore(py);
            // SAFETY: the result, if there is one, is ours to give up.
            unsafe { ffi::Py_XDECREF(result) };
            return (PySendResult::PYGEN_ERROR, ptr::null_mut());
        }
        (status, result)
    }
}

// Every function below is called by CPython, attached, with a TrackedCoroutine as first argument and
// what its slot or flags promise as the others: that is what the SAFETY arguments refer to.

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe { ffi::Py_INCREF(object) };
    object
}

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    sent: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    // SAFETY: see above; the interpreter passes a place for the result.
    unsafe {
        let (status, value) = TrackedCoroutine::of(object).step(Python::assume_attached(), sent);
        *result = value;
        status
    }
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        let py = Python::assume_attached();
        let (status, result) = TrackedCoroutine::of(object).step(py, ffi::Py_None());
        if status == PySendResult::PYGEN_RETURN {
            // NULL without an exception says None, and costs none.
            if result != ffi::Py_None() {
                stop::iteration(result);
            }
            ffi::Py_DECREF(result);
            return ptr::null_mut();
        }
        result
    }
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    sent: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above; a result is ours to give up.
    unsafe {
        let py = Python::assume_attached();
        let (status, result) = TrackedCoroutine::of(object).step(py, sent);
        if status == PySendResult::PYGEN_RETURN {
            stop::iteration(result);
            ffi::Py_DECREF(result);
            return ptr::null_mut();
        }
        result
    }
}

unsafe extern "C" fn throw(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let tracked = TrackedCoroutine::of(object);
            tracked.begin(py);
            let throw = borrowed(py, &tracked.coroutine).getattr(intern!(py, "throw"))?;
            let count = usize::try_from(count)?;
            let result = ffi::PyObject_Vectorcall(throw.as_ptr(), args, count, ptr::null_mut());
            if result.is_null() {
                if ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) == 0 {
                    tracked.end_raised(py)?;
                } else {
                    let stopped = PyErr::fetch(py);
                    tracked.end(py)?;
                    stopped.restore(py);
                }
            }
            Ok(result)
        })
    }
}

unsafe extern "C" fn close(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let tracked = TrackedCoroutine::of(object);
            let closed = borrowed(py, &tracked.coroutine).call_method0(intern!(py, "close"));
            match closed {
                Ok(_) => tracked.cancel(py)?,
                Err(error) => {
                    error.restore(py);
                    tracked.end_raised(py)?;
                    return Ok(ptr::null_mut());
                }
            }
            Ok(raw::none())
        })
    }
}

/// `cr_code`, `cr_frame`, `__name__` and whatever else one asks of a coroutine.
unsafe extern "C" fn attribute(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        let own = ffi::PyObject_GenericGetAttr(object, name);
        if !own.is_null() || ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) == 0 {
            return own;
        }
        ffi::PyErr_Clear();
        ffi::PyObject_GetAttr(TrackedCoroutine::of(object).coroutine, name)
    }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let coroutine = TrackedCoroutine::of(object).coroutine;
            let text = format!("<tracked {}>", borrowed(py, &coroutine).repr()?);
            Ok(PyString::new(py, &text).into_any().into_ptr())
        })
    }
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: see above; each reference that is owned is shown once.
    unsafe {
        let tracked = TrackedCoroutine::of(object);
        let class = ffi::Py_TYPE(object).cast::<ffi::PyObject>();
        for owned in [tracked.coroutine, tracked.operation, tracked.source, class] {
            let stop = visit(owned, argument);
            if stop != 0 {
                return stop;
            }
        }
        0
    }
}

/// A coroutine that nobody will resume was cancelled.
unsafe extern "C" fn finalise(object: *mut ffi::PyObject) {
    // SAFETY: see above. An exception that is under way is none of this execution's business.
    unsafe {
        let py = Python::assume_attached();
        let tracked = TrackedCoroutine::of(object);
        tracked.finalised.store(true, Ordering::Relaxed);
        if tracked.state.load(Ordering::Relaxed) != STARTED {
            return;
        }
        let pending = PyErr::take(py);
        if let Err(error) = tracked.cancel(py) {
            error.write_unraisable(py, None);
        }
        if let Some(pending) = pending {
            pending.restore(py);
        }
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls this once, with the last reference gone; a finaliser may bring it back.
    unsafe {
        let tracked = object.cast::<TrackedCoroutine>();
        let abandoned = (*tracked).state.load(Ordering::Relaxed) == STARTED;
        if abandoned && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        let finalised = (*tracked).finalised.load(Ordering::Relaxed);
        ffi::PyObject_GC_UnTrack(object.cast());
        if !(*tracked).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        ffi::Py_DECREF((*tracked).coroutine);
        ffi::Py_DECREF((*tracked).operation);
        ffi::Py_DECREF((*tracked).source);
        if finalised {
            let class = ffi::Py_TYPE(object);
            ffi::PyObject_GC_Del(object.cast());
            ffi::Py_DECREF(class.cast());
        } else {
            FREE.push(object);
        }
    }
}

static METHODS: Table<[ffi::PyMethodDef; 4]> = Table([
    raw::plain(c"send", send, ffi::METH_O, c"send($self, value, /)\n--\n\n"),
    raw::fast(
        c"throw",
        throw,
        c"throw($self, type, value=None, traceback=None, /)\n--\n\n",
    ),
    raw::plain(
        c"close",
        close,
        ffi::METH_NOARGS,
        c"close($self, /)\n--\n\n",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    raw::offset(
        c"__weaklistoffset__",
        std::mem::offset_of!(TrackedCoroutine, weak_references),
    ),
    raw::LAST_MEMBER,
]);

/// Makes the type; called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as asked for.
    unsafe {
        TYPE.make(
            py,
            c"nanospan._core.TrackedCoroutine",
            size_of::<TrackedCoroutine>(),
            ffi::Py_TPFLAGS_HAVE_GC,
            &mut [
                raw::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                raw::slot(ffi::Py_tp_finalize, finalise as *const c_void),
                raw::slot(ffi::Py_tp_traverse, traverse as *const c_void),
                raw::slot(ffi::Py_tp_getattro, attribute as *const c_void),
                raw::slot(ffi::Py_tp_repr, repr as *const c_void),
                raw::slot(ffi::Py_tp_iternext, next as *const c_void),
                raw::slot(ffi::Py_am_await, itself as *const c_void),
                raw::slot(ffi::Py_am_send, am_send as *const c_void),
                raw::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_members, OFFSETS.0.as_ptr().cast()),
                raw::END,
            ],
        )?;
    }
    Ok(())
}
