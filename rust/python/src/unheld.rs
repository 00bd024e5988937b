//! Values whose memory takes long to give back.

use std::ops::Deref;

use pyo3::prelude::*;

/// A value that is dropped without the GIL if it is large, so that other threads run meanwhile.
pub struct Unheld<T: Send> {
    value: Option<T>,
    is_large: bool,
}

impl<T: Send> Unheld<T> {
    /// `is_large` says that freeing it takes longer than handing the GIL around: that it has megabytes, or
    /// hundreds of allocations.
    pub fn new(value: T, is_large: bool) -> Self {
        Self {
            value: Some(value),
            is_large,
        }
    }
}

impl<T: Send> Deref for Unheld<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("taken by drop alone")
    }
}

impl<T: Send> Drop for Unheld<T> {
    fn drop(&mut self) {
        if self.is_large {
            let value = self.value.take();
            // Where no thread may attach, the interpreter ending, the closure is dropped, and the value with it.
            let _ = Python::try_attach(move |py| py.detach(move || drop(value)));
        }
    }
}
