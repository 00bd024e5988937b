//! Fast JSON encoding of metadata that contains only JSON's types, as most samples' metadata does.

use std::fmt::Write;

use nanospan_fallible::Buffer;
use nanospan_format::columns::Attached;
use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};

use crate::error::Fallible;

/// Maximum nesting depth encoded here; deeper metadata is left to `nanospan.export.safe_json`, which has its own
/// limit.
const MAX_DEPTH: usize = 16;

/// Encodes each row's metadata as UTF-8 JSON; a row without metadata has no text. Metadata shared by consecutive rows is
/// encoded only once.
///
/// Metadata with a key or value that this module cannot encode is passed to `fallback`, which must return its JSON as
/// bytes.
pub fn encode(rows: &[Option<Py<PyDict>>], fallback: &Bound<'_, PyAny>) -> Fallible<Attached> {
    let py = fallback.py();
    let mut last: Option<&Py<PyDict>> = None;
    let mut text = Buffer::default();
    let mut encoded = Attached::default();
    for row in rows {
        let Some(metadata) = row else {
            encoded.push(None)?;
            continue;
        };
        if last.is_some_and(|last| last.is(metadata)) {
            encoded.share()?;
            continue;
        }
        last = Some(metadata);
        text.clear();
        let written = write(&mut text, metadata.bind(py), MAX_DEPTH);
        text.check()?;
        match written {
            Ok(()) => encoded.push(Some(text.as_bytes()))?,
            Err(Foreign) => {
                let bytes = fallback.call1((metadata,))?;
                let bytes = bytes.cast_into::<PyBytes>().map_err(PyErr::from)?;
                encoded.push(Some(bytes.as_bytes()))?;
            }
        }
    }
    Ok(encoded)
}

/// Error for a value that this module cannot encode, for example because it has no JSON equivalent, is an instance of a
/// subclass, is an int of more than 64 bits, or is nested too deeply.
struct Foreign;

fn write(text: &mut Buffer, value: &Bound<'_, PyAny>, depth: usize) -> Result<(), Foreign> {
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
        let mut before = b'{';
        for (key, value) in dict {
            text.put_byte(before);
            quote(text, key.cast_exact().map_err(|_| Foreign)?)?;
            text.put_byte(b':');
            write(text, &value, deeper)?;
            before = b',';
        }
        return put(
            text,
            format_args!("{}", if before == b'{' { "{}" } else { "}" }),
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
    text: &mut Buffer,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    depth: usize,
) -> Result<(), Foreign> {
    text.put_byte(b'[');
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.put_byte(b',');
        }
        write(text, &item, depth)?;
    }
    text.put_byte(b']');
    Ok(())
}

fn put(text: &mut Buffer, arguments: std::fmt::Arguments<'_>) -> Result<(), Foreign> {
    text.write_fmt(arguments).map_err(|_| Foreign)
}

fn quote(text: &mut Buffer, string: &Bound<'_, PyString>) -> Result<(), Foreign> {
    // A string with lone surrogates cannot be encoded as UTF-8.
    let string = string.to_str().map_err(|_| Foreign)?;
    text.put_byte(b'"');
    let mut rest = string;
    // What must be escaped is ASCII, so `at` is a character boundary.
    while let Some(at) = rest
        .bytes()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))
    {
        text.put(&rest.as_bytes()[..at]);
        match rest.as_bytes()[at] {
            b'"' => text.put(b"\\\""),
            b'\\' => text.put(b"\\\\"),
            b'\n' => text.put(b"\\n"),
            byte => put(text, format_args!("\\u{byte:04x}"))?,
        }
        rest = &rest[at + 1..];
    }
    text.put(rest.as_bytes());
    text.put_byte(b'"');
    Ok(())
}
