//! The crate's only access to atomics and locks: the standard library's, with loom's atomics under `--cfg loom`.
//!
//! The types here wrap them instead of re-exporting them, so that clippy's `disallowed-types` can forbid them in every
//! other file. All accesses to a [`Word`] are Relaxed, and say so in their names; ORDERINGS.md explains why that
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

// Locks guard only cold paths (names, the wall clock), which no loom model exercises.
pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// 64 bits that any number of threads may read and write concurrently, with the layout of a `u64`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// Creates a word that holds `value`.
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

/// Which other threads may change the same words while a sample is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Any thread may. Additions are locked instructions, each of which costs as much as ten plain ones.
    Concurrent,
    /// No other thread may: the caller holds a lock, such as the interpreter's, under which all of the operation's
    /// samples are recorded. Without such a lock, counts would be lost, but nothing worse would happen.
    Serialised,
}

impl Writers {
    /// Adds `amount` to `word`, wrapping on overflow, and returns the previous value.
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
        // Reading first avoids a locked instruction in the common case, in which there is no new extreme.
        if value > word.load_relaxed() {
            match self {
                Self::Concurrent => _ = word.0.fetch_max(value, Ordering::Relaxed),
                Self::Serialised => word.store_relaxed(value),
            }
        }
    }
}

/// A mutex that is not poisoned by a panic in another thread: every critical section in this crate keeps its data valid
/// at each step.
#[derive(Debug)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates a mutex that protects `value`.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Acquires the lock, waiting until it is free.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock for many readers or one writer. Like [`Mutex`], it is never poisoned.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Acquires the lock for reading, waiting until no thread holds it for writing.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires the lock for writing, waiting until no other thread holds it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that is set once, by the first thread that needs it.
#[derive(Debug, Default)]
pub struct OnceLock<T>(sync::OnceLock<T>);

impl<T> OnceLock<T> {
    /// Creates a cell without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::OnceLock::new())
    }

    /// Returns the value if it has been set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Returns `value` if a value has already been set.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.0.set(value)
    }

    /// Returns the value, setting it to the result of `compute` if it has not been set.
    pub fn get_or_init(&self, compute: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(compute)
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}
