//! The only door to atomics and locks: the standard library's, or loom's under `--cfg loom`.
#![allow(
    clippy::disallowed_types,
    reason = "this is the one place that names them"
)]

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering};

/// Who else may change the words that a record changes, at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Anybody: additions are locked instructions, of which each costs as much as ten plain ones.
    Concurrent,
    /// Nobody: the caller holds a lock, such as the interpreter's, under which all records of the operation
    /// are made. Where that is not so, counts are lost; nothing worse happens.
    Serialised,
}

impl Writers {
    /// Adds `amount` to `word`, wrapping, and returns what it was. Relaxed.
    #[inline(always)]
    pub fn add(self, word: &AtomicU64, amount: u64) -> u64 {
        match self {
            Self::Concurrent => word.fetch_add(amount, Ordering::Relaxed),
            Self::Serialised => {
                let before = word.load(Ordering::Relaxed);
                word.store(before.wrapping_add(amount), Ordering::Relaxed);
                before
            }
        }
    }

    /// Raises `word` to `value` where that is larger. Relaxed.
    #[inline(always)]
    pub fn raise(self, word: &AtomicU64, value: u64) {
        // Reading first keeps the common case, no new extreme, free of a locked instruction.
        if value > word.load(Ordering::Relaxed) {
            match self {
                Self::Concurrent => _ = word.fetch_max(value, Ordering::Relaxed),
                Self::Serialised => word.store(value, Ordering::Relaxed),
            }
        }
    }
}

// Locks guard cold paths only (names, the wall clock); no model runs through them.
pub use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Locks `mutex` whether or not a panicking thread once held it: every critical section of this
/// crate leaves its data valid at each step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
