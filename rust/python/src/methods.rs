//! The calls that record, as functions taking a C array of arguments.
//!
//! The look-up of an operation's name rides on the string's cached hash: the dict compares interned
//! strings by identity. What PyO3's `#[pymethods]` offer stands on [`Monitor`] and [`Operation`] in
//! `monitor` and `operation`; these functions are added to the same classes as method descriptors.
#![allow(unsafe_code, reason = "raw functions, see `raw`")]

use nanospan_record::{Measured, Outcome, Seconds};
use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    ffi, intern,
    prelude::*,
    types::{PyDict, PyFloat, PyInt, PyString, PyType},
};

use crate::{
    error, metadata,
    monitor::Monitor,
    names,
    operation::Operation,
    raw::{self, Table, borrowed, guarded},
    span,
};

// Every function below is called by CPython, attached, through a method descriptor, which checks
// that the first argument is an instance of its class: that is what the SAFETY arguments refer to.

/// An absent or None argument, else null.
#[inline]
fn optional(argument: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: None exists as long as the interpreter.
    if argument == unsafe { ffi::Py_None() } {
        std::ptr::null_mut()
    } else {
        argument
    }
}

/// Calls `then` with the operation called `name`, an object that stays alive meanwhile.
#[inline]
unsafe fn with_operation<T>(
    py: Python<'_>,
    monitor: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    then: impl FnOnce(*mut ffi::PyObject) -> PyResult<T>,
) -> PyResult<T> {
    // SAFETY: the caller passes a Monitor and a valid object; what the monitor remembers lives as long
    // as the monitor, which the caller keeps.
    unsafe {
        let monitor = borrowed(py, &monitor).cast_unchecked::<Monitor>().get();
        if let Some(recent) = monitor.recent() {
            let found = recent.find(py, name);
            if !found.is_null() {
                return then(found);
            }
        }
        then(monitor.operation_of(borrowed(py, &name))?.as_ptr())
    }
}

/// A new span of `operation`, its metadata checked.
#[inline]
unsafe fn span_of(
    py: Python<'_>,
    operation: *mut ffi::PyObject,
    given: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    let given = optional(given);
    // SAFETY: the caller passes an Operation and a valid argument or null.
    unsafe {
        if given.is_null() || ffi::PyDict_Check(given) != 0 {
            return Ok(span::new(operation, given));
        }
        let converted = metadata::given(borrowed(py, &given))?;
        Ok(span::new(operation, converted.as_ptr()))
    }
}

unsafe extern "C" fn track_operation(
    monitor: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let [name, given] = match count {
                1 if keywords.is_null() => [*args, std::ptr::null_mut()],
                2 if keywords.is_null() => [*args, *args.add(1)],
                _ => {
                    let names = ["operation", "metadata"];
                    let count = usize::try_from(count)?;
                    raw::arguments(py, "track_operation", names, 1, args, count, keywords)?
                }
            };
            with_operation(py, monitor, name, |operation| span_of(py, operation, given))
        })
    }
}

unsafe extern "C" fn track(
    operation: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let count = usize::try_from(count)?;
            let [given] = raw::arguments(py, "track", ["metadata"], 0, args, count, keywords)?;
            span_of(py, operation, given)
        })
    }
}

unsafe extern "C" fn record_metric(
    monitor: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let names = ["operation", "duration", "success", "metadata"];
            let count = usize::try_from(count)?;
            let [name, rest @ ..] =
                raw::arguments(py, "record_metric", names, 2, args, count, keywords)?;
            // Bad arguments are refused before a new name is taken in.
            let sample = Sample::checked(py, rest, || names::check(borrowed(py, &name)))?;
            with_operation(py, monitor, name, |operation| {
                let operation = borrowed(py, &operation).cast_unchecked::<Operation>();
                sample.record(py, operation.get())
            })?;
            Ok(raw::none())
        })
    }
}

unsafe extern "C" fn record(
    operation: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        guarded(|py| {
            let operation = borrowed(py, &operation).cast_unchecked::<Operation>().get();
            let names = ["duration", "success", "metadata"];
            let count = usize::try_from(count)?;
            let given = raw::arguments(py, "record", names, 1, args, count, keywords)?;
            let sample = Sample::checked(py, given, || Ok(operation.name(py)))?;
            sample.record(py, operation)?;
            Ok(raw::none())
        })
    }
}

/// A duration as a float; `asked` says what for, in an error.
pub fn number(value: &Bound<'_, PyAny>, asked: impl FnOnce() -> String) -> PyResult<f64> {
    let py = value.py();
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(py) {
            PyValueError::new_err(format!("{}: an int too large for a float", asked()))
        } else if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("{}: seconds, got {}", asked(), value.get_type()))
        } else {
            error
        }
    })
}

/// Success as a bool, or as the 0 or 1 that other code has for it.
fn truth(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyInt>() {
        return value.is_truthy();
    }
    value
        .extract()
        .map_err(|_| PyTypeError::new_err(format!("success is a bool, got {}", value.get_type())))
}

/// The arguments of a record.
struct Sample<'py> {
    seconds: Seconds,
    outcome: Outcome,
    given: Option<Bound<'py, PyDict>>,
}

impl<'py> Sample<'py> {
    /// Checks duration, success and metadata; `name` is asked for an error's sake only.
    #[inline]
    unsafe fn checked<'a>(
        py: Python<'py>,
        [duration, success, given]: [*mut ffi::PyObject; 3],
        name: impl Fn() -> PyResult<&'a Bound<'py, PyString>>,
    ) -> PyResult<Self>
    where
        'py: 'a,
    {
        // SAFETY: the arguments are valid objects; True and False exist as long as the interpreter.
        unsafe {
            let asked = || match name() {
                Ok(name) => format!("duration of operation {name:?}"),
                Err(_) => "duration".to_owned(),
            };
            let duration = borrowed(py, &duration);
            let seconds = match duration.cast_exact::<PyFloat>() {
                Ok(float) => float.value(),
                Err(_) => number(duration, asked)?,
            };
            let seconds = match Seconds::new(seconds) {
                Ok(seconds) => seconds,
                Err(refused) => return Err(error::to_python(&asked(), &refused)),
            };
            let outcome = if success.is_null() || success == ffi::Py_True() {
                Outcome::Ok
            } else if success == ffi::Py_False() || !truth(borrowed(py, &success))? {
                Outcome::Error
            } else {
                Outcome::Ok
            };
            let given = optional(given);
            let metadata = match given.is_null() {
                true => None,
                false => Some(metadata::given(borrowed(py, &given))?),
            };
            Ok(Self {
                seconds,
                outcome,
                given: metadata.filter(|metadata| !metadata.is_empty()),
            })
        }
    }

    #[inline]
    fn record(self, py: Python<'py>, operation: &Operation) -> PyResult<()> {
        let end = operation.core().clock().ticks();
        let duration = Measured::Seconds(self.seconds);
        if self.outcome == Outcome::Ok && self.given.is_none() {
            return operation.record_plain(py, end, duration);
        }
        let kept = self.given.map(|given| operation.copy(&given)).transpose()?;
        operation.record(py, end, duration, self.outcome, kept)
    }
}

static TRACK_OPERATION: Table<ffi::PyMethodDef> = Table(raw::fast_with_keywords(
    c"track_operation",
    track_operation,
    c"track_operation($self, /, operation, metadata=None)\n--\n\n\
      A new span of an operation, for `with`, `async with`, or as a decorator.\n\n\
      Args:\n    operation: The operation's name, a non-empty string.\n    \
      metadata: A dict kept with the sample; it is copied when the block ends, never written to.\n\n\
      Raises:\n    TypeError: If a type is wrong.\n    ValueError: If the name is empty.",
));

static RECORD_METRIC: Table<ffi::PyMethodDef> = Table(raw::fast_with_keywords(
    c"record_metric",
    record_metric,
    c"record_metric($self, /, operation, duration, success=True, metadata=None)\n--\n\n\
      Records a duration that was measured elsewhere.\n\n\
      Args:\n    operation: The operation's name, a non-empty string.\n    \
      duration: Seconds, finite and not negative; comes back bit for bit.\n    \
      success: Whether the execution succeeded.\n    \
      metadata: A dict kept with the sample; it is copied.\n\n\
      Raises:\n    TypeError: If a type is wrong.\n    \
      ValueError: If the duration is negative, infinite or NaN, or the name is empty.",
));

static TRACK: Table<ffi::PyMethodDef> = Table(raw::fast_with_keywords(
    c"track",
    track,
    c"track($self, /, metadata=None)\n--\n\n\
      A new span of this operation, like `monitor.track_operation` without the look-up.",
));

static RECORD: Table<ffi::PyMethodDef> = Table(raw::fast_with_keywords(
    c"record",
    record,
    c"record($self, /, duration, success=True, metadata=None)\n--\n\n\
      Records a duration, like `monitor.record_metric` without the look-up.",
));

/// Adds the functions to their classes; called once, when the module is loaded.
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

fn add(class: &Bound<'_, PyType>, method: &'static Table<ffi::PyMethodDef>) -> PyResult<()> {
    // SAFETY: the definition is static and, as a Table, only read; a descriptor checks that `self` is
    // an instance of the class before it calls the function.
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
