//! Decorated functions: a native callable around a function, timing each call.
//!
//! A call costs two readings of the time-stamp counter, the record, and one more vectorcall; arguments
//! are passed on as they come, without a tuple being made. Attributes that are not the wrapper's own
//! are those of the function, so that `inspect` sees what it sees of the original.
#![allow(unsafe_code, reason = "a raw type, see `raw`")]

use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use perfuse_core::{Measured, Outcome};
use pyo3::{
    PyTraverseError, PyVisit, ffi, intern,
    prelude::*,
    types::{PyDict, PyString},
};

use crate::{
    coroutine,
    exclusive::Exclusive,
    metadata,
    monitor::Monitor,
    operation::Operation,
    outcome,
    raw::{self, RawType, Table, borrowed, guarded},
    span,
};

/// The process-wide monitor, kept here so that decorated calls find it without running Python.
static PROCESS_MONITOR: Exclusive<Option<Py<Monitor>>> = Exclusive::new(None);
/// How many times it was set, so that what was found through it is known to be current.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The process-wide monitor, or None before it is made.
#[pyfunction]
pub fn process_monitor(py: Python<'_>) -> Option<Py<Monitor>> {
    PROCESS_MONITOR.with(py, |monitor| Some(monitor.as_ref()?.clone_ref(py)))
}

/// Makes `monitor` the process-wide one.
#[pyfunction]
pub fn set_process_monitor(py: Python<'_>, monitor: Option<Py<Monitor>>) {
    let before = PROCESS_MONITOR.with(py, |current| {
        // Release, with the Acquire in Source::operation: whoever sees the number sees the monitor,
        // or waits for it.
        GENERATION.fetch_add(1, Ordering::Release);
        std::mem::replace(current, monitor)
    });
    drop(before.map(|before| before.into_bound(py)));
}

/// Where executions of a decorated function are recorded.
#[pyclass(frozen, module = "perfuse._core")]
pub struct Source {
    // A name to look up in the process-wide monitor; without one, `found` is set from the start.
    name: Option<Py<PyString>>,
    // The operation, and the generation of the process-wide monitor that it belongs to.
    found: OnceLock<(u64, Py<Operation>)>,
    metadata: Option<Py<PyDict>>,
}

#[pymethods]
impl Source {
    #[new]
    #[pyo3(signature = (operation, metadata=None))]
    fn new(operation: &Bound<'_, PyAny>, metadata: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        Ok(Self {
            name: Some(crate::names::check(operation)?.clone().unbind()),
            found: OnceLock::new(),
            metadata: metadata
                .map(|given| metadata::given(given))
                .transpose()?
                .map(Bound::unbind),
        })
    }

    /// A new span, for what is timed from Python.
    fn span<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let operation = self.operation(py)?;
        let given = self.metadata.as_ref().map_or(ptr::null_mut(), Py::as_ptr);
        // SAFETY: an Operation and a dict or null.
        unsafe { Bound::from_owned_ptr_or_err(py, span::new(operation.as_ptr(), given)) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.metadata)?;
        match self.found.get() {
            Some((_, operation)) => visit.call(operation),
            None => Ok(()),
        }
    }
}

impl Source {
    /// A source that always leads to `operation`.
    pub fn fixed(
        operation: &Bound<'_, PyAny>,
        metadata: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let found = OnceLock::from((0, operation.cast::<Operation>()?.clone().unbind()));
        let metadata = metadata
            .map(|given| given.cast_into::<PyDict>())
            .transpose()?;
        Ok(Self {
            name: None,
            found,
            metadata: metadata.map(Bound::unbind),
        })
    }

    /// The operation to record into now.
    #[inline]
    pub fn operation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Operation>> {
        match (self.found.get(), &self.name) {
            (Some((_, operation)), None) => Ok(operation.bind(py).clone()),
            // Acquire: pairs with the Release in set_process_monitor.
            (Some((generation, operation)), _)
                if *generation == GENERATION.load(Ordering::Acquire) =>
            {
                Ok(operation.bind(py).clone())
            }
            (_, name) => self.look_up(py, name.as_ref()),
        }
    }

    #[cold]
    fn look_up<'py>(
        &self,
        py: Python<'py>,
        name: Option<&Py<PyString>>,
    ) -> PyResult<Bound<'py, Operation>> {
        let generation = GENERATION.load(Ordering::Acquire);
        let monitor = py
            .import(intern!(py, "perfuse.monitor"))?
            .call_method0(intern!(py, "get_performance_monitor"))?
            .cast_into::<Monitor>()?;
        let name = name.map_or_else(|| PyString::new(py, ""), |name| name.bind(py).clone());
        let operation = monitor.get().operation_of(&name)?;
        // Asked before the monitor was found: a monitor set meanwhile makes this entry outdated.
        let _ = self.found.set((generation, operation.clone().unbind()));
        Ok(operation)
    }

    /// Records an execution that began at `start`, and what left it.
    #[inline]
    pub fn record(
        &self,
        py: Python<'_>,
        operation: &Operation,
        start: u64,
        outcome: Outcome,
        exception: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let clock = operation.core().clock();
        let end = clock.ticks();
        let duration = Measured::Nanos(clock.nanos_between(start, end));
        if outcome == Outcome::Ok && self.metadata.is_none() {
            return operation.record_plain(py, end, duration);
        }
        let given = self.metadata.as_ref().map(|given| given.bind(py));
        if let (Outcome::Ok, Some(given)) = (outcome, given) {
            let metadata = (!given.is_empty())
                .then(|| operation.copy(given))
                .transpose()?;
            return operation.record(py, end, duration, outcome, metadata);
        }
        let metadata = outcome::metadata(py, given, None, outcome, exception)?;
        operation.record(py, end, duration, outcome, metadata)
    }

    /// Records an execution that the current Python exception left, which stays the current one unless
    /// recording raises in its stead.
    #[cold]
    pub fn record_raised(&self, py: Python<'_>, operation: &Operation, start: u64) -> PyResult<()> {
        let error = PyErr::fetch(py);
        let outcome = outcome::of_exception(error.get_type(py).as_any())?;
        self.record(
            py,
            operation,
            start,
            outcome,
            Some(error.value(py).as_any()),
        )?;
        error.restore(py);
        Ok(())
    }
}

static TYPE: RawType = RawType::new();

/// A decorated function or coroutine function.
#[repr(C)]
struct TrackedFunction {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    // Owned: what is decorated, and a Source.
    function: *mut ffi::PyObject,
    source: *mut ffi::PyObject,
    dict: *mut ffi::PyObject,
    weak_references: *mut ffi::PyObject,
    is_coroutine_function: bool,
}

/// A callable that calls `function` and records each call; see `perfuse.tracking`.
#[pyfunction]
pub fn tracked_function<'py>(
    function: &Bound<'py, PyAny>,
    source: &Bound<'py, Source>,
    is_coroutine_function: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    // SAFETY: the object is not seen by anybody, the garbage collector included, before all its fields
    // are written.
    unsafe {
        let object = ffi::PyObject_GC_New::<ffi::PyObject>(TYPE.get());
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let tracked = object.cast::<TrackedFunction>();
        (&raw mut (*tracked).vectorcall).write(call);
        (&raw mut (*tracked).function).write(function.clone().into_ptr());
        (&raw mut (*tracked).source).write(source.clone().into_ptr());
        (&raw mut (*tracked).dict).write(ptr::null_mut());
        (&raw mut (*tracked).weak_references).write(ptr::null_mut());
        (&raw mut (*tracked).is_coroutine_function).write(is_coroutine_function);
        ffi::PyObject_GC_Track(object.cast());
        Ok(made)
    }
}

// Every function below is called by CPython, attached, with a TrackedFunction as first argument and what
// its slot promises as the others: that is what the SAFETY arguments refer to.

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
            let source = borrowed(py, &tracked.source)
                .cast_unchecked::<Source>()
                .get();
            let operation = source.operation(py)?;
            if tracked.is_coroutine_function {
                let made = ffi::PyObject_Vectorcall(tracked.function, args, count, keywords);
                let made = Bound::from_owned_ptr_or_err(py, made)?;
                return coroutine::new(py, made, &operation, tracked.source);
            }
            let operation = operation.get();
            let start = operation.core().clock().ticks();
            let result = ffi::PyObject_Vectorcall(tracked.function, args, count, keywords);
            if result.is_null() {
                source.record_raised(py, operation, start)?;
                return Ok(result);
            }
            if let Err(error) = source.record(py, operation, start, Outcome::Ok, None) {
                ffi::Py_DECREF(result);
                return Err(error);
            }
            Ok(result)
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
            c"perfuse._core.TrackedFunction",
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
