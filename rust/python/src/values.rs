//! Sequences and buffers of floats as arguments.

use nanospan_stats as compare;
use pyo3::{
    buffer::{PyBuffer, PyUntypedBuffer},
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyByteArray, PyBytes, PyDict, PyFrozenSet, PySet, PyString},
};

use crate::hot::doubles;

/// Floats in order, as a caller handed them over.
pub enum Values {
    /// Memory of the caller's, C-contiguous, which stays where it is as long as the buffer is held.
    Buffer(PyBuffer<f64>),
    /// What had to be converted.
    Converted(Vec<f64>),
}

impl Values {
    /// Takes hold of `given`, which errors call `name`: a one-dimensional contiguous buffer of doubles (an `array`,
    /// a NumPy array) as it is, any other sequence of numbers as a copy.
    ///
    /// # Errors
    ///
    /// TypeError if `given` is not a sequence of numbers, ValueError for an array of more dimensions.
    pub fn take(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let refused = || {
            PyTypeError::new_err(format!(
                "{name}: a sequence of floats or a buffer of them, got {}",
                given.get_type()
            ))
        };
        if given.is_instance_of::<PyString>()
            || given.is_instance_of::<PyBytes>()
            || given.is_instance_of::<PyByteArray>()
            || given.is_instance_of::<PyDict>()
            || given.is_instance_of::<PySet>()
            || given.is_instance_of::<PyFrozenSet>()
        {
            return Err(refused());
        }
        // An object without a buffer, or whose buffer is not an array, is read as a sequence.
        if let Ok(buffer) = PyUntypedBuffer::get(given) {
            if buffer.dimensions() != 1 {
                return Err(PyValueError::new_err(format!(
                    "{name}: one dimension, got {}",
                    buffer.dimensions()
                )));
            }
            if let Ok(buffer) = buffer.into_typed::<f64>() {
                return Ok(if buffer.is_c_contiguous() {
                    Self::Buffer(buffer)
                } else {
                    Self::Converted(buffer.to_vec(given.py())?)
                });
            }
        }
        let mut values = Vec::with_capacity(given.len().map_err(|_| refused())?);
        for (index, value) in given.try_iter().map_err(|_| refused())?.enumerate() {
            let value = value?;
            values.push(value.extract::<f64>().map_err(|error| {
                if error.is_instance_of::<PyTypeError>(given.py()) {
                    let class = value.get_type();
                    PyTypeError::new_err(format!("{name}: floats, got {class} at index {index}"))
                } else {
                    PyValueError::new_err(format!("{name}: the value at index {index}: {error}"))
                }
            })?);
        }
        Ok(Self::Converted(values))
    }

    /// Reads the values, each once.
    pub fn gather(&self) -> Result<compare::Values, compare::NotFinite> {
        match self {
            Self::Converted(values) => compare::Values::gather(values.iter().copied()),
            Self::Buffer(buffer) => compare::Values::gather(doubles::read(buffer)),
        }
    }
}
