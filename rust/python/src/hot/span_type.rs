//! A span's type as the C API wants it: what CPython calls, and the tables that say so.

use std::{ffi::c_void, ptr};

use nanospan_record::Measured;
use pyo3::{
    exceptions::PyTypeError,
    ffi, intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use super::{
    done,
    raw::{self, Table, borrowed, guarded},
    span::{ENDED, NEW, Span, TYPE, dealloc},
    step::{self, Definition},
    stop,
};
use crate::{operation_ref::OperationRef, outcome};

// Every function below is called by CPython, attached, with a span as first argument and what its
// slot or flags promise as the others: that is what the SAFETY arguments refer to.

unsafe extern "C" fn enter(
    object: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            if count != 0 {
                let text = format!("entering a span takes no arguments ({count} given)");
                return Err(PyTypeError::new_err(text));
            }
            Span::of(object).enter(py)?;
            ffi::Py_INCREF(object);
            Ok(object)
        })
    }
}

/// The type and the value of the exception that left the block, from `__exit__`'s arguments.
#[inline]
unsafe fn exception(
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> PyResult<[*mut ffi::PyObject; 2]> {
    if count != 3 {
        return Err(PyTypeError::new_err(format!(
            "exit takes the exception's type, value and traceback ({count} arguments given)"
        )));
    }
    // SAFETY: there are three.
    Ok(unsafe { [*args, *args.add(1)] })
}

unsafe extern "C" fn exit(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            Span::of(object).leave(py, exception(args, count)?)?;
            Ok(raw::none())
        })
    }
}

unsafe extern "C" fn aexit(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            Span::of(object).leave(py, exception(args, count)?)?;
            stop::forget(object);
            Ok(done::new_reference())
        })
    }
}

/// `__await__`: an entered span is what `__aenter__` returned, and is its own iterator.
unsafe extern "C" fn awaited(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|_| {
            if Span::of(object).state() == NEW {
                let text = "a span is entered with `with` or `async with`, not awaited";
                return Err(PyTypeError::new_err(text));
            }
            ffi::Py_INCREF(object);
            Ok(object)
        })
    }
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe { stop::iteration_shortly(object) };
    ptr::null_mut()
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: see above; CPython passes a place for the result.
    unsafe {
        ffi::Py_INCREF(object);
        *result = object;
    }
    ffi::PySendResult::PYGEN_RETURN
}

unsafe extern "C" fn set(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above; the values stand behind the positional arguments, of which there are none.
    unsafe {
        guarded(|py| {
            if count != 0 {
                return Err(PyTypeError::new_err("set() takes keyword arguments only"));
            }
            let items = PyDict::new(py);
            if !keywords.is_null() {
                for (i, keyword) in borrowed(py, &keywords).try_iter()?.enumerate() {
                    items.set_item(keyword?, borrowed(py, &*args.add(i)))?;
                }
            }
            Span::of(object).add(py, false, Some(&items))?;
            Ok(raw::none())
        })
    }
}

unsafe extern "C" fn fail(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let count = usize::try_from(count)?;
            let [error] = raw::arguments(py, "fail", ["error"], 0, args, count, keywords)?;
            let items = match error.is_null() || error == ffi::Py_None() {
                true => None,
                false => {
                    let items = PyDict::new(py);
                    let text = outcome::text_of(borrowed(py, &error));
                    items.set_item(intern!(py, "error"), text)?;
                    Some(items)
                }
            };
            Span::of(object).add(py, true, items.as_ref())?;
            Ok(raw::none())
        })
    }
}

/// `span(function)`: each call of the decorated function is a new span of the same operation.
unsafe extern "C" fn decorate(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let arguments = borrowed(py, &args);
            if !keywords.is_null() || arguments.len()? != 1 {
                let text = "a span decorates one function: @monitor.track_operation(name)";
                return Err(PyTypeError::new_err(text));
            }
            let span = Span::of(object);
            let given = span.given.peek();
            let metadata = (!given.is_null()).then(|| borrowed(py, &given).clone());
            let source = OperationRef::fixed(borrowed(py, &span.operation), metadata)?;
            let decorated = py
                .import(intern!(py, "nanospan.tracking"))?
                .call_method1(intern!(py, "decorate"), (arguments.get_item(0)?, source))?;
            Ok(decorated.into_ptr())
        })
    }
}

unsafe extern "C" fn elapsed(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let seconds = Measured::Nanos(Span::of(object).elapsed_ns(py)).seconds();
            Ok(ffi::PyFloat_FromDouble(seconds))
        })
    }
}

unsafe extern "C" fn name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe { guarded(|py| Ok(Span::of(object).operation(py).name(py).clone().into_ptr())) }
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let span = Span::of(object);
            let state = match span.state() {
                NEW => "new",
                ENDED => "ended",
                _ => "under way",
            };
            let name = span.operation(py).name(py);
            let seconds = Measured::Nanos(span.elapsed_ns(py)).seconds();
            let text = format!("<Span of {name:?}, {state}, {seconds:.6} s>");
            Ok(PyString::new(py, &text).into_any().into_ptr())
        })
    }
}

static STEPS: [Definition; 4] = [
    Definition::new(c"__enter__", enter, c"__enter__($self, /)\n--\n\n"),
    Definition::new(
        c"__exit__",
        exit,
        c"__exit__($self, exc_type, exc_value, traceback, /)\n--\n\n",
    ),
    Definition::new(c"__aenter__", enter, c"__aenter__($self, /)\n--\n\n"),
    Definition::new(
        c"__aexit__",
        aexit,
        c"__aexit__($self, exc_type, exc_value, traceback, /)\n--\n\n",
    ),
];

static METHODS: Table<[ffi::PyMethodDef; 3]> = Table([
    raw::fast_with_keywords(
        c"set",
        set,
        c"set($self, /, **metadata)\n--\n\n\
          Adds metadata to this execution's sample; works until the block ends.",
    ),
    raw::fast_with_keywords(
        c"fail",
        fail,
        c"fail($self, /, error=None)\n--\n\n\
          Marks this execution unsuccessful without an exception; works until the block ends.",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static PROPERTIES: Table<[ffi::PyGetSetDef; 3]> = Table([
    raw::property(
        c"elapsed",
        elapsed,
        c"Seconds since the block was entered, or how long it took; 0.0 before, and while disabled.",
    ),
    raw::property(c"operation", name, c"The operation's name."),
    raw::LAST_PROPERTY,
]);

/// Makes the type; called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let doc = c"One execution of an operation: what `track_operation` returns.\n\n\
        Use it once, with `with` or `async with`, or as a decorator, where each call of the\n\
        decorated function becomes a span of its own. A span belongs to one task or thread.";
    // SAFETY: each function has its slot's signature; sizes, names and tables are as asked for.
    let class = unsafe {
        TYPE.make(
            py,
            c"nanospan.Span",
            size_of::<Span>(),
            0,
            &mut [
                raw::slot(ffi::Py_tp_doc, doc.as_ptr().cast()),
                raw::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                raw::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_getset, PROPERTIES.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_repr, repr as *const c_void),
                raw::slot(ffi::Py_tp_call, decorate as *const c_void),
                raw::slot(ffi::Py_am_await, awaited as *const c_void),
                raw::slot(ffi::Py_am_send, send as *const c_void),
                raw::slot(ffi::Py_tp_iternext, next as *const c_void),
                raw::END,
            ],
        )?
    };
    for definition in &STEPS {
        step::install(&class, definition)?;
    }
    Ok(class)
}
