//! Sets `cfg(Py_3_12)` and similar flags for the interpreter's version, and `cfg(Py_GIL_DISABLED)` if it has no GIL.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
