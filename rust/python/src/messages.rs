//! Shortens the values that error messages quote, as `nanospan.values.messages` does.

use pyo3::{
    prelude::*,
    types::{PySlice, PyString},
};

/// The maximum number of characters of a value to show in a message.
const LONGEST_SHOWN: usize = 200;

/// Returns the `repr` of a value, or the start of it and the value's length if it is long.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    let length = value.len().unwrap_or(0);
    let text = match value.is_exact_instance_of::<PyString>() && length > LONGEST_SHOWN {
        true => head(value),
        false => value.repr(),
    };
    match text {
        Ok(text) => cut(&text.to_string_lossy(), LONGEST_SHOWN + "''".len(), length),
        Err(_) => "<a value without a repr>".to_owned(),
    }
}

/// Returns the `repr` of the first characters of a string, without the quote at its end.
fn head<'py>(text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let most = LONGEST_SHOWN as isize + 3;
    text.get_item(PySlice::new(text.py(), 0, most, 1))?.repr()
}

/// Returns `text`, or the start and the length of it if it is long.
pub fn shorten(text: &str) -> String {
    cut(text, LONGEST_SHOWN, text.chars().count())
}

/// Returns `text`, or the start of it and `length` if it has more than `most` characters.
#[expect(
    clippy::disallowed_methods,
    reason = "the start has a fixed maximum length"
)]
fn cut(text: &str, most: usize, length: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST_SHOWN).collect();
    format!("{start}... ({} characters)", grouped(length))
}

/// Formats a number with commas between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
