//! Makes the interpreter's version and its lack of a GIL known as `cfg(Py_3_12)`, `cfg(Py_GIL_DISABLED)`.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
