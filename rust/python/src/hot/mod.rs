//! The few types and functions whose call overhead matters, written against the C API.
//!
//! All unsafe code of the binding is in this folder. The rest of the crate calls it through safe functions.

pub mod coroutine;
pub mod dicts;
pub mod done;
pub mod doubles;
pub mod exclusive;
pub mod free_list;
pub mod function;
pub mod methods;
pub mod name_cache;
pub mod raw;
pub mod span;
pub mod span_type;
pub mod step;
pub mod stop;

use pyo3::{prelude::*, types::PyModule};

/// Makes the types and adds what Python sees of them; called once, when the module is loaded.
pub fn initialise(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    step::initialise(py)?;
    module.add("Span", span_type::initialise(py)?)?;
    done::initialise(py)?;
    coroutine::initialise(py)?;
    function::initialise(py)?;
    methods::initialise(py)
}
