//! Calls decorated functions without running their generated code.
//!
//! The interpreter calls a function through its `vectorcall` pointer, unless it takes a short cut: CPython 3.11 does for
//! every call from Python code, and later versions only for functions whose pointer is the original one. A decorated
//! function therefore gets a pointer to [`call`], which runs the tracker directly. Wherever the pointer is not used, the
//! function's code does the same, at a higher cost.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{exceptions::PyTypeError, ffi, prelude::*};

use super::{
    raw::{PassedOn, guarded, or_null},
    tracker::{CALL, Tracker},
};

/// CPython's own vectorcall of functions, which runs their code.
static OWN: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Let calls of ``wrapper`` skip its code where the interpreter calls functions through their vectorcall.
///
/// Args:
///     tracker: The native part of the decorated function.
///     wrapper: A function whose first closure cell holds the tracker's bound method ``call``.
///
/// Raises:
///     TypeError: If ``wrapper`` is not such a function.
#[pyfunction]
pub fn attach(tracker: &Bound<'_, Tracker>, wrapper: &Bound<'_, PyAny>) -> PyResult<()> {
    let (py, object) = (tracker.py(), wrapper.as_ptr());
    // SAFETY: an object that passes PyFunction_Check has the layout of a function, and its code is not NULL.
    unsafe {
        let found = match ffi::PyFunction_Check(object) {
            0 => None,
            _ => tracker_of(py, object),
        };
        if !found.is_some_and(|found| found.is(tracker)) {
            return Err(PyTypeError::new_err(
                "`wrapper` must be a function whose first closure cell holds the tracker's bound method `call`",
            ));
        }
        let function = object.cast::<ffi::PyFunctionObject>();
        let parts = parts_of(object)
            .map(|part| Bound::from_borrowed_ptr_or_opt(py, part).map(Bound::unbind));
        if tracker.get().attached.set(parts).is_ok()
            && let Some(own) = (*function).vectorcall
            && own as *const () != call as *const ()
        {
            // Relaxed: every call stores the same value, and the thread that calls `wrapper` got it from this one.
            OWN.store(own as *mut (), Ordering::Relaxed);
            PyFunction_SetVectorcall(object, call);
        }
    }
    Ok(())
}

#[cfg(Py_3_12)]
unsafe extern "C" {
    // Part of CPython's public C API; PyO3 does not declare it.
    fn PyFunction_SetVectorcall(function: *mut ffi::PyObject, vectorcall: ffi::vectorcallfunc);
}

/// Does what the function of this name in CPython's C API does from 3.12 on.
#[cfg(not(Py_3_12))]
#[allow(non_snake_case, reason = "CPython's name")]
unsafe fn PyFunction_SetVectorcall(function: *mut ffi::PyObject, vectorcall: ffi::vectorcallfunc) {
    // SAFETY: the caller promises a function.
    unsafe { (*function.cast::<ffi::PyFunctionObject>()).vectorcall = Some(vectorcall) };
}

/// The vectorcall of decorated functions.
unsafe extern "C" fn call(
    wrapper: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this function with the thread attached, a function and the arguments of a vectorcall.
    let (py, arguments, tracker) = unsafe {
        let py = Python::assume_attached();
        let tracker = tracker_of(py, wrapper).filter(|tracker| is_unchanged(wrapper, tracker));
        (py, PassedOn::of(args, count, keywords), tracker)
    };
    let Some(tracker) = tracker else {
        // SAFETY: `attach` stored a function of this type before it set the wrapper's pointer.
        return unsafe {
            let own: ffi::vectorcallfunc = std::mem::transmute(OWN.load(Ordering::Relaxed));
            own(wrapper, args, count, keywords)
        };
    };
    guarded(py, || {
        // The function may change the cell that holds the tracker.
        let keep = || Bound::clone(&tracker);
        tracker.get().run(py, &arguments, keep).map(or_null)
    })
}

/// Returns the tracker in a function's closure, or `None` if the closure has been cleared or its cell changed.
///
/// # Safety
///
/// `wrapper` must be a function.
#[inline(always)]
unsafe fn tracker_of<'py>(
    py: Python<'py>,
    wrapper: *mut ffi::PyObject,
) -> Option<Found<'py, Tracker>> {
    // SAFETY: the caller promises a function, whose closure is NULL or a tuple of cells. A builtin with the definition of
    // Tracker.call is bound to a Tracker, because the method's descriptor checks that.
    unsafe {
        let closure = (*wrapper.cast::<ffi::PyFunctionObject>()).func_closure;
        if closure.is_null() || ffi::PyTuple_GET_SIZE(closure) == 0 {
            return None;
        }
        let held = content(py, ffi::PyTuple_GET_ITEM(closure, 0))?;
        if ffi::PyCFunction_CheckExact(held.as_ptr()) == 0 {
            return None;
        }
        let method = held.as_ptr().cast::<ffi::PyCFunctionObject>();
        if (*method).m_ml.cast_const() != &raw const CALL.0 {
            return None;
        }
        Some(found(py, (*method).m_self))
    }
}

/// An object that was found in a cell. With a GIL the reference is borrowed: it is valid until other Python code runs.
#[cfg(not(Py_GIL_DISABLED))]
type Found<'py, T> = pyo3::Borrowed<'py, 'py, T>;
#[cfg(Py_GIL_DISABLED)]
type Found<'py, T> = Bound<'py, T>;

/// Returns what a cell holds, or `None` if it is empty.
///
/// # Safety
///
/// `cell` must be a cell.
#[inline(always)]
unsafe fn content(py: Python<'_>, cell: *mut ffi::PyObject) -> Option<Found<'_, PyAny>> {
    // SAFETY: promised by the caller. Without a GIL, another thread may change the cell at any time.
    unsafe {
        #[cfg(not(Py_GIL_DISABLED))]
        return Found::from_ptr_or_opt(py, (*cell.cast::<ffi::PyCellObject>()).ob_ref);
        #[cfg(Py_GIL_DISABLED)]
        return Found::from_owned_ptr_or_opt(py, ffi::PyCell_Get(cell));
    }
}

/// Converts a raw pointer to a tracker.
///
/// # Safety
///
/// `tracker` must be a Tracker.
#[inline(always)]
unsafe fn found(py: Python<'_>, tracker: *mut ffi::PyObject) -> Found<'_, Tracker> {
    // SAFETY: promised by the caller.
    unsafe {
        #[cfg(not(Py_GIL_DISABLED))]
        return Found::from_ptr(py, tracker).cast_unchecked();
        #[cfg(Py_GIL_DISABLED)]
        return Found::from_borrowed_ptr(py, tracker).cast_into_unchecked();
    }
}

/// Returns whether the wrapper still has the code and the defaults that it was generated with. If not, a program has
/// assigned to `__code__`, `__defaults__` or `__kwdefaults__`, which only the code can take into account.
///
/// # Safety
///
/// `wrapper` must be a function.
#[inline(always)]
unsafe fn is_unchanged(wrapper: *mut ffi::PyObject, tracker: &Bound<'_, Tracker>) -> bool {
    // SAFETY: promised by the caller.
    let parts = unsafe { parts_of(wrapper) };
    let attached = tracker.get().attached.get();
    attached.is_some_and(|attached| {
        let same = |(own, then): (_, &Option<Py<PyAny>>)| {
            own == then.as_ref().map_or(ptr::null_mut(), Py::as_ptr)
        };
        parts.into_iter().zip(attached).all(same)
    })
}

/// Returns the code, the defaults and the keyword defaults of a function, which may be NULL.
///
/// # Safety
///
/// `function` must be a function.
#[inline(always)]
unsafe fn parts_of(function: *mut ffi::PyObject) -> [*mut ffi::PyObject; 3] {
    // SAFETY: a function has this layout.
    let function = unsafe { &*function.cast::<ffi::PyFunctionObject>() };
    [
        function.func_code,
        function.func_defaults,
        function.func_kwdefaults,
    ]
}
