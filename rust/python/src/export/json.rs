//! Metadata as JSON, for the many samples whose metadata hold nothing but what JSON has, too.

use std::fmt::Write;

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// How deep values are followed here; `nanospan.export.safe_json` has its own limit.
const MAX_DEPTH: usize = 16;

/// Each row's metadata as JSON in UTF-8, None where there is none; what consecutive rows share is encoded
/// once.
///
/// Metadata with any value or key of another type than JSON's are left to `fallback`, which returns bytes.
#[pyfunction]
pub fn metadata_json<'py>(
    rows: Vec<Option<Bound<'py, PyAny>>>,
    fallback: &Bound<'py, PyAny>,
) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
    let py = fallback.py();
    let mut last: Option<(Bound<'py, PyAny>, Bound<'py, PyBytes>)> = None;
    let mut text = String::new();
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(metadata) = row else {
            encoded.push(None);
            continue;
        };
        let bytes = match last.as_ref().filter(|(before, _)| before.is(&metadata)) {
            Some((_, bytes)) => bytes.clone(),
            None => {
                text.clear();
                match write(&mut text, &metadata, MAX_DEPTH) {
                    Ok(()) => PyBytes::new(py, text.as_bytes()),
                    Err(Foreign) => fallback.call1((&metadata,))?.cast_into()?,
                }
            }
        };
        encoded.push(Some(bytes.clone()));
        last = Some((metadata, bytes));
    }
    Ok(encoded)
}

/// A value that JSON does not have, or that is not exactly of the type it has.
struct Foreign;

fn write(text: &mut String, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Foreign> {
    if let Ok(string) = value.cast_exact::<PyString>() {
        return quote(text, string);
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        let float = float.value();
        if !float.is_finite() {
            return Err(Foreign);
        }
        return put(text, format_args!("{float:?}"));
    }
    if value.is_none() {
        return put(text, format_args!("null"));
    }
    if let Ok(truth) = value.cast_exact::<PyBool>() {
        return put(text, format_args!("{}", truth.is_true()));
    }
    if let Ok(int) = value.cast_exact::<PyInt>() {
        let int: i64 = int.extract().map_err(|_| Foreign)?;
        return put(text, format_args!("{int}"));
    }
    let deeper = depth.checked_sub(1).ok_or(Foreign)?;
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let mut before = '{';
        for (key, value) in dict {
            text.push(before);
            quote(text, key.cast_exact().map_err(|_| Foreign)?)?;
            text.push(':');
            write(text, &value, deeper)?;
            before = ',';
        }
        return put(
            text,
            format_args!("{}", if before == '{' { "{}" } else { "}" }),
        );
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return sequence(text, list.iter(), deeper);
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return sequence(text, tuple.iter(), deeper);
    }
    Err(Foreign)
}

fn sequence<'py>(
    text: &mut String,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
) -> Result<(), Foreign> {
    text.push('[');
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.push(',');
        }
        write(text, &item, depth)?;
    }
    text.push(']');
    Ok(())
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) -> Result<(), Foreign> {
    text.write_fmt(arguments).map_err(|_| Foreign)
}

fn quote(text: &mut String, string: &Bound<'_, PyString>) -> Result<(), Foreign> {
    // Lone surrogates are no UTF-8.
    let string = string.to_str().map_err(|_| Foreign)?;
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\0'..' ' => put(text, format_args!("\\u{:04x}", u32::from(character)))?,
            _ => text.push(character),
        }
    }
    text.push('"');
    Ok(())
}
