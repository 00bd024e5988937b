//! The recording core of nanospan, independent of Python.
//!
//! A *sample* is one finished execution of an *operation*. Recording one takes a handful of relaxed atomic operations
//! on three cache lines and never blocks, allocates or fails:
//!
//! 1. [`Clock`] reads the time-stamp counter and converts differences to nanoseconds;
//! 2. [`Operation`] claims a *ticket*, the sample's number; claiming it also counts the sample;
//! 3. the [ring](ring) stores the exact sample in the slot for that ticket (the most recent samples are the *window*);
//! 4. the [histogram](histogram) for the sample's outcome counts the duration in an exponential bucket.
//!
//! Readers work on copies: [`Operation::window`] returns the exact recent samples, which [`Summary`] reduces to
//! statistics; [`Operation::histogram`] covers everything recorded since the last clear; and [`MonitorSnapshot`] covers
//! all operations. [`Registry`] finds operations by name and limits their number.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "running out of memory may end a test"
    )
)]
#![deny(unsafe_code)]

#[cfg(all(loom, not(debug_assertions)))]
compile_error!("loom models need the core's assertions: run them with --profile loom");

pub mod block;
mod bytes;
pub mod clock;
pub mod error;
pub mod histogram;
pub mod lifetime;
pub mod limits;
mod memory;
pub mod operation;
pub mod registry;
pub mod ring;
pub mod sample;
pub mod seconds;
pub mod snapshot;
pub mod summary;
pub mod sync;
#[cfg(test)]
mod tests;

pub use block::Totals;
pub use clock::{Clock, WallClock};
pub use error::Error;
pub use lifetime::Lifetime;
pub use operation::{Operation, Recorded, Window};
pub use registry::{BegunSnapshot, Lookup, Refusal, Registry};
pub use sample::{Measured, OUTCOMES, Outcome, Sample};
pub use seconds::Seconds;
pub use snapshot::{MonitorSnapshot, OperationSnapshot};
pub use summary::Summary;
pub use sync::Writers;
