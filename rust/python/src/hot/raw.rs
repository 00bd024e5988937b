//! The C interface under the few types and functions whose call overhead matters.
//!
//! PyO3's wrappers convert arguments and results, count attachments and look types up; on a path of a
//! hundred nanoseconds that is a third of the whole. The types of `span`, `function` and `coroutine`
//! and the functions of `methods` are therefore written against the C API, and everything they have
//! in common is here.

use std::{
    ffi::{CStr, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{
    exceptions::{PyRuntimeError, PyTypeError},
    ffi,
    prelude::*,
    types::{PyString, PyType},
};

/// Runs `body` as the body of a C function: an error or a panic becomes the Python error and NULL.
///
/// # Safety
///
/// The calling thread is attached to the interpreter, as it is in every function that Python calls.
#[inline]
pub unsafe fn guarded(
    body: impl FnOnce(Python<'_>) -> PyResult<*mut ffi::PyObject>,
) -> *mut ffi::PyObject {
    // SAFETY: the caller vouches for the attachment, which outlasts this call.
    let py = unsafe { Python::assume_attached() };
    // The error is raised inside, so that no more than a pointer has to come out through memory.
    let body = || body(py).unwrap_or_else(|error| raise(py, error));
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let error = PyRuntimeError::new_err("a bug in nanospan; please report it");
        raise(py, error)
    })
}

#[cold]
fn raise(py: Python<'_>, error: PyErr) -> *mut ffi::PyObject {
    error.restore(py);
    ptr::null_mut()
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

/// A new reference to `None`.
#[inline]
pub fn none() -> *mut ffi::PyObject {
    // SAFETY: None exists as long as the interpreter.
    unsafe {
        let none = ffi::Py_None();
        ffi::Py_INCREF(none);
        none
    }
}

/// A type made once, when the module is loaded.
pub struct RawType(AtomicPtr<ffi::PyTypeObject>);

impl RawType {
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub fn get(&self) -> *mut ffi::PyTypeObject {
        // Relaxed: set while the module is imported, which happens before any use of what it exports.
        self.0.load(Ordering::Relaxed)
    }

    /// Makes the type from `slots` and keeps it for ever.
    ///
    /// # Safety
    ///
    /// Each slot's function has the signature the slot asks for, `size` is that of a `repr(C)` struct
    /// beginning with `ffi::PyObject`, and `name` and method tables are static.
    pub unsafe fn make<'py>(
        &self,
        py: Python<'py>,
        name: &'static CStr,
        size: usize,
        flags: std::ffi::c_ulong,
        slots: &mut [ffi::PyType_Slot],
    ) -> PyResult<Bound<'py, PyType>> {
        debug_assert!(slots.last().is_some_and(|slot| slot.slot == 0));
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: i32::try_from(size)?,
            itemsize: 0,
            #[allow(
                clippy::cast_possible_truncation,
                reason = "type flags are 32 bits wide"
            )]
            flags: (ffi::Py_TPFLAGS_DEFAULT
                | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
                | ffi::Py_TPFLAGS_IMMUTABLETYPE
                | flags) as u32,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: the caller vouches for the contents; PyType_FromSpec copies spec and slots.
        let made = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))?
                .cast_into_unchecked::<PyType>()
        };
        // SAFETY: nobody else knows the type yet.
        unsafe { make_immortal(made.as_ptr()) };
        self.0
            .store(made.clone().into_ptr().cast(), Ordering::Relaxed);
        Ok(made)
    }
}

/// Exempts an object that is never freed from counting references, where the count would be a cache
/// line that all threads write to.
///
/// # Safety
///
/// The thread is attached, `object` is valid, and no other thread knows it.
pub unsafe fn make_immortal(object: *mut ffi::PyObject) {
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: this is how CPython marks its own immortal objects (_Py_SetImmortal): the largest local
    // count, no owner. Nobody else reads or writes the fields meanwhile.
    unsafe {
        (*object).ob_tid = 0;
        (*object).ob_ref_local.store(u32::MAX, Ordering::Relaxed);
        (*object).ob_ref_shared.store(0, Ordering::Relaxed);
    }
    #[cfg(not(Py_GIL_DISABLED))]
    let _ = object;
}

/// A slot that holds a function or a table.
pub const fn slot(number: std::ffi::c_int, pointer: *const c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: number,
        pfunc: pointer.cast_mut(),
    }
}

/// The end of a slot table.
pub const END: ffi::PyType_Slot = ffi::PyType_Slot {
    slot: 0,
    pfunc: ptr::null_mut(),
};

/// A method taking positional arguments as a C array.
pub const fn fast(
    name: &'static CStr,
    function: ffi::PyCFunctionFast,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFast: function,
        },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

/// A method taking positional and keyword arguments as a C array.
pub const fn fast_with_keywords(
    name: &'static CStr,
    function: ffi::PyCFunctionFastWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: function,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// A method without arguments, or with exactly one if `flags` says METH_O.
pub const fn plain(
    name: &'static CStr,
    function: ffi::PyCFunction,
    flags: std::ffi::c_int,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunction: function,
        },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

/// A read-only property.
pub const fn property(
    name: &'static CStr,
    get: ffi::getter,
    doc: &'static CStr,
) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: doc.as_ptr(),
        closure: ptr::null_mut(),
    }
}

/// The end of a table of properties.
pub const LAST_PROPERTY: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: ptr::null(),
    get: None,
    set: None,
    doc: ptr::null(),
    closure: ptr::null_mut(),
};

/// Says where in the struct CPython finds something.
pub const fn offset(name: &'static CStr, at: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: at.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// The end of a table of offsets.
pub const LAST_MEMBER: ffi::PyMemberDef = ffi::PyMemberDef {
    name: ptr::null(),
    type_code: 0,
    offset: 0,
    flags: 0,
    doc: ptr::null(),
};

/// A table that C code reads and nobody writes.
#[repr(transparent)]
pub struct Table<T>(pub T);

// SAFETY: the tables hold pointers to static strings and functions; CPython only reads them.
unsafe impl<T> Sync for Table<T> {}

/// The arguments of a call, by position or by name: `N` of them at the most, absent ones null.
///
/// # Safety
///
/// The arguments are those that CPython passed to a METH_FASTCALL | METH_KEYWORDS function.
pub unsafe fn arguments<const N: usize>(
    py: Python<'_>,
    function: &str,
    names: [&str; N],
    required: usize,
    args: *const *mut ffi::PyObject,
    positional: usize,
    keywords: *mut ffi::PyObject,
) -> PyResult<[*mut ffi::PyObject; N]> {
    let mut given = [ptr::null_mut(); N];
    if positional > N {
        return Err(PyTypeError::new_err(format!(
            "{function}() takes at most {N} arguments ({positional} given)"
        )));
    }
    for (i, slot) in given.iter_mut().take(positional).enumerate() {
        // SAFETY: the array holds `positional` arguments, then one for each keyword.
        *slot = unsafe { *args.add(i) };
    }
    if !keywords.is_null() {
        // SAFETY: CPython passes a tuple of str.
        let keywords = unsafe { borrowed(py, &keywords) };
        for (i, keyword) in keywords.try_iter()?.enumerate() {
            let keyword = keyword?.cast_into::<PyString>()?;
            let at = names.iter().position(|name| keyword == **name);
            let slot = at.and_then(|at| given.get_mut(at)).ok_or_else(|| {
                PyTypeError::new_err(format!(
                    "{function}() got an unexpected keyword argument {keyword:?}"
                ))
            })?;
            if !slot.is_null() {
                return Err(PyTypeError::new_err(format!(
                    "{function}() got multiple values for argument {keyword:?}"
                )));
            }
            // SAFETY: as above.
            *slot = unsafe { *args.add(positional + i) };
        }
    }
    if let Some(missing) = given[..required]
        .iter()
        .position(|argument| argument.is_null())
    {
        return Err(PyTypeError::new_err(format!(
            "{function}() missing required argument {:?}",
            names[missing]
        )));
    }
    Ok(given)
}

/// An owned reference in a raw struct, or nothing, that may be taken once by whoever comes first.
pub struct Slot(AtomicPtr<ffi::PyObject>);

impl Slot {
    /// Takes `object` over; null is nothing.
    #[inline]
    pub const fn new(object: *mut ffi::PyObject) -> Self {
        Self(AtomicPtr::new(object))
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        // Relaxed: whoever may call this owns or borrows the surrounding object already, and the
        // reference was put in before that object was published.
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// What is in it, which stays there.
    #[inline]
    pub fn peek(&self) -> *mut ffi::PyObject {
        self.0.load(Ordering::Relaxed)
    }

    /// Empties the slot.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        if self.is_empty() {
            return None;
        }
        // Relaxed: the pointee was published with the surrounding object; this only decides who owns the
        // reference. The GIL decides it, too, without a locked instruction.
        #[cfg(Py_GIL_DISABLED)]
        let taken = self.0.swap(ptr::null_mut(), Ordering::Relaxed);
        #[cfg(not(Py_GIL_DISABLED))]
        let taken = self.peek();
        #[cfg(not(Py_GIL_DISABLED))]
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
        let taken = NonNull::new(taken)?;
        // SAFETY: the slot owned this reference, and emptying it made it ours alone.
        Some(unsafe { Bound::from_owned_ptr(py, taken.as_ptr()) })
    }
}
