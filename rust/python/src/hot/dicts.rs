//! Compares the contents of two dicts by identity, without running Python code.

use pyo3::{prelude::*, types::PyDict};

/// Returns whether two dicts contain the same key and value objects in the same order. Returns false without comparing
/// if the dicts have more than eight items.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub fn same_objects(a: &Py<PyDict>, b: &Bound<'_, PyDict>) -> bool {
    use pyo3::ffi;

    /// Maximum size of the dicts to compare, in items. Copying a larger dict costs little more than comparing it.
    const FEW: isize = 8;

    // SAFETY: both are dicts that stay alive, and nothing here runs Python code that could modify them.
    unsafe {
        let (a, b) = (a.as_ptr(), b.as_ptr());
        let length = ffi::PyDict_Size(a);
        let mut same = length == ffi::PyDict_Size(b) && length <= FEW;
        let (mut at_a, mut at_b) = (0, 0);
        let mut of_a = [std::ptr::null_mut(); 2];
        let mut of_b = of_a;
        while same {
            let [key, value] = &mut of_a;
            if ffi::PyDict_Next(a, &raw mut at_a, key, value) == 0 {
                break;
            }
            let [key, value] = &mut of_b;
            same = ffi::PyDict_Next(b, &raw mut at_b, key, value) != 0 && of_a == of_b;
        }
        same
    }
}

/// Always returns false: without a GIL, another thread might be modifying the dict, so callers must copy it.
#[cfg(Py_GIL_DISABLED)]
pub fn same_objects(_: &Py<PyDict>, _: &Bound<'_, PyDict>) -> bool {
    false
}
