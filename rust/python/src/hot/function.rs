//! The native callable that `Operation.wrap` returns, which times each call; and the two ways to time one, which
//! decorated functions share.
//!
//! The overhead of each call is two readings of the time-stamp counter, the recording, and one vectorcall. The
//! arguments are forwarded unchanged, without creating a tuple. Attributes that the wrapper does not have are looked up
//! on the function, so that `inspect` reports the same as for the original function.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use pyo3::{ffi, intern, prelude::*};

use super::{
    coroutine, objects,
    raw::{
        PassedOn, Receiver, attribute, borrowed, guarded, guarded_clear, guarded_quietly,
        guarded_visit, or_null,
    },
    stack,
    tables::{self, RawType, Table},
};
use crate::operation_ref::OperationRef;

static TYPE: RawType = RawType::new();

/// Callable wrapper around a decorated function or coroutine function.
#[repr(C)]
struct TrackedFunction {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    function: Py<PyAny>,
    operation_ref: Py<OperationRef>,
    dict: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
}

/// Calls a plain function and records the call. Returns `None` if the Python error is set. What `keep` returns is dropped
/// after the call; if nothing has to be looked up, `keep` is called after the clock was read, which on some processors
/// waits for preceding stores.
#[inline(always)]
pub fn call_timed<'py, T>(
    function: &Bound<'py, PyAny>,
    operation_ref: &OperationRef,
    arguments: &PassedOn<'_>,
    keep: impl Fn() -> T,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = function.py();
    stack::check(py)?;
    let mut found = None;
    let (operation, kept) = match operation_ref.known(py) {
        Some(operation) => (operation, None),
        None => {
            // Before the look-up, because that runs Python code.
            let kept = keep();
            (&*found.insert(operation_ref.look_up(py)?), Some(kept))
        }
    };
    let operation = operation.get();
    let start = operation.begin();
    let _kept = kept.unwrap_or_else(keep);
    let result = arguments.call(function);
    match result {
        None => operation_ref.record_raised(py, operation, start)?,
        Some(_) => operation_ref.record_success(py, operation, start)?,
    }
    Ok(result)
}

/// Calls a coroutine function and wraps the coroutine that it returns. Returns `None` if the Python error is set.
#[inline(always)]
pub fn call_for_coroutine<'py>(
    function: &Bound<'py, PyAny>,
    operation_ref: &Py<OperationRef>,
    arguments: &PassedOn<'_>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = function.py();
    let operation = operation_ref.bind(py).get().operation(py)?;
    match arguments.call(function) {
        None => Ok(None),
        Some(made) => coroutine::new(made, operation, operation_ref.clone_ref(py)).map(Some),
    }
}

/// Wrap ``function`` in a callable that records each of its executions; see ``nanospan.tracking``.
///
/// Args:
///     function: The function to wrap.
///     operation_ref: A reference to the operation that records the executions.
///     is_coroutine_function: Whether to time the coroutine that ``function`` returns, instead of the call.
#[pyfunction]
pub fn tracked_function<'py>(
    function: &Bound<'py, PyAny>,
    operation_ref: &Bound<'py, OperationRef>,
    is_coroutine_function: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    // SAFETY: nothing, not even the garbage collector, can see the object before all its fields are written.
    unsafe {
        let object = ffi::PyObject_GC_New::<ffi::PyObject>(TYPE.get());
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let tracked = object.cast::<TrackedFunction>();
        (&raw mut (*tracked).vectorcall).write(match is_coroutine_function {
            true => vectorcall_for_coroutine,
            false => vectorcall,
        });
        (&raw mut (*tracked).function).write(function.clone().unbind());
        (&raw mut (*tracked).operation_ref).write(operation_ref.clone().unbind());
        (&raw mut (*tracked).dict).write(ptr::null_mut());
        (&raw mut (*tracked).weak_references).write(ptr::null_mut());
        ffi::PyObject_GC_Track(object.cast());
        Ok(made)
    }
}

// The SAFETY comments refer to this: CPython calls every function below with the thread attached, with a
// TrackedFunction as the first argument, and with the other arguments that the function's slot requires.

unsafe extern "C" fn vectorcall(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (tracked, arguments) = unsafe {
        let tracked = Receiver::<TrackedFunction>::of(object);
        (tracked, PassedOn::of(args, count, keywords))
    };
    let py = tracked.py();
    guarded(py, || {
        let (function, operation_ref) = (tracked.function.bind(py), tracked.operation_ref.bind(py));
        call_timed(function, operation_ref.get(), &arguments, || ()).map(or_null)
    })
}

unsafe extern "C" fn vectorcall_for_coroutine(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (tracked, arguments) = unsafe {
        let tracked = Receiver::<TrackedFunction>::of(object);
        (tracked, PassedOn::of(args, count, keywords))
    };
    let py = tracked.py();
    guarded(py, || {
        let function = tracked.function.bind(py);
        call_for_coroutine(function, &tracked.operation_ref, &arguments).map(or_null)
    })
}

/// Implements `__get__`: like a Python function, the wrapper becomes a bound method when looked up on an instance.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedFunction>::of(object) };
    guarded(tracked.py(), || {
        // SAFETY: see above; PyMethod_New returns a new reference, or NULL with the error set.
        unsafe {
            if instance.is_null() || instance == ffi::Py_None() {
                return Ok(tracked.itself());
            }
            Ok(PyMethod_New(object, instance))
        }
    })
}

unsafe extern "C" {
    // Part of CPython's public C API; PyO3 does not declare it.
    fn PyMethod_New(
        function: *mut ffi::PyObject,
        instance: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Looks up an attribute on the wrapper, whose dict holds the attributes copied by functools.wraps, and then on the
/// function.
unsafe extern "C" fn get_attribute(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (tracked, name) = unsafe {
        let tracked = Receiver::<TrackedFunction>::of(object);
        let py = tracked.py();
        (tracked, borrowed(py, &name))
    };
    let py = tracked.py();
    guarded(py, || {
        let function = tracked.function.bind(py);
        Ok(or_null(attribute(&tracked.object(), name, function)))
    })
}

/// Implements `__reduce__`: the wrapper is pickled and copied by its qualified name, as functions are.
unsafe extern "C" fn reduce(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedFunction>::of(object) };
    let py = tracked.py();
    guarded(py, || {
        let name = tracked.object().getattr(intern!(py, "__qualname__"))?;
        Ok(name.into_ptr())
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedFunction>::of(object) };
    let py = tracked.py();
    guarded(py, || {
        let text = format!("<tracked {}>", tracked.function.bind(py).repr()?);
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
        let tracked = &*object.cast::<TrackedFunction>();
        let class = ffi::Py_TYPE(object).cast::<ffi::PyObject>();
        let function = tracked.function.as_ptr();
        let operation_ref = tracked.operation_ref.as_ptr();
        for owned in [function, operation_ref, tracked.dict, class] {
            if !owned.is_null() {
                let stop = visit(owned, argument);
                if stop != 0 {
                    return stop;
                }
            }
        }
        0
    })
}

/// Implements `tp_clear`, which breaks reference cycles, by releasing the wrapper's dict. The function and the
/// operation reference are kept: they can refer back to the wrapper only through dicts and cells, which the garbage
/// collector clears itself.
unsafe extern "C" fn clear(object: *mut ffi::PyObject) -> c_int {
    // SAFETY: see above.
    let tracked = unsafe { Receiver::<TrackedFunction>::of(object) };
    // SAFETY: the wrapper owns the dict, and the field is emptied before the dict is released.
    guarded_clear(tracked.py(), || unsafe {
        let tracked = object.cast::<TrackedFunction>();
        let dict = std::mem::replace(&mut (*tracked).dict, ptr::null_mut());
        ffi::Py_XDECREF(dict);
    })
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: see above.
    let py = unsafe { Receiver::<TrackedFunction>::of(object) }.py();
    // SAFETY: the last reference is gone: each owned reference is released once, then the object is freed.
    guarded_quietly(py, || unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let tracked = object.cast::<TrackedFunction>();
        if !(*tracked).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        clear(object);
        drop((&raw const (*tracked).function).read().into_bound(py));
        drop((&raw const (*tracked).operation_ref).read().into_bound(py));
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(class.cast());
        Ok(())
    });
}

static METHODS: Table<[ffi::PyMethodDef; 2]> = Table([
    tables::plain(
        c"__reduce__",
        reduce,
        ffi::METH_NOARGS,
        c"__reduce__($self, /)\n--\n\n",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static OFFSETS: Table<[ffi::PyMemberDef; 4]> = Table([
    tables::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(TrackedFunction, vectorcall),
    ),
    tables::offset(
        c"__dictoffset__",
        std::mem::offset_of!(TrackedFunction, dict),
    ),
    tables::offset(
        c"__weaklistoffset__",
        std::mem::offset_of!(TrackedFunction, weak_references),
    ),
    tables::LAST_MEMBER,
]);

static PROPERTIES: Table<[ffi::PyGetSetDef; 2]> = Table([
    ffi::PyGetSetDef {
        name: c"__dict__".as_ptr(),
        get: Some(ffi::PyObject_GenericGetDict),
        set: Some(ffi::PyObject_GenericSetDict),
        doc: ptr::null(),
        closure: ptr::null_mut(),
    },
    tables::LAST_PROPERTY,
]);

/// Creates the type. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as `make` requires. The type is a
    // method descriptor: calling the wrapper with an instance as the first argument is the same as calling the bound
    // method.
    unsafe {
        TYPE.make(
            py,
            c"nanospan._core.TrackedFunction",
            size_of::<TrackedFunction>(),
            ffi::Py_TPFLAGS_HAVE_GC
                | ffi::Py_TPFLAGS_HAVE_VECTORCALL
                | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR,
            &mut [
                tables::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                tables::slot(ffi::Py_tp_traverse, traverse as *const c_void),
                tables::slot(ffi::Py_tp_clear, clear as *const c_void),
                tables::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                tables::slot(ffi::Py_tp_descr_get, bind as *const c_void),
                tables::slot(ffi::Py_tp_getattro, get_attribute as *const c_void),
                tables::slot(ffi::Py_tp_repr, repr as *const c_void),
                tables::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_members, OFFSETS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_getset, PROPERTIES.0.as_ptr().cast()),
                tables::END,
            ],
        )?;
    }
    Ok(())
}
