//! Metadata as JSON, for the many samples whose metadata hold nothing but what JSON has, too.

use std::{fmt::Write, sync::Arc};

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

/// How deep values are followed here; `nanospan.export.safe_json` has its own limit.
const MAX_DEPTH: usize = 16;

/// JSON in UTF-8, of one row or of several that share their metadata.
pub type Text = Arc<[u8]>;

/// Each row's metadata as JSON in UTF-8, None where there is none; what consecutive rows share is encoded
/// once.
///
/// Metadata with any value or key of another type than JSON's are left to `fallback`, which returns bytes.
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

/// Puts each text between quotes, and doubles those in it, which JSON is full of.
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
    // Lone surrogates have no UTF-8.
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
