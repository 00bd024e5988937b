//! `perfuse._core`: the Python face of `perfuse-core`. Translation only; whatever decides lives in the
//! core or in the Python package.

#![deny(unsafe_code)]

use pyo3::prelude::*;

mod awaitable;
mod error;
mod metadata;
mod monitor;
mod names;
mod operation;
mod span;

/// The compiled core of perfuse. Use the names that `perfuse` exports.
// Everything behind the module is atomics or locked: it needs no GIL.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::monitor::Monitor;
    #[pymodule_export]
    use super::span::Span;

    /// The version of perfuse, of which Cargo.toml holds the only copy.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// The operation that takes the samples of names past `max_operations`.
    #[pymodule_export]
    const OVERFLOW_OPERATION: &str = match std::str::from_utf8(perfuse_core::registry::OVERFLOW) {
        Ok(name) => name,
        Err(_) => unreachable!(),
    };
}
