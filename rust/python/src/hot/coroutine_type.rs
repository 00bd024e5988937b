//! The Python type of tracked coroutines: the C functions that CPython calls, and the tables that list them.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use pyo3::{ffi, prelude::*};

use super::{
    coroutine::{self, TYPE, TrackedCoroutine},
    objects,
    raw::{
        PassedOn, Progress, Receiver, attribute, borrowed, guarded, guarded_quietly, guarded_send,
        guarded_visit, itself, none, or_null,
    },
    stop,
    tables::{self, Table},
};

// The SAFETY comments refer to this: CPython calls every function below with the thread attached, with a
// TrackedCoroutine as the first argument, and with the other arguments that the function's slot or flags require.

unsafe extern "C" fn am_send(
    object: *mut ffi::PyObject,
    sent: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: see above; CPython passes a valid pointer for the result.
    unsafe {
        let tracked = Receiver::<TrackedCoroutine>::of(object);
        let sent = borrowed(tracked.py(), &sent);
        guarded_send(tracked.py(), result, || tracked.send(sent))
    }
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedCoroutine>::of(object) };
    let py = tracked.py();
    guarded(py, || match tracked.send(py.None().bind(py))? {
        Progress::Yielded(value) => Ok(value.into_ptr()),
        Progress::Returned(value) => {
            // NULL without an exception means that None is returned, and saves creating an exception.
            if !value.is_none() {
                stop::iteration(&value);
            }
            Ok(ptr::null_mut())
        }
        Progress::Raised => Ok(ptr::null_mut()),
    })
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    sent: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (tracked, sent) = unsafe { with_argument(object, &sent) };
    guarded(tracked.py(), || match tracked.send(sent)? {
        Progress::Yielded(value) => Ok(value.into_ptr()),
        Progress::Returned(value) => {
            stop::iteration(&value);
            Ok(ptr::null_mut())
        }
        Progress::Raised => Ok(ptr::null_mut()),
    })
}

/// Converts the raw arguments of a function that takes the wrapper and one more argument.
///
/// # Safety
///
/// Both pointers must be those that CPython passed to such a function, and must outlive `'a`.
#[inline]
unsafe fn with_argument<'a>(
    object: *mut ffi::PyObject,
    argument: &'a *mut ffi::PyObject,
) -> (Receiver<'a, TrackedCoroutine>, &'a Bound<'a, PyAny>) {
    // SAFETY: promised by the caller.
    unsafe {
        let tracked = Receiver::<TrackedCoroutine>::of(object);
        let argument = borrowed(tracked.py(), argument);
        (tracked, argument)
    }
}

unsafe extern "C" fn throw(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above; the argument array has the layout of a vectorcall's.
    let (tracked, arguments) = unsafe {
        let tracked = Receiver::<TrackedCoroutine>::of(object);
        (
            tracked,
            PassedOn::of(args, count.cast_unsigned(), ptr::null_mut()),
        )
    };
    let py = tracked.py();
    guarded(py, || tracked.throw(py, &arguments).map(or_null))
}

unsafe extern "C" fn close(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedCoroutine>::of(object) };
    let py = tracked.py();
    guarded(py, || tracked.close(py).map(|()| none(py)))
}

/// Returns an attribute of the wrapper, or of the wrapped coroutine (`cr_code`, `cr_frame`, `__name__`...).
unsafe extern "C" fn get_attribute(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (tracked, name) = unsafe { with_argument(object, &name) };
    guarded(tracked.py(), || {
        let coroutine = tracked.coroutine(tracked.py());
        Ok(or_null(attribute(&tracked.object(), name, coroutine)))
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedCoroutine>::of(object) };
    let py = tracked.py();
    guarded(py, || {
        let text = format!("<tracked {}>", tracked.coroutine(py).repr()?);
        Ok(objects::text(py, &text)?.into_ptr())
    })
}

unsafe extern "C" fn traverse(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: see above; each owned reference is visited once.
    guarded_visit(|| unsafe {
        let class = ffi::Py_TYPE(object).cast::<ffi::PyObject>();
        let owned = (*object.cast::<TrackedCoroutine>()).owned();
        for owned in owned.into_iter().chain([class]) {
            let stop = visit(owned, argument);
            if stop != 0 {
                return stop;
            }
        }
        0
    })
}

unsafe extern "C" fn finalise(object: *mut ffi::PyObject) {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedCoroutine>::of(object) };
    guarded_quietly(tracked.py(), || tracked.finalise(tracked.py()));
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedCoroutine>::of(object) };
    // SAFETY: the last reference is gone; only a finaliser may resurrect the object.
    guarded_quietly(tracked.py(), || unsafe {
        if tracked.is_under_way() && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return Ok(());
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        if !tracked.weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        coroutine::free(tracked.py(), object);
        Ok(())
    });
}

static METHODS: Table<[ffi::PyMethodDef; 4]> = Table([
    tables::plain(c"send", send, ffi::METH_O, c"send($self, value, /)\n--\n\n"),
    tables::fast(
        c"throw",
        throw,
        c"throw($self, type, value=None, traceback=None, /)\n--\n\n",
    ),
    tables::plain(
        c"close",
        close,
        ffi::METH_NOARGS,
        c"close($self, /)\n--\n\n",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    tables::offset(
        c"__weaklistoffset__",
        std::mem::offset_of!(TrackedCoroutine, weak_references),
    ),
    tables::LAST_MEMBER,
]);

/// Creates the type. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as `make` requires.
    unsafe {
        TYPE.make(
            py,
            c"nanospan._core.TrackedCoroutine",
            size_of::<TrackedCoroutine>(),
            ffi::Py_TPFLAGS_HAVE_GC,
            &mut [
                tables::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                tables::slot(ffi::Py_tp_finalize, finalise as *const c_void),
                tables::slot(ffi::Py_tp_traverse, traverse as *const c_void),
                tables::slot(ffi::Py_tp_getattro, get_attribute as *const c_void),
                tables::slot(ffi::Py_tp_repr, repr as *const c_void),
                tables::slot(ffi::Py_tp_iternext, next as *const c_void),
                tables::slot(ffi::Py_am_await, itself as *const c_void),
                tables::slot(ffi::Py_am_send, am_send as *const c_void),
                tables::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_members, OFFSETS.0.as_ptr().cast()),
                tables::END,
            ],
        )?;
    }
    Ok(())
}
