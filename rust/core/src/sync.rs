//! The only door to atomics and locks: the standard library's, or loom's under `--cfg loom`.
#![allow(
    clippy::disallowed_types,
    reason = "this is the one place that names them"
)]

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};

// Locks guard cold paths only (names, the wall clock); no model runs through them.
pub use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Locks `mutex` whether or not a panicking thread once held it: every critical section of this
/// crate leaves its data valid at each step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
