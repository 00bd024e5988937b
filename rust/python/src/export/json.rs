//! Fast JSON encoding of metadata that contains only JSON's types, as most samples' metadata does.

use std::{fmt::Write, sync::Arc};

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// Maximum nesting depth encoded here; deeper metadata is left to `nanospan.export.safe_json`, which has its own
/// limit.
const MAX_DEPTH: usize = 16;

/// The UTF-8 JSON text of one row's metadata, shared by consecutive rows with the same metadata object.
pub type Text = Arc<[u8]>;

/// Encodes each row's metadata as UTF-8 JSON; returns `None` for a row without metadata. Metadata shared by consecutive
/// rows is encoded only once.
///
/// Metadata with a key or value that this module cannot encode is passed to `fallback`, which must return its JSON as
/// bytes.
pub fn encode(
    rows: &[Option<Py<PyDict>>],
    fallback: &Bound<'_, PyAny>,
) -> PyResult<Vec<Option<Text>>> {
    let py = fallback.py();
    let mut last: Option<(&Py<PyDict>, Text)> = None;
    let mut text = String::new();
    let mut encoded = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(metadata) = row else {
            encoded.push(None);
            continue;
        };
        let bytes = match last.as_ref().filter(|(before, _)| before.is(metadata)) {
            Some((_, bytes)) => Arc::clone(bytes),
            None => {
                text.clear();
                match write(&mut text, metadata.bind(py), MAX_DEPTH) {
                    Ok(()) => Arc::from(text.as_bytes()),
                    Err(Foreign) => {
                        let bytes = fallback.call1((metadata,))?.cast_into::<PyBytes>()?;
                        Arc::from(bytes.as_bytes())
                    }
                }
            }
        };
        encoded.push(Some(Arc::clone(&bytes)));
        last = Some((metadata, bytes));
    }
    Ok(encoded)
}

/// Quotes each text for CSV: puts it between double quotes, and doubles the double quotes inside.
pub fn quote_as_csv(texts: &mut [Option<Text>]) {
    let mut last: Option<(Text, Text)> = None;
    for text in texts.iter_mut().flatten() {
        let quoted = match last
            .as_ref()
            .filter(|(before, _)| Arc::ptr_eq(before, text))
        {
            Some((_, quoted)) => Arc::clone(quoted),
            None => {
                let mut quoted = Vec::with_capacity(text.len() + 16);
                quoted.push(b'"');
                for &byte in text.iter() {
                    quoted.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
                }
                quoted.push(b'"');
                Arc::from(quoted)
            }
        };
        last = Some((std::mem::replace(text, Arc::clone(&quoted)), quoted));
    }
}

/// Error for a value that this module cannot encode, for example because it has no JSON equivalent, is an instance of a
/// subclass, is an int of more than 64 bits, or is nested too deeply.
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
    // A string with lone surrogates cannot be encoded as UTF-8.
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
