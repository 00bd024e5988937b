//! Two dicts compared by identity, without running Python code.

use pyo3::{prelude::*, types::PyDict};

/// Whether two dicts hold the same key and value objects in the same order.
#[cfg(not(Py_GIL_DISABLED))]
#[inline]
pub fn same_objects(a: &Py<PyDict>, b: &Bound<'_, PyDict>) -> bool {
    use pyo3::ffi;

    /// Above it, copying costs little more than comparing.
    const FEW: isize = 8;

    // SAFETY: both are dicts that stay alive, and nothing here runs Python code that could change them.
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

/// Without a GIL another thread might be changing the caller's dict: it is copied in any case.
#[cfg(Py_GIL_DISABLED)]
pub fn same_objects(_: &Py<PyDict>, _: &Bound<'_, PyDict>) -> bool {
    false
}
