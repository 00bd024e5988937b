//! A reference that can be taken once.

use std::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*};

/// An owned reference in a raw struct, or nothing, that is taken by whichever caller comes first.
pub struct Slot<T>(AtomicPtr<ffi::PyObject>, PhantomData<Py<T>>);

impl<T> Slot<T> {
    /// Takes `object` over.
    #[inline]
    pub fn new(object: Option<Bound<'_, T>>) -> Self {
        let pointer = object.map_or(ptr::null_mut(), Bound::into_ptr);
        Self(AtomicPtr::new(pointer), PhantomData)
    }

    /// Another reference to what is in the slot, which stays there.
    pub fn peek<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // Taken for the moment, so that no other thread can give it up before it is counted.
        let taken = self.take(py)?;
        let before = Self(
            AtomicPtr::new(self.0.swap(taken.clone().into_ptr(), Ordering::Relaxed)),
            PhantomData,
        );
        drop(before.take(py));
        Some(taken)
    }

    /// Empties the slot.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // Relaxed, here and below: the caller owns or borrows the surrounding object already, and the
        // reference was put in before that object was published. This only decides which caller owns
        // the reference. The GIL decides it, too, without a locked instruction.
        let present = self.0.load(Ordering::Relaxed);
        if present.is_null() {
            return None;
        }
        #[cfg(Py_GIL_DISABLED)]
        let taken = self.0.swap(ptr::null_mut(), Ordering::Relaxed);
        #[cfg(not(Py_GIL_DISABLED))]
        let taken = present;
        #[cfg(not(Py_GIL_DISABLED))]
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
        let taken = NonNull::new(taken)?;
        // SAFETY: the slot owned this reference to a T, and emptying it made it the caller's alone.
        Some(unsafe { Bound::from_owned_ptr(py, taken.as_ptr()).cast_into_unchecked() })
    }
}
