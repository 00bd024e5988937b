//! The input of every statistical test: finite values, in the order in which they were measured.

use std::fmt;

use nanospan_fallible::{OutOfMemory, TryCollect, copied};

/// A value that is NaN or infinite, and its index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotFinite {
    /// The value's index, from 0.
    pub index: usize,
    /// The value itself: NaN or infinite.
    pub value: f64,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.value.is_nan() {
            "nan".to_owned()
        } else {
            self.value.to_string()
        };
        write!(
            f,
            "the value at index {} must be finite, got {value}",
            self.index
        )
    }
}

/// The reason why values could not be gathered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValuesError {
    /// A value is NaN or infinite.
    NotFinite(NotFinite),
    /// There is no memory for a copy of the values.
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for ValuesError {
    fn from(error: OutOfMemory) -> Self {
        Self::OutOfMemory(error)
    }
}

/// Finite values, in the order in which they were measured.
#[derive(Debug, PartialEq)]
pub struct Values {
    values: Vec<f64>,
    all_positive: bool,
}

impl Values {
    /// Collects the values and checks that all are finite, reading each only once.
    ///
    /// # Errors
    ///
    /// [`NotFinite`] for the first value that is NaN or infinite; [`OutOfMemory`] if there is no memory for the values.
    pub fn gather(given: impl IntoIterator<Item = f64>) -> Result<Self, ValuesError> {
        let values = given.into_iter().try_vec()?;
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = values[index];
            return Err(ValuesError::NotFinite(NotFinite { index, value }));
        }
        let all_positive = values.iter().all(|&value| value > 0.0);
        Ok(Self {
            values,
            all_positive,
        })
    }

    /// Whether all values are positive, so that each has a logarithm; true if there are no values.
    #[must_use]
    pub fn all_positive(&self) -> bool {
        self.all_positive
    }

    /// The values as given.
    #[must_use]
    pub fn as_slice(&self) -> &[f64] {
        &self.values
    }

    /// The logarithms of the values if `logarithmic`, otherwise the values unchanged.
    pub(super) fn scaled(&self, logarithmic: bool) -> Result<Vec<f64>, OutOfMemory> {
        if logarithmic {
            self.values.iter().map(|value| value.ln()).try_vec()
        } else {
            copied(&self.values)
        }
    }
}
