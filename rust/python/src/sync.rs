//! The only door to atomics and locks outside `hot`.
//!
//! The types wrap the standard library's, as clippy's `disallowed-types` holds every other file to this one; those of
//! the recording core come from there.
#![expect(
    clippy::disallowed_types,
    reason = "this is the one place that names them"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use nanospan_record::sync::{Mutex, OnceLock};

/// A switch that publishes nothing.
pub struct Switch(AtomicBool);

impl Switch {
    pub fn new(on: bool) -> Self {
        Self(AtomicBool::new(on))
    }

    #[inline]
    pub fn load_relaxed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn store_relaxed(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

/// The number of times that something shared was replaced.
pub struct Generation(AtomicU64);

impl Generation {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Begins the next generation. Release: pairs with [`load_acquire`](Self::load_acquire), so that a thread that sees
    /// the number sees what was written before.
    pub fn advance_release(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Acquire: pairs with [`advance_release`](Self::advance_release).
    #[inline]
    pub fn load_acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
