//! `Tracker`, the native part of a decorated function.
//!
//! A decorated function is a Python function, the *wrapper*, whose generated code forwards its arguments to a tracker;
//! see `nanospan.wrappers`.

use pyo3::{PyTraverseError, PyVisit, ffi, prelude::*, types::PyTuple};

use super::{
    function::{call_for_coroutine, call_timed},
    methods,
    raw::{PassedOn, borrowed, guarded, or_null},
    tables::{self, Table},
};
use crate::{operation_ref::OperationRef, sync::OnceLock};

/// The native part of a decorated function, which its closure holds.
///
/// Args:
///     function: The original function.
///     operation_ref: A reference to the operation that records the executions.
///     is_coroutine_function: Whether to time the coroutine that ``function`` returns, instead of the call.
#[pyclass(frozen, module = "nanospan._core")]
pub struct Tracker {
    function: Py<PyAny>,
    operation_ref: Py<OperationRef>,
    is_coroutine_function: bool,
    /// The code, defaults and keyword defaults of the wrapper when `attach` was called with it.
    pub attached: OnceLock<[Option<Py<PyAny>>; 3]>,
}

#[pymethods]
impl Tracker {
    #[new]
    fn new(
        function: Py<PyAny>,
        operation_ref: Py<OperationRef>,
        is_coroutine_function: bool,
    ) -> Self {
        Self {
            function,
            operation_ref,
            is_coroutine_function,
            attached: OnceLock::new(),
        }
    }

    // Libraries that pickle a function by value, instead of by name, pickle its closure.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let (py, tracker) = (slf.py(), slf.get());
        let arguments = (
            tracker.function.bind(py),
            tracker.operation_ref.bind(py),
            tracker.is_coroutine_function,
        );
        (slf.get_type(), arguments).into_pyobject(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.operation_ref)?;
        let mut attached = self.attached.get().into_iter().flatten();
        attached.try_for_each(|part| visit.call(part))
    }
}

impl Tracker {
    /// Calls the original with `arguments` and records the execution. Returns `None` if the Python error is set.
    /// What `keep` returns is dropped after the call; it keeps the tracker alive if the caller does not.
    #[inline(always)]
    pub fn run<'py, T>(
        &self,
        py: Python<'py>,
        arguments: &PassedOn<'_>,
        keep: impl Fn() -> T,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let function = self.function.bind(py);
        if self.is_coroutine_function {
            let _kept = keep();
            return call_for_coroutine(function, &self.operation_ref, arguments);
        }
        let operation_ref = self.operation_ref.bind(py).get();
        call_timed(function, operation_ref, arguments, keep)
    }
}

unsafe extern "C" fn call(
    tracker: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this function with the thread attached, and through a method descriptor, which checks that
    // the receiver is a Tracker. The arguments are laid out like those of a vectorcall.
    let (tracker, arguments) = unsafe {
        let tracker = borrowed(Python::assume_attached(), &tracker).cast_unchecked::<Tracker>();
        (tracker, PassedOn::of(args, count.cast_unsigned(), keywords))
    };
    let py = tracker.py();
    guarded(py, || tracker.get().run(py, &arguments, || ()).map(or_null))
}

pub static CALL: Table<ffi::PyMethodDef> = Table(tables::fast_with_keywords(
    c"call",
    call,
    c"call($self, /, *args, **kwargs)\n--\n\n\
      Call the original function, and record the execution that the call is or begins.",
));

/// Adds the method to the class. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    methods::add(&py.get_type::<Tracker>(), &CALL)
}
