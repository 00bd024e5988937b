//! Sets flags such as `cfg(Py_3_12)` to match the interpreter's version, and `cfg(Py_GIL_DISABLED)` if it has no GIL.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
