//! The recording methods of [`Monitor`] and [`Operation`], as C functions that take an array of arguments.
//!
//! They are added to the two classes as method descriptors; all other methods are written with PyO3's `#[pymethods]` in
//! `monitor` and `operation`. Looking up an operation's name is fast because a string caches its hash and the dict
//! compares interned strings by identity.

use nanospan_record::{Measured, Outcome, Seconds};
use pyo3::{
    ffi, intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyString, PyType},
};

use super::{
    raw::{Arguments, borrowed, guarded, none},
    span,
    tables::{self, Table},
};
use crate::{
    arguments::{number, truth},
    error,
    messages::shown,
    metadata,
    monitor::Monitor,
    names,
    operation::Operation,
};

// The SAFETY comments refer to this: CPython calls every function below with the thread attached, through a method
// descriptor, which checks that the first argument is an instance of its class.

/// Converts the raw arguments of a METH_FASTCALL | METH_KEYWORDS method of `T` to the receiver and the arguments.
///
/// # Safety
///
/// The pointers must be those that CPython passed to such a method, and must outlive `'a`.
#[inline]
unsafe fn called<'a, T>(
    receiver: &'a *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> (Python<'a>, &'a Bound<'a, T>, Arguments<'a, 'a>) {
    // SAFETY: promised by the caller.
    unsafe {
        let py = Python::assume_attached();
        let receiver = borrowed(py, receiver).cast_unchecked();
        (py, receiver, Arguments::of(py, args, count, keywords))
    }
}

unsafe extern "C" fn track_operation(
    monitor: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (py, monitor, arguments) = unsafe { called::<Monitor>(&monitor, args, count, keywords) };
    guarded(py, || {
        let (name, given) = match arguments.all_positional() {
            Some([name]) => (name, None),
            Some([name, given]) => (name, Some(given)),
            _ => {
                let ([name], [given]) =
                    arguments.parse("track_operation", ["operation"], ["metadata"])?;
                (name, given)
            }
        };
        with_operation(monitor, name, |operation| span_of(operation, given))
    })
}

unsafe extern "C" fn track(
    operation: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (py, operation, arguments) =
        unsafe { called::<Operation>(&operation, args, count, keywords) };
    guarded(py, || {
        let given = match arguments.all_positional() {
            Some([]) => None,
            Some([given]) => Some(given),
            _ => {
                let ([], [given]) = arguments.parse("track", [], ["metadata"])?;
                given
            }
        };
        span_of(operation, given)
    })
}

unsafe extern "C" fn record_metric(
    monitor: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (py, monitor, arguments) = unsafe { called::<Monitor>(&monitor, args, count, keywords) };
    guarded(py, || {
        let (required, optional) = (["operation", "duration"], ["success", "metadata"]);
        let ([name, duration], optional) = arguments.parse("record_metric", required, optional)?;
        // The arguments are checked first, so that a rejected call does not create an operation.
        let sample = Sample::checked(duration, optional, || names::check(name))?;
        with_operation(monitor, name, |operation| sample.record(operation))?;
        Ok(none(py))
    })
}

unsafe extern "C" fn record(
    operation: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    let (py, operation, arguments) =
        unsafe { called::<Operation>(&operation, args, count, keywords) };
    guarded(py, || {
        let optional = ["success", "metadata"];
        let ([duration], optional) = arguments.parse("record", ["duration"], optional)?;
        let sample = Sample::checked(duration, optional, || Ok(operation.get().name(py)))?;
        sample.record(operation)?;
        Ok(none(py))
    })
}

/// Calls `then` with the operation named `name`, creating the operation on first use.
#[inline]
fn with_operation<'py, T>(
    monitor: &Bound<'py, Monitor>,
    name: &Bound<'py, PyAny>,
    then: impl FnOnce(&Bound<'py, Operation>) -> PyResult<T>,
) -> PyResult<T> {
    let monitor = monitor.get();
    if let Some(found) = monitor.recent(name) {
        return then(&found);
    }
    then(&monitor.operation_of(name)?)
}

/// Checks the metadata argument and returns a new span of `operation`.
#[inline]
fn span_of<'py>(
    operation: &Bound<'py, Operation>,
    given: Option<&Bound<'py, PyAny>>,
) -> PyResult<*mut ffi::PyObject> {
    let span = match given.filter(|given| !given.is_none()) {
        None => span::new(operation, None),
        Some(given) => match given.cast::<PyDict>() {
            Ok(dict) => span::new(operation, Some(dict)),
            Err(_) => span::new(operation, Some(&metadata::given(given)?)),
        },
    };
    Ok(span?.into_ptr())
}

/// The checked arguments of a call that records a sample.
struct Sample<'py> {
    seconds: Seconds,
    outcome: Outcome,
    given: Option<Bound<'py, PyDict>>,
}

impl<'py> Sample<'py> {
    /// Checks the arguments. `name`, which returns the operation's name, is called only to build an error message.
    #[inline]
    fn checked<'a>(
        duration: &Bound<'py, PyAny>,
        [success, given]: [Option<&Bound<'py, PyAny>>; 2],
        name: impl Fn() -> PyResult<&'a Bound<'py, PyString>>,
    ) -> PyResult<Self>
    where
        'py: 'a,
    {
        let asked = || match name() {
            Ok(name) => format!("duration of operation {}", shown(name)),
            Err(_) => "duration".to_owned(),
        };
        let seconds = match duration.cast_exact::<PyFloat>() {
            Ok(float) => float.value(),
            Err(_) => number(duration, asked)?,
        };
        let seconds = match Seconds::new(seconds) {
            Ok(seconds) => seconds,
            Err(refused) => return Err(error::to_python(&asked(), &refused)),
        };
        let succeeded = match success {
            None => true,
            Some(success) => match success.cast_exact::<PyBool>() {
                Ok(success) => success.is_true(),
                Err(_) => truth(success)?,
            },
        };
        let metadata = match given.filter(|given| !given.is_none()) {
            None => None,
            Some(given) => Some(metadata::given(given)?),
        };
        Ok(Self {
            seconds,
            outcome: match succeeded {
                true => Outcome::Ok,
                false => Outcome::Error,
            },
            given: metadata.filter(|metadata| !metadata.is_empty()),
        })
    }

    #[inline]
    fn record(self, operation: &Bound<'py, Operation>) -> PyResult<()> {
        let (py, operation) = (operation.py(), operation.get());
        let end = operation.core().clock().ticks();
        let duration = Measured::Seconds(self.seconds);
        if self.outcome == Outcome::Ok && self.given.is_none() {
            return operation.record_plain(py, end, duration);
        }
        let kept = self.given.map(|given| operation.copy(&given)).transpose();
        operation.record(py, end, duration, self.outcome, kept)
    }
}

static TRACK_OPERATION: Table<ffi::PyMethodDef> = Table(tables::fast_with_keywords(
    c"track_operation",
    track_operation,
    c"track_operation($self, /, operation, metadata=None)\n--\n\n\
      Return a new span of an operation, for use with ``with`` or ``async with``, or as a decorator.\n\n\
      Args:\n    operation: The operation's name, a non-empty string.\n    \
      metadata: A mapping to keep with the sample. It is copied when the block ends, and never\n        modified.\n\n\
      Raises:\n    TypeError: If an argument has the wrong type.\n    ValueError: If the name is empty.",
));

static RECORD_METRIC: Table<ffi::PyMethodDef> = Table(tables::fast_with_keywords(
    c"record_metric",
    record_metric,
    c"record_metric($self, /, operation, duration, success=True, metadata=None)\n--\n\n\
      Record a duration that was measured elsewhere.\n\n\
      Args:\n    operation: The operation's name, a non-empty string.\n    \
      duration: Duration in seconds, from 0 to 584 years; it is stored without rounding.\n    \
      success: Whether the execution succeeded.\n    \
      metadata: A mapping to keep with the sample; it is copied.\n\n\
      Raises:\n    TypeError: If an argument has the wrong type.\n    \
      ValueError: If the duration is negative, longer than 584 years or NaN, or the name is empty.",
));

static TRACK: Table<ffi::PyMethodDef> = Table(tables::fast_with_keywords(
    c"track",
    track,
    c"track($self, /, metadata=None)\n--\n\n\
      Return a new span, like ``monitor.track_operation`` but without looking up the operation's name.",
));

static RECORD: Table<ffi::PyMethodDef> = Table(tables::fast_with_keywords(
    c"record",
    record,
    c"record($self, /, duration, success=True, metadata=None)\n--\n\n\
      Record a duration in seconds, like ``monitor.record_metric`` but without looking up the\n\
      operation's name.",
));

/// Adds the methods to their classes. Must be called once, when the module is loaded.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    let monitor = py.get_type::<Monitor>();
    let operation = py.get_type::<Operation>();
    for (class, method) in [
        (&monitor, &TRACK_OPERATION),
        (&monitor, &RECORD_METRIC),
        (&operation, &TRACK),
        (&operation, &RECORD),
    ] {
        add(class, method)?;
    }
    Ok(())
}

/// Adds a method that takes an instance of `class` as its receiver.
pub fn add(class: &Bound<'_, PyType>, method: &'static Table<ffi::PyMethodDef>) -> PyResult<()> {
    // SAFETY: the definition is static and, as a Table, is only read; a descriptor checks that `self` is an instance of
    // the class before it calls the function.
    let descriptor = unsafe {
        let definition = (&raw const method.0).cast_mut();
        let made = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(class.py(), made)?
    };
    let name = descriptor.getattr(intern!(class.py(), "__name__"))?;
    class
        .as_any()
        .setattr(name.cast::<PyString>()?, &descriptor)
}
