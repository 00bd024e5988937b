//! Keeping the GIL from other threads no longer than they are used to.

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use pyo3::prelude::*;

/// A value that is dropped without the GIL if it is large, so that other threads run meanwhile.
pub struct DropWithoutGil<T: Send> {
    value: Option<T>,
    is_large: bool,
}

impl<T: Send> DropWithoutGil<T> {
    /// `is_large` says that freeing it takes longer than handing the GIL around: that it has megabytes, or
    /// hundreds of allocations.
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
        self.value.as_ref().expect("taken by drop alone")
    }
}

impl<T: Send> Drop for DropWithoutGil<T> {
    fn drop(&mut self) {
        if self.is_large {
            let value = self.value.take();
            // Where no thread may attach, the interpreter ending, the closure is dropped, and the value with it.
            let _ = Python::try_attach(move |py| py.detach(move || drop(value)));
        }
    }
}

/// How long work that makes many Python objects goes on before others may run: less than the 5 ms after which
/// the interpreter has threads of Python take turns, so that no other thread waits longer for us than for those.
const TURN: Duration = Duration::from_millis(2);

/// Work that needs the GIL, in pieces.
pub struct Turns(Instant);

impl Turns {
    /// Begins the first turn.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Between two pieces: lets others run if the turn is over.
    pub fn pass(&mut self, py: Python<'_>) {
        if self.0.elapsed() > TURN {
            py.detach(|| ());
            self.0 = Instant::now();
        }
    }
}
