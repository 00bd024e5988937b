//! A field whose Python reference can be taken out only once.

use std::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{ffi, prelude::*};

/// An optional owned reference in a C struct. If several callers take it at the same time, only the first one gets it.
pub struct Slot<T>(AtomicPtr<ffi::PyObject>, PhantomData<Py<T>>);

impl<T> Slot<T> {
    /// Creates a slot that owns `object`, or an empty slot if `object` is `None`.
    #[inline]
    pub fn new(object: Option<Bound<'_, T>>) -> Self {
        let pointer = object.map_or(ptr::null_mut(), Bound::into_ptr);
        Self(AtomicPtr::new(pointer), PhantomData)
    }

    /// Returns a new reference to the object in the slot, without emptying the slot.
    pub fn peek<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // The reference is taken out temporarily, so that no other thread can release it before the count is increased.
        let taken = self.take(py)?;
        let before = Self(
            AtomicPtr::new(self.0.swap(taken.clone().into_ptr(), Ordering::Relaxed)),
            PhantomData,
        );
        drop(before.take(py));
        Some(taken)
    }

    /// Empties the slot and returns the reference that it owned.
    #[inline]
    pub fn take<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // Relaxed, here and below: the caller already owns or borrows the surrounding object, and the reference was
        // stored before that object was published. The swap only decides which caller gets the reference. With a GIL, a
        // load and a store suffice for that, without a locked instruction.
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
        // SAFETY: the slot owned this reference to a T; now that the slot is empty, only the caller owns it.
        Some(unsafe { Bound::from_owned_ptr(py, taken.as_ptr()).cast_into_unchecked() })
    }
}
