//! The only door to atomics, locks and threads: the standard library's, or loom's under `--cfg loom`.
//!
//! The types here wrap them rather than hand them on, so that clippy's `disallowed-types` can hold every other file
//! to this one. All accesses to a [`Word`] are Relaxed, and say so in their names; ORDERINGS.md argues why that
//! suffices.
#![expect(
    clippy::disallowed_types,
    reason = "this is the one place that names them"
)]

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{self, PoisonError};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

// Locks guard cold paths only (names, the wall clock); no model runs through them.
pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// 64 bits that any number of threads may read and write at once, with the layout of a `u64`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// A word that holds `value`.
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Reads the word.
    #[inline(always)]
    pub fn load_relaxed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the word.
    #[inline(always)]
    pub fn store_relaxed(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Who else may change the words that a record changes, at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Any thread: additions are locked instructions, each of which costs as much as ten plain ones.
    Concurrent,
    /// No other thread: the caller holds a lock, such as the interpreter's, under which all records of the
    /// operation are made. Without such a lock counts are lost; nothing worse happens.
    Serialised,
}

impl Writers {
    /// Adds `amount` to `word`, wrapping, and returns its value before.
    #[inline(always)]
    pub fn add_relaxed(self, word: &Word, amount: u64) -> u64 {
        match self {
            Self::Concurrent => word.0.fetch_add(amount, Ordering::Relaxed),
            Self::Serialised => {
                let before = word.load_relaxed();
                word.store_relaxed(before.wrapping_add(amount));
                before
            }
        }
    }

    /// Raises `word` to `value` if `value` is larger.
    #[inline(always)]
    pub fn raise_relaxed(self, word: &Word, value: u64) {
        // Reading first keeps the common case, no new extreme, free of a locked instruction.
        if value > word.load_relaxed() {
            match self {
                Self::Concurrent => _ = word.0.fetch_max(value, Ordering::Relaxed),
                Self::Serialised => word.store_relaxed(value),
            }
        }
    }
}

/// A mutex that a panic in another thread does not poison: every critical section of this crate leaves its data
/// valid at each step.
#[derive(Debug)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock for many readers or one writer, which like [`Mutex`] is never poisoned.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Waits until no thread writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other thread reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that is set once, by the first thread that needs it.
#[derive(Debug, Default)]
pub struct OnceLock<T>(sync::OnceLock<T>);

impl<T> OnceLock<T> {
    /// A value still to be computed.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::OnceLock::new())
    }

    /// The value, if there is one yet.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// The value given, if there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.0.set(value)
    }

    /// The value, computed by `compute` if no thread did before.
    pub fn get_or_init(&self, compute: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(compute)
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}
