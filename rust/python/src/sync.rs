//! Atomics and locks that replace the standard library's in all code of this crate outside the module `hot`.
//!
//! Clippy's `disallowed-types` enforces this. `Mutex` and `OnceLock` are re-exported from the recording crate.
#![expect(
    clippy::disallowed_types,
    reason = "outside `hot`, only this file may use the standard library's atomics"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use nanospan_record::sync::{Mutex, OnceLock};

/// An on/off switch. It is read and set with relaxed memory ordering, so it must not be used to publish other data.
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

/// Counts how many times a shared value has been replaced.
pub struct Generation(AtomicU64);

impl Generation {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts the next generation. Release: pairs with [`load_acquire`](Self::load_acquire), so that a thread that
    /// reads the new number also sees everything written before this call.
    pub fn advance_release(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Returns the current generation. Acquire: pairs with [`advance_release`](Self::advance_release).
    #[inline]
    pub fn load_acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
