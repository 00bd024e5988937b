//! Decorated functions: a native callable around a function, timing each call.
//!
//! A call costs two readings of the time-stamp counter, the record, and one more vectorcall; arguments
//! are passed on as they come, without a tuple being made. Attributes that are not the wrapper's own
//! are those of the function, so that `inspect` sees what it sees of the original.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use pyo3::{ffi, intern, prelude::*, types::PyString};

use super::{
    coroutine,
    raw::{self, RawType, Table, borrowed, guarded},
};
use crate::operation_ref::OperationRef;

static TYPE: RawType = RawType::new();

/// A decorated function or coroutine function.
#[repr(C)]
struct TrackedFunction {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    // Owned: what is decorated, and a OperationRef.
    function: *mut ffi::PyObject,
    source: *mut ffi::PyObject,
    dict: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
}

impl TrackedFunction {
    #[inline]
    fn source<'a>(&'a self, py: Python<'a>) -> &'a OperationRef {
        // SAFETY: owned, a OperationRef.
        unsafe {
            borrowed(py, &self.source)
                .cast_unchecked::<OperationRef>()
                .get()
        }
    }
}

/// A callable that calls `function` and records each call; see `nanospan.tracking`.
#[pyfunction]
pub fn tracked_function<'py>(
    function: &Bound<'py, PyAny>,
    operation_ref: &Bound<'py, OperationRef>,
    is_coroutine_function: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    // SAFETY: the object is not seen by anybody, the garbage collector included, before all its fields
    // are written.
    unsafe {
        let object = ffi::PyObject_GC_New::<ffi::PyObject>(TYPE.get());
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let tracked = object.cast::<TrackedFunction>();
        (&raw mut (*tracked).vectorcall).write(match is_coroutine_function {
            true => call_for_coroutine,
            false => call,
        });
        (&raw mut (*tracked).function).write(function.clone().into_ptr());
        (&raw mut (*tracked).source).write(operation_ref.clone().into_ptr());
        (&raw mut (*tracked).dict).write(ptr::null_mut());
        (&raw mut (*tracked).weak_references).write(ptr::null_mut());
        ffi::PyObject_GC_Track(object.cast());
        Ok(made)
    }
}

/// Calls what is decorated: a Python function directly, which spares `PyObject_Vectorcall`'s look-up and its
/// check of the result. Whoever calls the wrapper checks that result.
///
/// # Safety
///
/// The thread is attached, `function` stays alive during the call, and the rest is a vectorcall's.
#[inline(always)]
unsafe fn call_inner(
    function: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller vouches for the arguments; what is exactly a function is laid out as one.
    unsafe {
        if ffi::PyFunction_Check(function) != 0
            && let Some(vectorcall) = (*function.cast::<ffi::PyFunctionObject>()).vectorcall
        {
            return vectorcall(function, args, count, keywords);
        }
        ffi::PyObject_Vectorcall(function, args, count, keywords)
    }
}

// Every function below is called by CPython, attached, with a TrackedFunction as first argument and what
// its slot promises as the others: that is what the SAFETY arguments refer to.

/// A call of a plain function.
unsafe extern "C" fn call(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above. Function and source are owned by the object, which the caller keeps alive.
    unsafe {
        guarded(|py| {
            let tracked = &*object.cast::<TrackedFunction>();
            let source = tracked.source(py);
            let mut found = None;
            let operation = source.current(py, &mut found)?.get();
            let start = operation.begin();
            let result = call_inner(tracked.function, args, count, keywords);
            if result.is_null() {
                source.record_raised(py, operation, start)?;
                return Ok(result);
            }
            if let Err(error) = source.record_success(py, operation, start) {
                ffi::Py_DECREF(result);
                return Err(error);
            }
            Ok(result)
        })
    }
}

/// A call of a coroutine function.
unsafe extern "C" fn call_for_coroutine(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as for `call`.
    unsafe {
        guarded(|py| {
            let tracked = &*object.cast::<TrackedFunction>();
            let operation = tracked.source(py).operation(py)?;
            let made = call_inner(tracked.function, args, count, keywords);
            let made = Bound::from_owned_ptr_or_err(py, made)?;
            coroutine::new(py, made, operation, tracked.source)
        })
    }
}

/// `__get__`: bound to an instance it is a method, like a function.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        if instance.is_null() || instance == ffi::Py_None() {
            ffi::Py_INCREF(object);
            return object;
        }
        PyMethod_New(object, instance)
    }
}

unsafe extern "C" {
    // Part of CPython's public C API; PyO3 does not declare it.
    fn PyMethod_New(
        function: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Attributes of its own first (its dict holds what functools.wraps copies), then the function's.
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
        ffi::PyObject_GetAttr((*object.cast::<TrackedFunction>()).function, name)
    }
}

/// Pickled and copied by name, as functions are.
unsafe extern "C" fn reduce(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let name = borrowed(py, &object).getattr(intern!(py, "__qualname__"))?;
            Ok(name.into_ptr())
        })
    }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let function = (*object.cast::<TrackedFunction>()).function;
            let text = format!("<tracked {}>", borrowed(py, &function).repr()?);
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
        let tracked = &*object.cast::<TrackedFunction>();
        let class = ffi::Py_TYPE(object).cast::<ffi::PyObject>();
        for owned in [tracked.function, tracked.source, tracked.dict, class] {
            if !owned.is_null() {
                let stop = visit(owned, argument);
                if stop != 0 {
                    return stop;
                }
            }
        }
        0
    }
}

/// Breaks cycles. Function and source stay, as they do for a function's code and globals: they cannot
/// refer back but through dicts and cells, which have ways of their own to be cleared.
unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: see above.
    unsafe {
        let tracked = object.cast::<TrackedFunction>();
        let dict = std::mem::replace(&mut (*tracked).dict, ptr::null_mut());
        ffi::Py_XDECREF(dict);
        0
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls this once, with the last reference gone.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let tracked = object.cast::<TrackedFunction>();
        if !(*tracked).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        clear(object);
        ffi::Py_DECREF((*tracked).function);
        ffi::Py_DECREF((*tracked).source);
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

static METHODS: Table<[ffi::PyMethodDef; 2]> = Table([
    raw::plain(
        c"__reduce__",
        reduce,
        ffi::METH_NOARGS,
        c"__reduce__($self, /)\n--\n\n",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static OFFSETS: Table<[ffi::PyMemberDef; 4]> = Table([
    raw::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(TrackedFunction, vectorcall),
    ),
    raw::offset(
        c"__dictoffset__",
        std::mem::offset_of!(TrackedFunction, dict),
    ),
    raw::offset(
        c"__weaklistoffset__",
        std::mem::offset_of!(TrackedFunction, weak_references),
    ),
    raw::LAST_MEMBER,
]);

static PROPERTIES: Table<[ffi::PyGetSetDef; 2]> = Table([
    ffi::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(ffi::PyObject_GenericGetDict),
        set: Some(ffi::PyObject_GenericSetDict),
        doc: ptr::null(),
        closure: ptr::null_mut(),
    },
    raw::LAST_PROPERTY,
]);

/// Makes the type; called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as asked for. The
    // type is a method descriptor: calling it with the instance in front is calling its bound method.
    unsafe {
        TYPE.make(
            py,
            c"nanospan._core.TrackedFunction",
            size_of::<TrackedFunction>(),
            ffi::Py_TPFLAGS_HAVE_GC
                | ffi::Py_TPFLAGS_HAVE_VECTORCALL
                | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR,
            &mut [
                raw::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                raw::slot(ffi::Py_tp_traverse, traverse as *const c_void),
                raw::slot(ffi::Py_tp_clear, clear as *const c_void),
                raw::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                raw::slot(ffi::Py_tp_descr_get, bind as *const c_void),
                raw::slot(ffi::Py_tp_getattro, attribute as *const c_void),
                raw::slot(ffi::Py_tp_repr, repr as *const c_void),
                raw::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_members, OFFSETS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_getset, PROPERTIES.0.as_ptr().cast()),
                raw::END,
            ],
        )?;
    }
    Ok(())
}
