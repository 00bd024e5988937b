//! From C to Rust and back: arguments become safe references, and answers become what CPython expects.
//!
//! PyO3's wrappers convert arguments and results, count attachments and look types up; on a path of a
//! hundred nanoseconds that is a third of the whole. The functions of this folder are therefore written
//! against the C API. Each decodes its arguments with what is here, and runs the rest, which is safe code,
//! inside [`guarded`] or one of its relatives.

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

/// Runs `body` as the body of a C function: an error or a panic becomes the Python error and NULL.
///
/// A body that calls Python and gets NULL returns NULL: the Python error is set already.
#[inline]
pub fn guarded(
    py: Python<'_>,
    body: impl FnOnce() -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    // The error is raised inside, so that only a pointer has to come out through memory.
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

/// As [`guarded`], for slots that cannot raise: `tp_dealloc` and `tp_finalize`. What goes wrong is handed to
/// `sys.unraisablehook`, and an exception that is being raised meanwhile stays the current one.
#[inline]
pub fn guarded_quietly(py: Python<'_>, body: impl FnOnce() -> PyResult<()>) {
    let body = || body().unwrap_or_else(|error| report(py, error));
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        // Taking an exception that another panic left resumes that panic; then the hook is not called.
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

/// As [`guarded`], for `tp_traverse`, which must neither raise nor touch a count of references. What a
/// panic left out counts as reachable, so that nothing is freed too early.
#[inline]
pub fn guarded_visit(body: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(0)
}

/// As [`guarded`], for `tp_clear`: an error or a panic becomes the Python error and -1.
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

/// What a step of an iterator or a coroutine came to.
pub enum Progress<'py> {
    Yielded(Bound<'py, PyAny>),
    Returned(Bound<'py, PyAny>),
    /// The Python error is set.
    Raised,
}

/// As [`guarded`], for `am_send`: an error or a panic becomes the Python error and `PYGEN_ERROR`.
///
/// # Safety
///
/// `result` is a place for the result.
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
    // SAFETY: the caller's.
    unsafe { *result = value };
    status
}

/// NULL, as the answer of a function that leaves the current Python error as it is, for an absent value.
#[inline]
pub fn or_null(value: Option<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    value.map_or(ptr::null_mut(), Bound::into_ptr)
}

/// A new reference to `None`.
#[inline]
pub fn none(py: Python<'_>) -> *mut ffi::PyObject {
    py.None().into_ptr()
}

/// The object that CPython calls a function for, an instance of a type of this folder.
pub struct Receiver<'py, T> {
    py: Python<'py>,
    object: *mut ffi::PyObject,
    layout: PhantomData<&'py T>,
}

impl<'py, T> Receiver<'py, T> {
    /// The receiver behind `object`.
    ///
    /// # Safety
    ///
    /// The thread is attached, and stays so during `'py`; `object` outlives `'py`, and is laid out as a
    /// `T`, which is `repr(C)` and begins with an `ffi::PyObject`.
    #[inline]
    pub unsafe fn of(object: *mut ffi::PyObject) -> Self {
        Self {
            // SAFETY: the caller's.
            py: unsafe { Python::assume_attached() },
            object,
            layout: PhantomData,
        }
    }

    #[inline]
    pub fn py(&self) -> Python<'py> {
        self.py
    }

    /// The object as such.
    #[inline]
    pub fn object(&self) -> Borrowed<'py, 'py, PyAny> {
        // SAFETY: `of` was promised a valid object that outlives 'py.
        unsafe { Borrowed::from_ptr(self.py, self.object) }
    }

    /// A new reference to the object, as an answer.
    #[inline]
    pub fn itself(&self) -> *mut ffi::PyObject {
        self.object().to_owned().into_ptr()
    }
}

impl<T> Deref for Receiver<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `of` was promised a T.
        unsafe { &*self.object.cast() }
    }
}

/// A slot that answers with the object itself: `__iter__`, `__await__`.
pub unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this, attached, with a valid object.
    let object = unsafe { Receiver::<ffi::PyObject>::of(object) };
    guarded(object.py(), || Ok(object.itself()))
}

/// A reference to what `pointer` points to, for the time that the caller keeps it alive.
///
/// # Safety
///
/// `pointer` is a valid object that outlives `'a`.
#[inline]
pub unsafe fn borrowed<'a, 'py>(
    py: Python<'py>,
    pointer: &'a *mut ffi::PyObject,
) -> &'a Bound<'py, PyAny> {
    // SAFETY: a Bound is laid out as the pointer (it is what PyO3 documents `ref_from_ptr` with); the
    // caller vouches for the object, and nothing decreases its count through a reference.
    unsafe { Bound::ref_from_ptr(py, pointer) }
}

/// Positional arguments.
///
/// # Safety
///
/// `args` holds `count` valid objects that outlive `'a`; it may be null if there are none.
#[inline]
pub unsafe fn positional<'a, 'py>(
    _: Python<'py>,
    args: *const *mut ffi::PyObject,
    count: usize,
) -> &'a [Bound<'py, PyAny>] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as in `borrowed`, for each of them.
    unsafe { std::slice::from_raw_parts(args.cast(), count) }
}

/// The arguments of a function that takes them by position and by name.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'py> {
    positional: &'a [Bound<'py, PyAny>],
    named: &'a [Bound<'py, PyAny>],
    names: Option<Borrowed<'a, 'py, PyTuple>>,
}

/// Arguments that must be there, and others that may be.
pub type Parsed<'a, 'py, const R: usize, const O: usize> = (
    [&'a Bound<'py, PyAny>; R],
    [Option<&'a Bound<'py, PyAny>>; O],
);

impl<'a, 'py> Arguments<'a, 'py> {
    /// # Safety
    ///
    /// The arguments are those that CPython passed to a METH_FASTCALL | METH_KEYWORDS function, and outlive
    /// `'a`.
    #[inline]
    pub unsafe fn of(
        py: Python<'py>,
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        keywords: *mut ffi::PyObject,
    ) -> Self {
        let count = count.cast_unsigned();
        // SAFETY: behind the positional arguments stands one for each name in the tuple.
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

    /// The arguments by position, if there are no others.
    #[inline]
    pub fn all_positional(&self) -> Option<&'a [Bound<'py, PyAny>]> {
        self.names.is_none().then_some(self.positional)
    }

    /// Those by position alone.
    pub fn positional(&self) -> &'a [Bound<'py, PyAny>] {
        self.positional
    }

    /// Those by name.
    pub fn named(&self) -> impl Iterator<Item = (Bound<'py, PyAny>, &'a Bound<'py, PyAny>)> {
        let names = self.names.into_iter().flat_map(|names| names.to_owned());
        names.zip(self.named)
    }

    /// The arguments called `required` and `optional`, in this order.
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
                    "{function}() got an unexpected keyword argument {keyword:?}"
                )));
            };
            if place.replace(argument).is_some() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument {keyword:?}"
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

/// The arguments of a vectorcall, to be passed on as they came, without a tuple being made.
#[derive(Clone, Copy)]
pub struct PassedOn<'a> {
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
    valid: PhantomData<&'a ()>,
}

impl PassedOn<'_> {
    /// # Safety
    ///
    /// The arguments are those of a vectorcall, and outlive `'a`.
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

    /// Calls `function`: a Python function directly, which spares `PyObject_Vectorcall`'s look-up and its check
    /// of the result. The wrapper's caller checks that result. `None` says that the Python error is set.
    #[inline(always)]
    pub fn call<'py>(&self, function: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
        let Self {
            args,
            count,
            keywords,
            ..
        } = *self;
        let (py, function) = (function.py(), function.as_ptr());
        // SAFETY: `of` was promised valid arguments, and the caller keeps the function; what is exactly a
        // function is laid out as one. The result is a new reference or NULL.
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

/// The attribute `name` of `object` itself, else of what it wraps; `None` says that the Python error is set.
pub fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    wrapped: &Bound<'py, PyAny>,
) -> Option<Bound<'py, PyAny>> {
    // SAFETY: object and name are valid; the result is a new reference or NULL, with the error set.
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
