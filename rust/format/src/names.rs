//! Names of operations as text that every export format can carry.
//!
//! A Python string may contain lone surrogates, which no text format can encode. [`escape`] replaces them so that
//! different names remain different, because readers reject an export in which two series have the same labels. The
//! text depends only on the name, so a name has the same text in every process, at any time, whichever other names
//! there are. [`unescape`] reverses it.

use std::borrow::Cow;

use nanospan_fallible::{Buffer, OutOfMemory};

/// Converts a name to text. The name is UTF-8, except that lone surrogates are encoded as if they were characters.
///
/// A lone surrogate is replaced by an escape sequence such as `\ud800`. To keep names that contain such a sequence
/// themselves apart, backslashes directly before a surrogate, and before text such as `ud800`, are doubled. All other
/// names remain as they are. Invalid bytes other than surrogates, which no name has, are replaced by U+FFFD.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the text.
pub fn escape(name: &[u8]) -> Result<Cow<'_, str>, OutOfMemory> {
    if let Ok(text) = str::from_utf8(name)
        && !text.contains(r"\ud")
    {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = Buffer::with_capacity(2 * name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let backslashes = run(rest);
        rest = &rest[backslashes..];
        let surrogate = surrogate(rest);
        let doubled = surrogate.is_some() || escaped(rest).is_some();
        put_backslashes(&mut out, backslashes << u32::from(doubled));
        if let Some(code) = surrogate {
            out.text(format_args!("\\u{code:04x}"));
            rest = &rest[3..];
        } else if let Some((&byte, more)) = rest.split_first() {
            out.put_byte(byte);
            rest = more;
        }
    }
    match String::from_utf8(out.finish()?) {
        Ok(text) => Ok(Cow::Owned(text)),
        Err(invalid) => lossy(invalid.as_bytes()),
    }
}

/// Replaces everything that is not UTF-8 by U+FFFD.
fn lossy(bytes: &[u8]) -> Result<Cow<'static, str>, OutOfMemory> {
    let mut text = Buffer::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.put(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            text.put("\u{fffd}".as_bytes());
        }
    }
    let text = String::from_utf8(text.finish()?).expect("all parts are UTF-8");
    Ok(Cow::Owned(text))
}

/// Converts text that [`escape`] returned back to the name.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the name.
pub fn unescape(text: &str) -> Result<Cow<'_, [u8]>, OutOfMemory> {
    if !text.contains(r"\ud") {
        return Ok(Cow::Borrowed(text.as_bytes()));
    }
    // A name is never longer than its text.
    let mut out = Buffer::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let backslashes = run(rest);
        rest = &rest[backslashes..];
        match escaped(rest) {
            Some(code) => {
                put_backslashes(&mut out, backslashes / 2);
                if backslashes % 2 == 1 {
                    out.put_byte(0xed);
                    out.put(&[code >> 6, code].map(|bits| 0x80 | (bits & 0x3f) as u8));
                    rest = &rest[ESCAPED..];
                }
            }
            None => put_backslashes(&mut out, backslashes),
        }
        // What follows the backslashes is not a backslash, so it is copied as it is.
        if let Some((&byte, more)) = rest.split_first()
            && byte != b'\\'
        {
            out.put_byte(byte);
            rest = more;
        }
    }
    out.finish().map(Cow::Owned)
}

fn put_backslashes(out: &mut Buffer, count: usize) {
    for _ in 0..count {
        out.put_byte(b'\\');
    }
}

/// The length of an escape sequence without its backslash, as in `ud800`.
const ESCAPED: usize = 5;

/// Returns the number of backslashes that `bytes` begin with.
fn run(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b'\\').count()
}

/// Returns the surrogate that `bytes` begin with, if any.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [0xed, high @ 0xa0..=0xbf, low @ 0x80..=0xbf, ..] => {
            Some(0xd000 | u16::from(high & 0x3f) << 6 | u16::from(low & 0x3f))
        }
        _ => None,
    }
}

/// Returns the surrogate whose escape sequence, without the backslash, `bytes` begin with, if any.
fn escaped(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..ESCAPED)?.strip_prefix(b"u")?;
    // Escape sequences have lower-case digits.
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(lower))?;
    let code = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn ordinary_names_remain_as_they_are() {
        for name in [
            "op",
            r"C:\users\due",
            "süß 🦀",
            r"\x\\\",
            "ud800",
            r"\uD800",
        ] {
            assert!(matches!(escape(name.as_bytes()), Ok(Cow::Borrowed(text)) if text == name));
        }
    }

    #[test]
    fn surrogates_and_what_looks_like_them_are_escaped() {
        for (name, text) in [
            (&b"\xed\xa0\x80"[..], r"\ud800"),
            (br"\ud800", r"\\ud800"),
            (br"\\ud800", r"\\\\ud800"),
            (b"\\\xed\xbf\xbf!", r"\\\udfff!"),
            (b"\xed\xa0\xbd\xed\xb8\x80", r"\ud83d\ude00"),
            (br"\udg\ud80", r"\udg\ud80"),
        ] {
            assert_eq!(escape(name).unwrap(), text);
            assert_eq!(&*unescape(text).unwrap(), name);
        }
    }

    proptest! {
        /// Each name comes back from its text, so different names have different texts.
        #[test]
        fn names_come_back(pieces in vec(prop_oneof![
            Just(b"\\".to_vec()),
            Just(b"ud800".to_vec()),
            Just(b"u".to_vec()),
            Just(b"d8".to_vec()),
            "\\PC".prop_map(String::into_bytes),
            (0xa0..=0xbf_u8, 0x80..=0xbf_u8).prop_map(|(high, low)| vec![0xed, high, low]),
        ], 0..12)) {
            let name = pieces.concat();
            let text = escape(&name).unwrap();
            prop_assert_eq!(&*unescape(&text).unwrap(), &*name, "{}", text);
        }
    }
}
