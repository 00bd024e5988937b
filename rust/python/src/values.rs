//! Arguments that are sequences or buffers of floats.

use nanospan_fallible::{TryGrow, probe, vec};
use nanospan_stats as compare;
use pyo3::{
    buffer::{PyBuffer, PyUntypedBuffer},
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyDict, PyFrozenSet, PySet, PyString},
};

use crate::{arguments::type_name, error::Fallible, hot::doubles};

/// A sequence of floats passed by the caller.
pub enum Values {
    /// The caller's C-contiguous memory, which cannot be moved or resized while the buffer is held.
    Buffer(PyBuffer<f64>),
    /// A copy, converted to floats.
    Converted(Vec<f64>),
}

impl Values {
    /// Reads the argument `given` as floats; `name` is the argument's name in error messages. A one-dimensional
    /// contiguous buffer of doubles (an `array`, a NumPy array) is used in place; any other sequence of numbers is
    /// copied.
    ///
    /// # Errors
    ///
    /// TypeError unless `given` is a sequence of numbers; ValueError if it is an array that does not have exactly one
    /// dimension, or a number does not fit into a float.
    pub fn take(name: &str, given: &Bound<'_, PyAny>) -> Fallible<Self> {
        let refused = || {
            PyTypeError::new_err(format!(
                "{name} must be a sequence or buffer of floats, got {}",
                type_name(given)
            ))
        };
        if given.is_instance_of::<PyString>()
            || given.is_instance_of::<PyBytes>()
            || given.is_instance_of::<PyByteArray>()
            || given.is_instance_of::<PyDict>()
            || given.is_instance_of::<PySet>()
            || given.is_instance_of::<PyFrozenSet>()
        {
            return Err(refused().into());
        }
        // PyO3 allocates the description of the buffer, and an error if there is no buffer.
        probe::<[u8; 1024]>()?;
        // Anything without a buffer of doubles is read as a sequence.
        if let Ok(buffer) = PyUntypedBuffer::get(given) {
            if buffer.dimensions() != 1 {
                return Err(PyValueError::new_err(format!(
                    "{name} must have one dimension, got {}",
                    buffer.dimensions()
                ))
                .into());
            }
            if let Ok(buffer) = buffer.into_typed::<f64>() {
                return Ok(if buffer.is_c_contiguous() {
                    Self::Buffer(buffer)
                } else {
                    let mut values = vec(buffer.item_count())?;
                    for value in given.try_iter()? {
                        values.try_push(value?.extract::<f64>()?)?;
                    }
                    Self::Converted(values)
                });
            }
        }
        let mut values = vec(given.len().map_err(|_| refused())?)?;
        for (index, value) in given.try_iter().map_err(|_| refused())?.enumerate() {
            let value = value?;
            let number = value.extract::<f64>().map_err(|error| {
                if error.is_instance_of::<PyTypeError>(given.py()) {
                    let class = type_name(&value);
                    PyTypeError::new_err(format!(
                        "{name} must contain only numbers, got {class} at index {index}"
                    ))
                } else {
                    PyValueError::new_err(format!("{name}: the value at index {index}: {error}"))
                }
            })?;
            values.try_push(number)?;
        }
        Ok(Self::Converted(values))
    }

    /// Returns a copy of the values, reading each value once; fails if a value is NaN or infinite.
    pub fn gather(&self) -> Result<compare::Values, compare::ValuesError> {
        match self {
            Self::Converted(values) => compare::Values::gather(values.iter().copied()),
            Self::Buffer(buffer) => compare::Values::gather(doubles::read(buffer)),
        }
    }
}
