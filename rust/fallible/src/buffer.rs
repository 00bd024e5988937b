//! Text that is being written.

use std::fmt;

use crate::error::OutOfMemory;

/// Bytes that grow while they are written. Once there is no memory for more, further bytes are ignored, and
/// [`finish`](Self::finish) returns the error, so that writers need not check every write.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    failed: Option<OutOfMemory>,
}

impl Buffer {
    /// Creates an empty buffer with room for `capacity` bytes, or for none if there is no memory for them.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(capacity);
        buffer
    }

    /// Returns whether `more` bytes can be written; remembers the failure if not.
    pub fn reserve(&mut self, more: usize) -> bool {
        if self.failed.is_none() && self.bytes.try_reserve(more).is_err() {
            let bytes = self.bytes.len().saturating_add(more);
            self.fail(OutOfMemory { bytes });
        }
        self.failed.is_none()
    }

    /// Makes [`finish`](Self::finish) return `error`, and frees the memory.
    pub fn fail(&mut self, error: OutOfMemory) {
        self.bytes = Vec::new();
        self.failed = Some(error);
    }

    /// Appends `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        if self.reserve(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Appends one byte.
    #[inline]
    pub fn put_byte(&mut self, byte: u8) {
        if self.reserve(1) {
            self.bytes.push(byte);
        }
    }

    /// Appends what `write` writes, which must be at most `most` bytes long.
    pub fn put_with(&mut self, most: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.reserve(most) {
            write(&mut self.bytes);
        }
    }

    /// Appends formatted text.
    #[inline]
    pub fn text(&mut self, arguments: fmt::Arguments<'_>) {
        // It fails only when the buffer has failed, which finish() reports.
        let _ = fmt::Write::write_fmt(self, arguments);
    }

    /// Removes all bytes but keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Returns the bytes written so far; there are none after a failure.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes, or the error if there was no memory for all of them.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there was no memory for what was written.
    pub fn finish(self) -> Result<Vec<u8>, OutOfMemory> {
        match self.failed {
            None => Ok(self.bytes),
            Some(error) => Err(error),
        }
    }

    /// Returns the error if there was no memory for all that was written.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there was no memory for what was written.
    pub fn check(&self) -> Result<(), OutOfMemory> {
        self.failed.map_or(Ok(()), Err)
    }
}

impl fmt::Write for Buffer {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        match self.failed {
            None => Ok(()),
            Some(_) => Err(fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_and_later_writes_are_ignored() {
        let mut buffer = Buffer::default();
        buffer.put(b"before");
        assert!(!buffer.reserve(usize::MAX));
        buffer.put(b"after");
        buffer.put_byte(b'!');
        buffer.text(format_args!("{}", 7));
        buffer.put_with(0, |bytes| bytes.push(1));
        assert_eq!(
            (buffer.as_bytes(), buffer.check().is_err()),
            (&b""[..], true)
        );
        assert!(buffer.finish().is_err());
    }

    #[test]
    fn what_is_written_comes_back() {
        let mut buffer = Buffer::with_capacity(4);
        buffer.put(b"a");
        buffer.put_byte(b'b');
        buffer.text(format_args!("{}", 7));
        buffer.put_with(1, |bytes| bytes.push(b'c'));
        assert_eq!(buffer.finish().unwrap(), b"ab7c");
    }
}
