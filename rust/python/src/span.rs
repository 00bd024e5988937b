//! An execution under way.
//!
//! What a tracked block costs, in nanoseconds:
//!
//! | | ns |
//! | --- | --- |
//! | an empty block, its context manager a C type that does nothing | 90 |
//! | a tracked block | 110 |
//! | a tracked block while the monitor is disabled | 85 |
//! | of these, alone: the call of `track_operation`, from the name to a new span | 30 |
//! | two readings of the time-stamp counter | 29 |
//! | the record: ticket, slot, bucket, sum (with locked instructions, as without a GIL) | 8 (12) |
//!
//! The parts overlap with one another and with the interpreter's work. That work is what is saved on:
//! entering and leaving are [`step`]s, without which the block would cost 25 more. Blocks are the fastest of
//! 400 bursts of 2,000, the loop around them taken off; counter and record are criterion's
//! (`benches/rust`), on the machine that the README's table names. `async with` adds two awaits of something
//! that is already done: the span itself on the way in, [`done`] on the way out; neither allocates.
#![allow(unsafe_code, reason = "a raw type, see `raw`")]

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use perfuse_core::{Measured, Outcome};
use pyo3::{
    exceptions::{PyRuntimeError, PyTypeError},
    ffi, intern,
    prelude::*,
    types::{PyDict, PyString, PyType},
};

use crate::{
    done,
    exclusive::Exclusive,
    free_list::FreeList,
    operation::Operation,
    outcome,
    raw::{self, RawType, Slot, Table, borrowed, guarded},
    source,
    step::{self, Definition},
    stop,
};

static TYPE: RawType = RawType::new();
static FREE: FreeList = FreeList::new();

/// A span. Its atomics keep misuse from several threads at once harmless; a span belongs to one
/// thread or task at a time, and whoever hands it on synchronises. All accesses are therefore Relaxed.
// Not tracked by the garbage collector, for speed: a span whose own metadata leads back to it is freed
// when its sample leaves the window or is cleared, and one that was never finished is not.
#[repr(C)]
struct Span {
    head: ffi::PyObject,
    // Owned, an `Operation`.
    operation: *mut ffi::PyObject,
    // The caller's dict, never written to.
    given: Slot,
    // Ticks at the start; from the end on, the duration in nanoseconds.
    time: AtomicU64,
    state: AtomicU8,
    // Whether `details` may hold anything, so that most spans need not look.
    has_details: AtomicBool,
    details: Exclusive<Details>,
}

#[derive(Default)]
struct Details {
    // What set() and fail() added.
    added: Option<Py<PyDict>>,
    failed: bool,
}

const NEW: u8 = 0;
const ENTERED: u8 = 1;
const ENDED: u8 = 2;
/// Entered while the monitor was disabled: not timed, and not recorded.
const IDLE: u8 = 3;

/// A new span of `operation`. `given` is the caller's metadata, a dict, or null.
///
/// # Safety
///
/// The thread is attached; `operation` is an `Operation`, both pointers stay valid during the call.
#[inline]
pub unsafe fn new(operation: *mut ffi::PyObject, given: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the object is fresh or from the free list, in any case without owner; all fields are written
    // before anybody sees it.
    unsafe {
        let mut object = FREE.pop();
        if object.is_null() {
            object = ffi::PyObject_New(TYPE.get());
        }
        if object.is_null() {
            return object;
        }
        let span = object.cast::<Span>();
        ffi::Py_INCREF(operation);
        ffi::Py_XINCREF(given);
        (&raw mut (*span).operation).write(operation);
        (&raw mut (*span).given).write(Slot::new(given));
        (&raw mut (*span).time).write(AtomicU64::new(0));
        (&raw mut (*span).state).write(AtomicU8::new(NEW));
        (&raw mut (*span).has_details).write(AtomicBool::new(false));
        (&raw mut (*span).details).write(Exclusive::new(Details {
            added: None,
            failed: false,
        }));
        object
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls this once, with the last reference gone. The thread is attached.
    unsafe {
        let py = Python::assume_attached();
        let span = object.cast::<Span>();
        drop((*span).given.take(py));
        if (*span).has_details.load(Ordering::Relaxed) {
            let details = (*span).details.with(py, std::mem::take);
            drop(details.added.map(|added| added.into_bound(py)));
        }
        if (*span).state() == ENTERED {
            (*span).operation(py).abandon();
        }
        ffi::Py_DECREF((*span).operation);
        FREE.push(object);
    }
}

impl Span {
    /// The span behind `object`.
    ///
    /// # Safety
    ///
    /// `object` is a span and outlives `'a`.
    #[inline]
    unsafe fn of<'a>(object: *mut ffi::PyObject) -> &'a Self {
        // SAFETY: instances of TYPE are made by `new` alone.
        unsafe { &*object.cast() }
    }

    #[inline]
    fn operation<'a>(&'a self, py: Python<'a>) -> &'a Operation {
        // SAFETY: the span owns a reference to an Operation.
        unsafe {
            borrowed(py, &self.operation)
                .cast_unchecked::<Operation>()
                .get()
        }
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    #[inline]
    fn enter(&self, py: Python<'_>) -> PyResult<()> {
        if self.state() != NEW {
            return Err(self.misuse(py, "was already entered; call track_operation for each use"));
        }
        let operation = self.operation(py);
        if !operation.enabled() {
            self.state.store(IDLE, Ordering::Relaxed);
            return Ok(());
        }
        self.time.store(operation.begin(), Ordering::Relaxed);
        self.state.store(ENTERED, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the span and records it; `exception` is the type and the value that left the block.
    #[inline]
    fn leave(&self, py: Python<'_>, exception: [*mut ffi::PyObject; 2]) -> PyResult<()> {
        if self.state() == IDLE {
            self.state.store(ENDED, Ordering::Relaxed);
            return Ok(());
        }
        self.leave_timed(py, exception)
    }

    // Apart, so that leaving an idle span saves none of the registers that recording needs.
    #[inline(never)]
    fn leave_timed(&self, py: Python<'_>, exception: [*mut ffi::PyObject; 2]) -> PyResult<()> {
        let operation = self.operation(py);
        if self.state() != ENTERED {
            return Err(self.misuse(py, "is not under way"));
        }
        let end = operation.end();
        self.state.store(ENDED, Ordering::Relaxed);
        let clock = operation.core().clock();
        let ns = clock.nanos_between(self.time.load(Ordering::Relaxed), end);
        self.time.store(ns, Ordering::Relaxed);
        let duration = Measured::Nanos(ns);
        // SAFETY: None exists as long as the interpreter.
        let failed = exception[0] != unsafe { ffi::Py_None() };
        if failed || self.has_details.load(Ordering::Relaxed) {
            return self.leave_with_details(py, end, duration, exception);
        }
        match self.given.take(py) {
            None => operation.record_plain(py, end, duration),
            Some(given) => {
                // SAFETY: `new` is given dicts only.
                let given = unsafe { given.cast_unchecked::<PyDict>() };
                let kept = (!given.is_empty())
                    .then(|| operation.copy(given))
                    .transpose()?;
                operation.record(py, end, duration, Outcome::Ok, kept)
            }
        }
    }

    #[cold]
    fn leave_with_details(
        &self,
        py: Python<'_>,
        end: u64,
        duration: Measured,
        exception: [*mut ffi::PyObject; 2],
    ) -> PyResult<()> {
        let Details { added, failed } = self.details.with(py, std::mem::take);
        // SAFETY: the caller of __exit__ keeps its arguments alive during the call.
        let [class, value] = exception.each_ref().map(|e| unsafe { borrowed(py, e) });
        let outcome = match class.is_none() {
            false => outcome::of_exception(class)?,
            true if failed => Outcome::Error,
            true => Outcome::Ok,
        };
        let given = self
            .given
            .take(py)
            .map(|given| given.cast_into())
            .transpose()?;
        let added = added.map(|added| added.into_bound(py));
        let value = (!class.is_none()).then_some(value);
        let metadata = outcome::metadata(py, given.as_ref(), added.as_ref(), outcome, value)?;
        self.operation(py)
            .record(py, end, duration, outcome, metadata)
    }

    #[cold]
    fn misuse(&self, py: Python<'_>, what: &str) -> PyErr {
        let name = self.operation(py).name(py);
        PyRuntimeError::new_err(format!("the span of operation {name:?} {what}"))
    }

    fn add(&self, py: Python<'_>, failed: bool, items: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        if self.state() == ENDED {
            return Err(self.misuse(py, "has ended; set() and fail() work inside the block"));
        }
        self.has_details.store(true, Ordering::Relaxed);
        let added = self.details.with(py, |details| {
            details.failed |= failed;
            details.added.as_ref().map(|added| added.clone_ref(py))
        });
        let Some(items) = items else {
            return Ok(());
        };
        match added {
            Some(added) => added.into_bound(py).update(items.as_mapping()),
            None => {
                let copy = Some(items.copy()?.unbind());
                let before = self
                    .details
                    .with(py, |d| std::mem::replace(&mut d.added, copy));
                drop(before.map(|before| before.into_bound(py)));
                Ok(())
            }
        }
    }

    fn elapsed_ns(&self, py: Python<'_>) -> u64 {
        let time = self.time.load(Ordering::Relaxed);
        match self.state() {
            NEW | IDLE => 0,
            ENTERED => {
                let clock = self.operation(py).core().clock();
                clock.nanos_between(time, clock.ticks())
            }
            _ => time,
        }
    }
}

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
            let source = source::Source::fixed(borrowed(py, &span.operation), metadata)?;
            let decorated = py
                .import(intern!(py, "perfuse.tracking"))?
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
            c"perfuse.Span",
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
