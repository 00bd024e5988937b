//! The Python type of spans: the C functions that CPython calls, and the tables that list them.

use std::{ffi::c_void, ptr};

use nanospan_record::Measured;
use pyo3::{
    exceptions::PyTypeError,
    ffi, intern,
    prelude::*,
    types::{PyTuple, PyType},
};

use super::{
    done, objects,
    raw::{
        Arguments, Progress, Receiver, borrowed, guarded, guarded_quietly, guarded_send, none,
        positional,
    },
    span::{self, ENDED, NEW, Span, TYPE},
    step::{self, Definition},
    stop,
    tables::{self, Table},
};
use crate::{bindings, messages::shown, operation_ref::OperationRef, outcome};

// The SAFETY comments refer to this: CPython calls every function below with the thread attached, with a span as the
// first argument, and with the other arguments that the function's slot or flags require.

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    guarded_quietly(span.py(), || {
        span.clear(span.py());
        Ok(())
    });
    // SAFETY: the last reference is gone.
    guarded_quietly(span.py(), || unsafe {
        span::free(span.py(), object);
        Ok(())
    });
}

unsafe extern "C" fn enter(
    object: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    guarded(span.py(), || {
        if count != 0 {
            return Err(PyTypeError::new_err(format!(
                "entering a span takes no arguments, got {count}; use `with` or `async with`"
            )));
        }
        span.enter(span.py())?;
        Ok(span.itself())
    })
}

/// Returns the type and value of the exception that ended the block (both None if there was none), from the arguments
/// of `__exit__`.
#[inline]
fn exception<'a, 'py>(args: &'a [Bound<'py, PyAny>]) -> PyResult<[&'a Bound<'py, PyAny>; 2]> {
    match args {
        [class, value, _] => Ok([class, value]),
        _ => Err(PyTypeError::new_err(format!(
            "leaving a span takes three arguments (exception type, value and traceback), got {}",
            args.len()
        ))),
    }
}

unsafe extern "C" fn exit(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (span, args) = unsafe { leaving(object, args, count) };
    guarded(span.py(), || {
        span.leave(span.py(), exception(args)?)?;
        Ok(none(span.py()))
    })
}

unsafe extern "C" fn aexit(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (span, args) = unsafe { leaving(object, args, count) };
    guarded(span.py(), || {
        span.leave(span.py(), exception(args)?)?;
        stop::forget(&span.object());
        Ok(done::new_reference(span.py()).into_ptr())
    })
}

/// Converts the raw arguments of a METH_FASTCALL method to the span and a slice of arguments.
///
/// # Safety
///
/// The pointers must be those that CPython passed to such a method, and must outlive `'a`.
#[inline]
unsafe fn leaving<'a>(
    object: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> (Receiver<'a, Span>, &'a [Bound<'a, PyAny>]) {
    // SAFETY: the caller's.
    unsafe {
        let span = Receiver::<Span>::of(object);
        let args = positional(span.py(), args, count.cast_unsigned());
        (span, args)
    }
}

/// Implements `__await__`. `__aenter__` returns the entered span itself, so the span is awaitable and its own iterator.
unsafe extern "C" fn awaited(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    guarded(span.py(), || {
        if span.state() == NEW {
            let text = "a new span cannot be awaited; enter it with `with` or `async with`";
            return Err(PyTypeError::new_err(text));
        }
        Ok(span.itself())
    })
}

unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    guarded(span.py(), || {
        stop::iteration_shortly(&span.object());
        Ok(ptr::null_mut())
    })
}

unsafe extern "C" fn send(
    object: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> ffi::PySendResult {
    // SAFETY: see above; CPython passes a valid pointer for the result.
    unsafe {
        let span = Receiver::<Span>::of(object);
        guarded_send(span.py(), result, || {
            Ok(Progress::Returned(span.object().to_owned()))
        })
    }
}

unsafe extern "C" fn set(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (span, arguments) = unsafe { called(object, args, count, keywords) };
    let py = span.py();
    guarded(py, || {
        if !arguments.positional().is_empty() {
            return Err(PyTypeError::new_err(
                "set() takes only keyword arguments, as in span.set(rows=3)",
            ));
        }
        let items = objects::dict(py)?;
        for (keyword, value) in arguments.named() {
            items.set_item(keyword, value)?;
        }
        span.add(py, false, Some(&items))?;
        Ok(none(py))
    })
}

unsafe extern "C" fn fail(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (span, arguments) = unsafe { called(object, args, count, keywords) };
    let py = span.py();
    guarded(py, || {
        let ([], [error]) = arguments.parse("fail", [], ["error"])?;
        let items = match error.filter(|error| !error.is_none()) {
            None => None,
            Some(error) => {
                let items = objects::dict(py)?;
                items.set_item(intern!(py, "error"), outcome::text_of(error)?)?;
                Some(items)
            }
        };
        span.add(py, true, items.as_ref())?;
        Ok(none(py))
    })
}

/// Converts the raw arguments of a METH_FASTCALL | METH_KEYWORDS method to the span and the arguments.
///
/// # Safety
///
/// The pointers must be those that CPython passed to such a method, and must outlive `'a`.
#[inline]
unsafe fn called<'a>(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> (Receiver<'a, Span>, Arguments<'a, 'a>) {
    // SAFETY: the caller's.
    unsafe {
        let span = Receiver::<Span>::of(object);
        let arguments = Arguments::of(span.py(), args, count, keywords);
        (span, arguments)
    }
}

/// Implements `span(function)`: decorates a function so that each call to it is a new span of the same operation.
unsafe extern "C" fn decorate(
    object: *mut ffi::PyObject,
    args: *mut ffi::PyObject,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above; `args` is a tuple, and `keywords` is a dict or null.
    let (span, args) = unsafe {
        let span = Receiver::<Span>::of(object);
        let args = borrowed(span.py(), &args).cast_unchecked::<PyTuple>();
        (span, args)
    };
    let py = span.py();
    guarded(py, || {
        if !keywords.is_null() || args.len() != 1 {
            let text = "a span takes one argument, the function to decorate; use @monitor.track_operation(name)";
            return Err(PyTypeError::new_err(text));
        }
        let operation_ref = OperationRef::fixed(span.operation(py), span.given(py));
        let bindings = bindings::get(py)?;
        let arguments = (args.get_item(0)?, operation_ref);
        Ok(bindings.decorate.bind(py).call1(arguments)?.into_ptr())
    })
}

unsafe extern "C" fn elapsed(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    guarded(span.py(), || {
        let seconds = Measured::Nanos(span.elapsed_ns(span.py())).seconds();
        Ok(objects::float(span.py(), seconds)?.into_ptr())
    })
}

unsafe extern "C" fn name(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    let py = span.py();
    guarded(py, || {
        Ok(span.operation(py).get().name(py).clone().into_ptr())
    })
}

unsafe extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let span = unsafe { Receiver::<Span>::of(object) };
    let py = span.py();
    guarded(py, || {
        let state = match span.state() {
            NEW => "new",
            ENDED => "ended",
            _ => "under way",
        };
        let name = span.operation(py).get().name(py);
        let seconds = Measured::Nanos(span.elapsed_ns(py)).seconds();
        let text = format!("<Span of {}, {state}, {seconds:.6} s>", shown(name));
        Ok(objects::text(py, &text)?.into_ptr())
    })
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
    tables::fast_with_keywords(
        c"set",
        set,
        c"set($self, /, **metadata)\n--\n\n\
          Add metadata to this execution's sample; call it before the block ends.",
    ),
    tables::fast_with_keywords(
        c"fail",
        fail,
        c"fail($self, /, error=None)\n--\n\n\
          Mark this execution as failed without raising an exception; call it before the block ends.\n\n\
          Args:\n    error: The reason for the failure; if not None, its text is kept as the ``error`` metadata.",
    ),
    ffi::PyMethodDef::zeroed(),
]);

static PROPERTIES: Table<[ffi::PyGetSetDef; 3]> = Table([
    tables::property(
        c"elapsed",
        elapsed,
        c"Seconds since the block was entered or, once it has ended, its duration in seconds. It is 0.0 if the\n\
          block was not entered, or was entered while the monitor was disabled.",
    ),
    tables::property(c"operation", name, c"The operation's name."),
    tables::LAST_PROPERTY,
]);

/// Creates the type. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let doc = c"One execution of an operation, as returned by ``track_operation``.\n\n\
        Use a span once, in ``with`` or ``async with``. As a decorator, it creates a new span for each call of\n\
        the decorated function. A span belongs to one task or thread at a time.";
    // SAFETY: each function has its slot's signature; sizes, names and tables are as `make` requires.
    let class = unsafe {
        TYPE.make(
            py,
            c"nanospan.Span",
            size_of::<Span>(),
            0,
            &mut [
                tables::slot(ffi::Py_tp_doc, doc.as_ptr().cast()),
                tables::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                tables::slot(ffi::Py_tp_methods, METHODS.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_getset, PROPERTIES.0.as_ptr().cast()),
                tables::slot(ffi::Py_tp_repr, repr as *const c_void),
                tables::slot(ffi::Py_tp_call, decorate as *const c_void),
                tables::slot(ffi::Py_am_await, awaited as *const c_void),
                tables::slot(ffi::Py_am_send, send as *const c_void),
                tables::slot(ffi::Py_tp_iternext, next as *const c_void),
                tables::END,
            ],
        )?
    };
    for definition in &STEPS {
        step::install(&class, definition)?;
    }
    Ok(class)
}
