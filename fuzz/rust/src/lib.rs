//! Fuzz targets: functions that pass foreign bytes to the crates' decoders and converters.
//!
//! A target panics if the code under test panics, breaks a property stated at the target, or exceeds the limits of
//! [`limits`]. The same targets run under libFuzzer (`fuzz_targets`), with inputs that proptest alters (`tests`), and on
//! every saved input in `tests/corpus` in each `cargo test`.
#![allow(
    clippy::disallowed_methods,
    reason = "running out of memory may end a fuzz target"
)]

mod columns;
mod exposition;
mod histogram;
mod input;
pub mod limits;
mod names;
mod snapshot;
mod statistics;

/// A target's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, sorted by name.
pub const TARGETS: &[Target] = &[
    ("columns", columns::target),
    ("exposition", exposition::target),
    ("histogram", histogram::target),
    ("names", names::target),
    ("snapshot", snapshot::target),
    ("statistics", statistics::target),
];

/// Runs the target called `name` on one input.
///
/// # Panics
///
/// If there is no such target, or the target fails.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target's name");
    target(data);
}
