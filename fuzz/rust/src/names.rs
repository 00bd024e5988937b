//! The target `names`: names of operations, escaped to text and back.

use nanospan_format::names::{escape, unescape};

use crate::limits::limited;

/// Escaping any bytes gives text. A name (UTF-8 in which lone surrogates are encoded as if they were characters) comes
/// back from its text, and so does the name that any text stands for.
pub fn target(data: &[u8]) {
    let text = limited(data, 4 * data.len(), |data| {
        escape(data).expect("enough memory").into_owned()
    });
    if is_name(data) {
        assert_eq!(&*unescape(&text).expect("enough memory"), data);
    }
    if let Ok(text) = str::from_utf8(data) {
        let name = limited(data, 0, |_| {
            unescape(text).expect("enough memory").into_owned()
        });
        assert!(is_name(&name));
        assert_eq!(
            &*unescape(&escape(&name).expect("enough memory")).expect("enough memory"),
            name
        );
    }
}

/// Returns whether the bytes are UTF-8 but for surrogates.
fn is_name(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Err(error) = str::from_utf8(rest) {
        match &rest[error.valid_up_to()..] {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] => rest = after,
            _ => return false,
        }
    }
    true
}
