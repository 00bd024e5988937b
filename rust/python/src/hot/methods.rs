//! The calls that record, as functions taking a C array of arguments.
//!
//! The look-up of an operation's name rides on the string's cached hash: the dict compares interned
//! strings by identity. What PyO3's `#[pymethods]` offer stands on [`Monitor`] and [`Operation`] in
//! `monitor` and `operation`; these functions are added to the same classes as method descriptors.

use nanospan_record::{Measured, Outcome, Seconds};
use pyo3::{
    ffi, intern,
    prelude::*,
    types::{PyDict, PyFloat, PyString, PyType},
};

use super::{
    raw::{self, Table, borrowed, guarded},
    span,
};
use crate::{
    arguments::{number, truth},
    error, metadata,
    monitor::Monitor,
    names,
    operation::Operation,
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
unsafe fn with_operation<'py, T>(
    py: Python<'py>,
    monitor: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    then: impl FnOnce(&Bound<'py, Operation>) -> PyResult<T>,
) -> PyResult<T> {
    // SAFETY: the caller passes a Monitor and a valid object; what the monitor remembers lives as long
    // as the monitor, which the caller keeps.
    unsafe {
        let monitor = borrowed(py, &monitor).cast_unchecked::<Monitor>().get();
        if let Some(recent) = monitor.recent() {
            let found = recent.find(py, name);
            if !found.is_null() {
                return then(borrowed(py, &found).cast_unchecked());
            }
        }
        then(&monitor.operation_of(borrowed(py, &name))?)
    }
}

/// A new span of `operation`, its metadata checked.
#[inline]
unsafe fn span_of(
    py: Python<'_>,
    operation: &Bound<'_, Operation>,
    given: *mut ffi::PyObject,
) -> PyResult<*mut ffi::PyObject> {
    let given = optional(given);
    if given.is_null() {
        return Ok(span::new(operation, None)?.into_ptr());
    }
    // SAFETY: the caller passes a valid argument or null.
    let given = unsafe { borrowed(py, &given) };
    let made = match given.cast::<PyDict>() {
        Ok(dict) => span::new(operation, Some(dict)),
        Err(_) => span::new(operation, Some(&metadata::given(given)?)),
    };
    Ok(made?.into_ptr())
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
            let operation = borrowed(py, &operation).cast_unchecked::<Operation>();
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
