//! The few types and functions whose call overhead matters, written directly against Python's C API.
//!
//! This folder contains all of the crate's unsafe code. The rest of the crate calls it through safe functions.

mod coroutine;
mod coroutine_type;
pub mod dicts;
mod done;
pub mod doubles;
pub mod exclusive;
mod free_list;
pub mod function;
pub mod interpreter;
mod methods;
pub mod objects;
pub mod operations;
mod raw;
mod slot;
pub mod span;
mod span_type;
mod stack;
mod step;
mod stop;
mod tables;
pub mod tracker;
pub mod vectorcall;

use pyo3::{prelude::*, types::PyModule};

/// Creates the types, adds the public ones to the module, and adds the recording methods to `Monitor` and `Operation`.
/// Must be called once, when the module is loaded.
pub fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Finding the bounds of the main thread's stack takes 0.3 ms, which the first timed call should not.
    stack::check(py)?;
    step::initialise(py)?;
    module.add("Span", span_type::initialise(py)?)?;
    done::initialise(py)?;
    coroutine_type::initialise(py)?;
    function::initialise(py)?;
    tracker::initialise(py)?;
    methods::initialise(py)
}
