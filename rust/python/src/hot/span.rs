//! Spans, each of which times one execution of an operation.
//!
//! The cost of a tracked block in nanoseconds:
//!
//! | | ns |
//! | --- | --- |
//! | an empty block whose context manager is a C type that does nothing | 90 |
//! | a tracked block | 110 |
//! | a tracked block while the monitor is disabled | 85 |
//! | part: the call to `track_operation`, from the name to a new span | 30 |
//! | part: two readings of the time-stamp counter | 29 |
//! | part: recording the ticket, slot, bucket and sum | 8 |
//! | the same part without a GIL, where it uses locked instructions | 12 |
//!
//! The parts overlap with one another and with the interpreter's work. Entering and leaving a block use special methods
//! (see [`step`](super::step)) that reduce the interpreter's work; without them, the block would cost 25 ns more.
//!
//! The figures for blocks are from the fastest of 400 bursts of 2,000 blocks, minus the cost of the loop. The
//! figures for the counter and for recording are from criterion (`benches/rust`). The machine is the one named below
//! the README's table of benchmarks.
//!
//! `async with` adds two awaits of awaitables that have already completed: the span itself on entry and
//! [`done`](super::done) on exit. Neither await allocates.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use nanospan_record::{Measured, Outcome};
use pyo3::{exceptions::PyRuntimeError, ffi, prelude::*, types::PyDict};

use super::{exclusive::Exclusive, free_list::FreeList, slot::Slot, tables::RawType};
use crate::{messages::shown, operation::Operation, outcome};

pub static TYPE: RawType = RawType::new();
static FREE: FreeList = FreeList::new();

/// One execution of an operation. A span belongs to one thread or task at a time; code that passes it to another thread
/// must do its own synchronisation. Its fields are atomic only to keep concurrent misuse memory-safe, so all accesses
/// are Relaxed.
// For speed, spans are not tracked by the garbage collector. A span that its own metadata refer to is freed when its
// sample leaves the window or is cleared; if such a span never ends, it is never freed.
#[repr(C)]
pub struct Span {
    head: ffi::PyObject,
    operation: Py<Operation>,
    // The caller's dict, which is never modified.
    given: Slot<PyDict>,
    // The start in clock ticks; after the span has ended, its duration in nanoseconds.
    time: AtomicU64,
    state: AtomicU8,
    // Whether `details` may contain anything; for most spans this saves accessing it.
    has_details: AtomicBool,
    details: Exclusive<Details>,
}

#[derive(Default)]
struct Details {
    // The metadata added by set() and fail().
    added: Option<Py<PyDict>>,
    failed: bool,
}

pub const NEW: u8 = 0;
const ENTERED: u8 = 1;
pub const ENDED: u8 = 2;
/// The state of a span that was entered while the monitor was disabled: it is neither timed nor recorded.
const IDLE: u8 = 3;

/// Creates a span of `operation` with the caller's metadata, `given`.
#[inline]
pub fn new<'py>(
    operation: &Bound<'py, Operation>,
    given: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = operation.py();
    // SAFETY: the object is new or from the free list, so nothing else owns it; all fields are written before anything
    // else can see it.
    unsafe {
        let mut object = FREE.pop();
        if object.is_null() {
            object = ffi::PyObject_New(TYPE.get());
        }
        let made = Bound::from_owned_ptr_or_err(py, object)?;
        let span = object.cast::<Span>();
        (&raw mut (*span).operation).write(operation.clone().unbind());
        (&raw mut (*span).given).write(Slot::new(given.cloned()));
        (&raw mut (*span).time).write(AtomicU64::new(0));
        (&raw mut (*span).state).write(AtomicU8::new(NEW));
        (&raw mut (*span).has_details).write(AtomicBool::new(false));
        (&raw mut (*span).details).write(Exclusive::new(Details {
            added: None,
            failed: false,
        }));
        Ok(made)
    }
}

/// Frees a span whose last reference is gone, or keeps its memory for reuse.
///
/// # Safety
///
/// The calling thread must be attached to the interpreter. `object` must be a span without references,
/// and [`Span::clear`] must have been called on it.
pub unsafe fn free(py: Python<'_>, object: *mut ffi::PyObject) {
    // SAFETY: promised by the caller. The operation is released once, and nothing reads the fields afterwards.
    unsafe {
        let operation = (&raw const (*object.cast::<Span>()).operation).read();
        drop(operation.into_bound(py));
        FREE.push(object);
    }
}

impl Span {
    #[inline]
    pub fn operation<'py>(&self, py: Python<'py>) -> &Bound<'py, Operation> {
        self.operation.bind(py)
    }

    /// Returns the metadata passed by the caller, or `None` if there are none or the span has ended.
    pub fn given<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDict>> {
        self.given.peek(py)
    }

    /// Releases everything that the span owns except its operation. An execution that has not ended is abandoned
    /// without being recorded.
    #[inline]
    pub fn clear(&self, py: Python<'_>) {
        drop(self.given.take(py));
        if self.has_details.load(Ordering::Relaxed) {
            let details = self.details.with(py, std::mem::take);
            drop(details.added.map(|added| added.into_bound(py)));
        }
        if self.state() == ENTERED {
            self.operation(py).get().abandon();
        }
    }

    pub fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// Starts the span; fails if it was entered before.
    #[inline]
    pub fn enter(&self, py: Python<'_>) -> PyResult<()> {
        if self.state() != NEW {
            return Err(self.misuse(py, "was already entered; call track_operation for each use"));
        }
        let operation = self.operation(py).get();
        if !operation.enabled() {
            self.state.store(IDLE, Ordering::Relaxed);
            return Ok(());
        }
        self.time.store(operation.begin(), Ordering::Relaxed);
        self.state.store(ENTERED, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the span and records it. `exception` holds the type and value of the exception that ended the block; both
    /// are None if there was no exception.
    #[inline]
    pub fn leave(&self, py: Python<'_>, exception: [&Bound<'_, PyAny>; 2]) -> PyResult<()> {
        if self.state() == IDLE {
            self.state.store(ENDED, Ordering::Relaxed);
            return Ok(());
        }
        self.leave_timed(py, exception)
    }

    // A separate function, so that leaving an idle span does not save the registers that recording needs.
    #[inline(never)]
    fn leave_timed(&self, py: Python<'_>, exception: [&Bound<'_, PyAny>; 2]) -> PyResult<()> {
        let operation = self.operation(py).get();
        if self.state() != ENTERED {
            return Err(self.misuse(
                py,
                "is not running; enter it before leaving it, and leave it only once",
            ));
        }
        let end = operation.end();
        self.state.store(ENDED, Ordering::Relaxed);
        let clock = operation.core().clock();
        let ns = clock.nanos_between(self.time.load(Ordering::Relaxed), end);
        self.time.store(ns, Ordering::Relaxed);
        let duration = Measured::Nanos(ns);
        if !exception[0].is_none() || self.has_details.load(Ordering::Relaxed) {
            return self.leave_with_details(py, end, duration, exception);
        }
        match self.given.take(py) {
            None => operation.record_plain(py, end, duration),
            Some(given) => {
                let kept = (!given.is_empty())
                    .then(|| operation.copy(&given))
                    .transpose();
                operation.record(py, end, duration, Outcome::Ok, kept)
            }
        }
    }

    #[cold]
    fn leave_with_details(
        &self,
        py: Python<'_>,
        end: u64,
        duration: Measured,
        exception: [&Bound<'_, PyAny>; 2],
    ) -> PyResult<()> {
        let Details { added, failed } = self.details.with(py, std::mem::take);
        let [class, value] = exception;
        let outcome = match class.is_none() {
            false => outcome::of_exception(class, value)?,
            true if failed => Outcome::Error,
            true => Outcome::Ok,
        };
        let given = self.given.take(py);
        let added = added.map(|added| added.into_bound(py));
        let value = (!class.is_none()).then_some(value);
        let metadata = outcome::metadata(py, given.as_ref(), added.as_ref(), outcome, value);
        self.operation(py)
            .get()
            .record(py, end, duration, outcome, metadata)
    }

    #[cold]
    fn misuse(&self, py: Python<'_>, what: &str) -> PyErr {
        let name = self.operation(py).get().name(py);
        PyRuntimeError::new_err(format!("the span of operation {} {what}", shown(name)))
    }

    pub fn add(
        &self,
        py: Python<'_>,
        failed: bool,
        items: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if self.state() == ENDED {
            return Err(self.misuse(py, "has ended; call set() and fail() before the block ends"));
        }
        self.has_details.store(true, Ordering::Relaxed);
        let added = self.details.with(py, |details| {
            details.failed |= failed;
            details.added.as_ref().map(|added| added.clone_ref(py))
        });
        let Some(items) = items else {
            return Ok(());
        };
        match added {
            Some(added) => added.into_bound(py).update(items.as_mapping()),
            None => {
                let copy = Some(items.copy()?.unbind());
                let before = self
                    .details
                    .with(py, |d| std::mem::replace(&mut d.added, copy));
                drop(before.map(|before| before.into_bound(py)));
                Ok(())
            }
        }
    }

    pub fn elapsed_ns(&self, py: Python<'_>) -> u64 {
        let time = self.time.load(Ordering::Relaxed);
        match self.state() {
            NEW | IDLE => 0,
            ENTERED => {
                let clock = self.operation(py).get().core().clock();
                clock.nanos_between(time, clock.ticks())
            }
            _ => time,
        }
    }
}
