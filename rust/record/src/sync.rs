//! Wrappers for atomics and locks. Under `--cfg loom`, the atomics are loom's; otherwise all types are the standard
//! library's.
//!
//! The rest of the crate uses only these wrappers; clippy's `disallowed-types` forbids the wrapped types in every other
//! file. All accesses to a [`Word`] use Relaxed ordering, as the names of its methods say; ORDERINGS.md explains why
//! that suffices.
#![expect(
    clippy::disallowed_types,
    reason = "only this module may use these types"
)]

#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{self, PoisonError};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

// Locks guard only cold paths (names, the wall clock), which no loom model exercises.
pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// A 64-bit atomic integer, which any number of threads may read and write concurrently. It has the layout of a `u64`.
#[derive(Debug)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// Creates a word with the initial value `value`.
    pub fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Returns the word's value.
    #[inline(always)]
    pub fn load_relaxed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the word to `value`.
    #[inline(always)]
    pub fn store_relaxed(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Whether other threads may change an operation's words while a sample of the operation is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Other threads may change the words. Every addition is a locked instruction, which costs as much as ten plain
    /// ones.
    Concurrent,
    /// No other thread changes the words, because every thread that records a sample of the operation holds the same
    /// lock, such as Python's global interpreter lock. Without such a lock, counts would be lost, but memory safety
    /// would not be affected.
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

    /// Subtracts 1 from `word`, but not below 0.
    #[inline(always)]
    pub fn decrement_relaxed(self, word: &Word) {
        match self {
            Self::Concurrent => {
                if word.0.fetch_sub(1, Ordering::Relaxed) == 0 {
                    // Until this undoes the subtraction, others read 2^64 - 1.
                    word.0.fetch_add(1, Ordering::Relaxed);
                }
            }
            Self::Serialised => word.store_relaxed(word.load_relaxed().saturating_sub(1)),
        }
    }

    /// Sets `word` to `value` if `value` is larger than the word's value.
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

/// A mutex that remains usable after a thread has panicked while holding it. That is safe because every critical
/// section in this crate keeps the protected data valid at each step.
#[derive(Debug)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates a mutex that protects `value`.
    pub fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    /// Acquires the mutex, blocking until it is free.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock that allows either any number of readers or one writer. Like [`Mutex`], it remains usable after a panic.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Acquires the lock for reading, blocking while another thread holds it for writing.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires the lock for writing, blocking while any other thread holds it.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cell that can be set only once. If several threads try to set it, the first one succeeds.
#[derive(Debug, Default)]
pub struct OnceLock<T>(sync::OnceLock<T>);

impl<T> OnceLock<T> {
    /// Creates a cell without a value.
    #[must_use]
    pub const fn new() -> Self {
        Self(sync::OnceLock::new())
    }

    /// Returns the value, or `None` if it has not been set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the cell to `value`.
    ///
    /// # Errors
    ///
    /// Returns `value` as the error if the cell has already been set.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.0.set(value)
    }

    /// Returns the value, first setting the cell to the result of `compute` if it has not been set.
    pub fn get_or_init(&self, compute: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(compute)
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}
