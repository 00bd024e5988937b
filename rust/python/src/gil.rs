//! Helpers that release the GIL during long work, so that other threads are not delayed noticeably.

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use pyo3::prelude::*;

/// A value that, if large, is dropped with the GIL released, so that other threads can run meanwhile.
pub struct DropWithoutGil<T: Send> {
    value: Option<T>,
    is_large: bool,
}

impl<T: Send> DropWithoutGil<T> {
    /// Wraps `value`. Pass `is_large` if freeing it takes longer than releasing and re-acquiring the GIL, because it
    /// owns megabytes of memory or hundreds of allocations.
    pub fn new(value: T, is_large: bool) -> Self {
        Self {
            value: Some(value),
            is_large,
        }
    }
}

impl<T: Send> Deref for DropWithoutGil<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only drop takes the value")
    }
}

impl<T: Send> Drop for DropWithoutGil<T> {
    fn drop(&mut self) {
        if self.is_large {
            let value = self.value.take();
            // If the interpreter is shutting down and no thread may attach, this drops the closure, and with it the
            // value.
            let _ = Python::try_attach(move |py| py.detach(move || drop(value)));
        }
    }
}

/// Maximum time that work creating many Python objects holds the GIL before other threads may run. It is shorter than
/// the interpreter's switch interval of 5 ms, so that other threads wait no longer for this work than for Python code.
const TURN: Duration = Duration::from_millis(2);

/// A timer that splits long work into turns, between which the GIL is released.
pub struct Turns(Instant);

impl Turns {
    /// Starts the first turn.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// If the current turn is over, lets other threads run and starts a new turn. Call this repeatedly during the work.
    pub fn pass(&mut self, py: Python<'_>) {
        if self.0.elapsed() > TURN {
            py.detach(|| ());
            self.0 = Instant::now();
        }
    }
}
