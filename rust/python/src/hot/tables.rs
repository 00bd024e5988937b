//! Creates Python types with the C API, and the tables of slots, methods, properties and members that define them.

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*, types::PyType};

/// A Python type that is created once, when the module is loaded.
pub struct RawType(AtomicPtr<ffi::PyTypeObject>);

impl RawType {
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub fn get(&self) -> *mut ffi::PyTypeObject {
        // Relaxed: the pointer is set while the module is being imported, before any of its exports can be used.
        self.0.load(Ordering::Relaxed)
    }

    /// Creates the type from `slots`. The type is never freed.
    ///
    /// # Safety
    ///
    /// Each slot's function must have the signature that the slot requires. `size` must be the size of a `repr(C)`
    /// struct that begins with an `ffi::PyObject`. The tables that the slots refer to must be static.
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
        // SAFETY: the caller promises valid contents; PyType_FromSpec copies the spec and the slots.
        let made = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))?
                .cast_into_unchecked::<PyType>()
        };
        // SAFETY: no other thread can access the type yet.
        unsafe { make_immortal(made.as_ptr()) };
        self.0
            .store(made.clone().into_ptr().cast(), Ordering::Relaxed);
        Ok(made)
    }
}

/// Turns off reference counting for an object that is never freed. Without a GIL, all threads would write to the cache
/// line that holds the reference count; with a GIL, this function does nothing.
///
/// # Safety
///
/// The calling thread must be attached to the interpreter. `object` must be valid, and no other thread may be able to
/// access it.
pub unsafe fn make_immortal(object: *mut ffi::PyObject) {
    #[cfg(Py_GIL_DISABLED)]
    // SAFETY: CPython marks its own immortal objects in the same way (_Py_SetImmortal): the maximum local count and no
    // owning thread. No other thread reads or writes the fields at the same time.
    unsafe {
        (*object).ob_tid = 0;
        (*object).ob_ref_local.store(u32::MAX, Ordering::Relaxed);
        (*object).ob_ref_shared.store(0, Ordering::Relaxed);
    }
    #[cfg(not(Py_GIL_DISABLED))]
    let _ = object;
}

/// Returns a slot table's entry, which points to a function or to another table.
pub const fn slot(number: std::ffi::c_int, pointer: *const c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot {
        slot: number,
        pfunc: pointer.cast_mut(),
    }
}

/// Marks the end of a slot table.
pub const END: ffi::PyType_Slot = ffi::PyType_Slot {
    slot: 0,
    pfunc: ptr::null_mut(),
};

/// Defines a method that takes its positional arguments as a C array.
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

/// Defines a method that takes its positional and keyword arguments as a C array.
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

/// Defines a method that takes no arguments (`flags` is METH_NOARGS) or exactly one (METH_O).
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

/// Defines a read-only property.
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

/// Marks the end of a table of properties.
pub const LAST_PROPERTY: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: ptr::null(),
    get: None,
    set: None,
    doc: ptr::null(),
    closure: ptr::null_mut(),
};

/// Defines a special member, such as `__dictoffset__`, that tells CPython the offset of a field in the C struct.
pub const fn offset(name: &'static CStr, at: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        offset: at.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// Marks the end of a table of special members; see [`offset`].
pub const LAST_MEMBER: ffi::PyMemberDef = ffi::PyMemberDef {
    name: ptr::null(),
    type_code: 0,
    offset: 0,
    flags: 0,
    doc: ptr::null(),
};

/// A table that is read by C code and never modified.
#[repr(transparent)]
pub struct Table<T>(pub T);

// SAFETY: the tables hold pointers to static strings and functions; CPython only reads them.
unsafe impl<T> Sync for Table<T> {}
