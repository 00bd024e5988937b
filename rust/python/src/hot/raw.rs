//! Converts between C and Rust: raw arguments to safe references, and Rust results to the values that CPython expects.
//!
//! PyO3's wrappers convert arguments and results, count how often the thread is attached, and look up types. That takes
//! a third of the time of a call that lasts 100 ns. The functions in this folder are therefore written against the C
//! API. Each one decodes its arguments with the helpers in this module, and runs its safe code inside [`guarded`] or a
//! variant of it.

use std::{
    ffi::c_int,
    marker::PhantomData,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use pyo3::{
    Borrowed,
    exceptions::{PyRuntimeError, PyTypeError},
    ffi::{self, PySendResult},
    prelude::*,
    types::{PyString, PyTuple},
};

use crate::messages::shown;

/// Runs `body` as the body of a C function. If it fails or panics, sets the Python error and returns NULL.
///
/// A body that gets NULL from a C function can return it, because the Python error is already set.
#[inline]
pub fn guarded(
    py: Python<'_>,
    body: impl FnOnce() -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    // The error is raised inside the closure, so that the closure returns only a pointer.
    let body = || body().unwrap_or_else(|error| raise(py, error));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| raise(py, bug()))
}

#[cold]
fn raise(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    error.restore(py);
    ptr::null_mut()
}

#[cold]
fn bug() -> PyErr {
    PyRuntimeError::new_err("a bug in nanospan; please report it")
}

/// Variant of [`guarded`] for slots that cannot raise: `tp_dealloc` and `tp_finalize`. An error or a panic is passed to
/// `sys.unraisablehook`. An exception that is already being raised stays set.
#[inline]
pub fn guarded_quietly(py: Python<'_>, body: impl FnOnce() -> PyResult<()>) {
    let body = || body().unwrap_or_else(|error| report(py, error));
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        // PyO3 resumes a panic when it takes the exception of an earlier panic. In that case the hook is not called.
        let _ = catch_unwind(AssertUnwindSafe(|| report(py, bug())));
    }
}

#[cold]
fn report(py: Python<'_>, error: PyErr) {
    let pending = PyErr::take(py);
    error.write_unraisable(py, None);
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

/// Variant of [`guarded`] for `tp_traverse`, which must neither raise nor change a reference count. After a panic, the
/// objects not yet visited count as reachable, so that nothing is freed too early.
#[inline]
pub fn guarded_visit(body: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(0)
}

/// Variant of [`guarded`] for `tp_clear`: if `body` panics, sets the Python error and returns -1.
#[inline]
pub fn guarded_clear(py: Python<'_>, body: impl FnOnce()) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => 0,
        Err(_) => {
            raise(py, bug());
            -1
        }
    }
}

/// The result of one step of an iterator or a coroutine.
pub enum Progress<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    /// The step raised an exception; the Python error is set.
    Raised,
}

/// Variant of [`guarded`] for `am_send`: if `body` fails or panics, sets the Python error and returns `PYGEN_ERROR`.
///
/// # Safety
///
/// `result` must be valid for writing a pointer.
#[inline]
pub unsafe fn guarded_send<'py>(
    py: Python<'py>,
    result: *mut *mut ffi::PyObject,
    body: impl FnOnce() -> PyResult<Progress<'py>>,
) -> PySendResult {
    let mut status = PySendResult::PYGEN_ERROR;
    let value = guarded(py, || {
        let (what, value) = match body()? {
            Progress::Yielded(value) => (PySendResult::PYGEN_NEXT, value.into_ptr()),
            Progress::Returned(value) => (PySendResult::PYGEN_RETURN, value.into_ptr()),
            Progress::Raised => (PySendResult::PYGEN_ERROR, ptr::null_mut()),
        };
        status = what;
        Ok(value)
    });
    // SAFETY: promised by the caller.
    unsafe { *result = value };
    status
}

/// Converts a value to a pointer for CPython, and `None` to NULL. Does not change the current Python error.
#[inline]
pub fn or_null(value: Option<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    value.map_or(ptr::null_mut(), Bound::into_ptr)
}

/// Returns a new reference to Python's `None`.
#[inline]
pub fn none(py: Python<'_>) -> *mut ffi::PyObject {
    py.None().into_ptr()
}

/// The object that CPython passes to a slot or method as `self`: an instance of a type defined in this folder.
pub struct Receiver<'py, T> {
    py: Python<'py>,
    object: *mut ffi::PyObject,
    layout: PhantomData<&'py T>,
}

impl<'py, T> Receiver<'py, T> {
    /// Wraps the raw pointer `object`.
    ///
    /// # Safety
    ///
    /// The thread must stay attached during `'py`. `object` must outlive `'py` and have the layout of `T`, which must
    /// be `repr(C)` and begin with an `ffi::PyObject`.
    #[inline]
    pub unsafe fn of(object: *mut ffi::PyObject) -> Self {
        Self {
            // SAFETY: promised by the caller.
            py: unsafe { Python::assume_attached() },
            object,
            layout: PhantomData,
        }
    }

    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    /// Returns the object as a borrowed Python reference.
    #[inline]
    pub fn object(&self) -> Borrowed<'py, 'py, PyAny> {
        // SAFETY: the caller of `of` promised a valid object that outlives 'py.
        unsafe { Borrowed::from_ptr(self.py, self.object) }
    }

    /// Returns a new reference to the object, as a C function's result.
    #[inline]
    pub fn itself(&self) -> *mut ffi::PyObject {
        self.object().to_owned().into_ptr()
    }
}

impl<T> Deref for Receiver<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the caller of `of` promised an object with the layout of T.
        unsafe { &*self.object.cast() }
    }
}

/// Implements a slot that returns the object itself, such as `__iter__` or `__await__`.
pub unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this function with the thread attached and a valid object.
    let object = unsafe { Receiver::<ffi::PyObject>::of(object) };
    guarded(object.py(), || Ok(object.itself()))
}

/// Converts a raw pointer to a borrowed Python reference.
///
/// # Safety
///
/// `pointer` must point to a valid object that outlives `'a`.
#[inline]
pub unsafe fn borrowed<'a, 'py>(
    py: Python<'py>,
    pointer: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, PyAny> {
    // SAFETY: a Bound has the same layout as the pointer, as PyO3's documentation of `ref_from_ptr` states. The caller
    // promises a valid object, and a shared reference to a Bound never decreases the reference count.
    unsafe { Bound::ref_from_ptr(py, pointer) }
}

/// Converts a C array of arguments to a slice.
///
/// # Safety
///
/// `args` must point to `count` valid objects that outlive `'a`; it may be null if `count` is 0.
#[inline]
pub unsafe fn positional<'a, 'py>(
    _: Python<'py>,
    args: *const *mut ffi::PyObject,
    count: usize,
) -> &'a [Bound<'py, PyAny>] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as in `borrowed`, for each argument.
    unsafe { std::slice::from_raw_parts(args.cast(), count) }
}

/// The positional and keyword arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'py> {
    positional: &'a [Bound<'py, PyAny>],
    named: &'a [Bound<'py, PyAny>],
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

/// The values of `R` required and `O` optional parameters.
pub type Parsed<'a, 'py, const R: usize, const O: usize> = (
    [&'a Bound<'py, PyAny>; R],
    [Option<&'a Bound<'py, PyAny>>; O],
);

impl<'a, 'py> Arguments<'a, 'py> {
    /// Wraps the raw arguments of a call.
    ///
    /// # Safety
    ///
    /// The pointers must be those that CPython passed to a METH_FASTCALL | METH_KEYWORDS function, and must outlive
    /// `'a`.
    #[inline]
    pub unsafe fn of(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        keywords: *mut ffi::PyObject,
    ) -> Self {
        let count = count.cast_unsigned();
        // SAFETY: in the array, the positional arguments are followed by one argument for each name in the tuple.
        unsafe {
            let names = Borrowed::from_ptr_or_opt(py, keywords)
                .map(|names| names.cast_unchecked::<PyTuple>());
            let named = match &names {
                None => &[],
                Some(names) => positional(py, args.add(count), names.len()),
            };
            Self {
                positional: positional(py, args, count),
                named,
                names,
            }
        }
    }

    /// Returns the positional arguments, or `None` if there are also keyword arguments.
    #[inline]
    pub fn all_positional(&self) -> Option<&'a [Bound<'py, PyAny>]> {
        self.names.is_none().then_some(self.positional)
    }

    /// Returns the positional arguments.
    pub fn positional(&self) -> &'a [Bound<'py, PyAny>] {
        self.positional
    }

    /// Iterates over the names and values of the keyword arguments.
    pub fn named(&self) -> impl Iterator<Item = (Bound<'py, PyAny>, &'a Bound<'py, PyAny>)> {
        let names = self.names.into_iter().flat_map(|names| names.to_owned());
        names.zip(self.named)
    }

    /// Matches the arguments with the parameter names `required`, followed by `optional`, as Python does when it calls
    /// a function. `function` is the function's name in error messages.
    #[inline]
    pub fn parse<const R: usize, const O: usize>(
        &self,
        function: &str,
        required: [&str; R],
        optional: [&str; O],
    ) -> PyResult<Parsed<'a, 'py, R, O>> {
        let (mut first, mut others) = ([None; R], [None; O]);
        if self.positional.len() > R + O {
            return Err(PyTypeError::new_err(format!(
                "{function}() takes at most {} arguments, got {}",
                R + O,
                self.positional.len()
            )));
        }
        let places = first.iter_mut().chain(&mut others);
        for (place, argument) in places.zip(self.positional) {
            *place = Some(argument);
        }
        for (keyword, argument) in self.named() {
            let keyword = keyword.cast_into::<PyString>()?;
            let places = first.iter_mut().chain(&mut others);
            let mut named = required.iter().chain(&optional).zip(places);
            let found = named.find(|(name, _)| keyword == ***name);
            let Some((_, place)) = found else {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument {}",
                    shown(&keyword)
                )));
            };
            if place.replace(argument).is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument {}",
                    shown(&keyword)
                )));
            }
        }
        if let Some(missing) = first.iter().position(Option::is_none) {
            return Err(PyTypeError::new_err(format!(
                "{function}() missing required argument {:?}",
                required[missing]
            )));
        }
        Ok((first.map(|given| given.expect("checked above")), others))
    }
}

/// The arguments of a vectorcall, to be forwarded unchanged without creating a tuple.
#[derive(Clone, Copy)]
pub struct PassedOn<'a> {
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
    valid: PhantomData<&'a ()>,
}

impl PassedOn<'_> {
    /// Wraps the raw arguments of a vectorcall.
    ///
    /// # Safety
    ///
    /// The pointers must be the arguments of a vectorcall and outlive `'a`.
    #[inline]
    pub unsafe fn of(
        args: *const *mut ffi::PyObject,
        count: usize,
        keywords: *mut ffi::PyObject,
    ) -> Self {
        Self {
            args,
            count,
            keywords,
            valid: PhantomData,
        }
    }

    /// Calls `function` with the arguments. Returns `None` if the Python error is set.
    ///
    /// A Python function is called directly, which skips the look-up and the result check in `PyObject_Vectorcall`. The
    /// result is still checked, by the interpreter when the wrapper returns it.
    #[inline(always)]
    pub fn call<'py>(&self, function: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let Self {
            args,
            count,
            keywords,
            ..
        } = *self;
        let (py, function) = (function.py(), function.as_ptr());
        // SAFETY: the caller of `of` promised valid arguments, and the caller of this method keeps the function alive.
        // An object that passes PyFunction_Check has the layout of a function. The result is a new reference or NULL.
        unsafe {
            if ffi::PyFunction_Check(function) != 0
                && let Some(vectorcall) = (*function.cast::<ffi::PyFunctionObject>()).vectorcall
            {
                let result = vectorcall(function, args, count, keywords);
                return Bound::from_owned_ptr_or_opt(py, result);
            }
            let result = ffi::PyObject_Vectorcall(function, args, count, keywords);
            Bound::from_owned_ptr_or_opt(py, result)
        }
    }
}

/// Looks up the attribute `name` on `object` and, if it is missing there, on `wrapped`, the object that it wraps.
/// Returns `None` if the Python error is set.
pub fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    wrapped: &Bound<'py, PyAny>,
) -> Option<Bound<'py, PyAny>> {
    // SAFETY: all three objects are valid; the result is a new reference, or NULL with the error set.
    unsafe {
        let own = ffi::PyObject_GenericGetAttr(object.as_ptr(), name.as_ptr());
        if !own.is_null() || ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) == 0 {
            return Bound::from_owned_ptr_or_opt(object.py(), own);
        }
        ffi::PyErr_Clear();
        let found = ffi::PyObject_GetAttr(wrapped.as_ptr(), name.as_ptr());
        Bound::from_owned_ptr_or_opt(object.py(), found)
    }
}
