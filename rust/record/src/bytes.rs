//! The frame format and the number encoding that all serialised snapshots share.
//!
//! A frame consists of three magic bytes, a version byte, the content, and the little-endian CRC-32 (IEEE) of
//! everything before it. Numbers are varints (LEB128): seven bits per byte, least significant first, in as few bytes as
//! possible, so that each value has exactly one encoding.

use nanospan_fallible::{Buffer, OutOfMemory};

use crate::error::Damage;

const CHECKSUM_BYTES: usize = 4;

/// The length of the varint of 2^128 - 1.
const LONGEST_NUMBER: usize = u128::BITS.div_ceil(7) as usize;

/// A kind of frame, identified by the magic bytes and the version at its start.
#[derive(Debug)]
pub struct Kind {
    pub magic: &'static str,
    pub version: u8,
}

impl Kind {
    /// Returns the beginning of a frame, in a buffer with room for `capacity` bytes. [`seal`] completes the frame.
    pub fn begin(&self, capacity: usize) -> Buffer {
        let mut out = Buffer::with_capacity(capacity);
        out.put(self.magic.as_bytes());
        out.put_byte(self.version);
        out
    }

    /// Checks that `bytes` is an intact frame of this kind, and returns the frame's content for reading.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Input<'a>, Damage> {
        let (content, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Damage::Truncated)?;
        let mut input = Input(content);
        if input.bytes(self.magic.len())? != self.magic.as_bytes() {
            return Err(Damage::Magic(self.magic));
        }
        let (given, readable) = (input.byte()?, self.version);
        if given != readable {
            return Err(Damage::Version { given, readable });
        }
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(Damage::Checksum);
        }
        Ok(input)
    }
}

/// Completes a frame by appending its checksum.
///
/// # Errors
///
/// [`OutOfMemory`] if there was no memory for the frame.
pub fn seal(mut frame: Buffer) -> Result<Vec<u8>, OutOfMemory> {
    let checksum = crc32fast::hash(frame.as_bytes());
    frame.put(&checksum.to_le_bytes());
    frame.finish()
}

/// Appends `number` to `out` as a varint.
pub fn put(out: &mut Buffer, mut number: u128) {
    let mut bytes = [0; LONGEST_NUMBER];
    let mut length = 0;
    while number >= 0x80 {
        bytes[length] = number as u8 | 0x80;
        number >>= 7;
        length += 1;
    }
    bytes[length] = number as u8;
    out.put(&bytes[..=length]);
}

/// Appends `bytes` to `out`, prefixed with their length as a varint.
pub fn put_sized(out: &mut Buffer, bytes: &[u8]) {
    put(out, bytes.len() as u128);
    out.put(bytes);
}

/// A reader of a frame's content. It holds the bytes that have not been read yet.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Reads a length-prefixed byte string, as written by [`put_sized`].
    pub fn sized(&mut self) -> Result<&'a [u8], Damage> {
        let length = usize::try_from(self.number()?).map_err(|_| Damage::Truncated)?;
        self.bytes(length)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    pub fn byte(&mut self) -> Result<u8, Damage> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// Reads a varint of up to 128 bits.
    pub fn wide(&mut self) -> Result<u128, Damage> {
        let mut number = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damage::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                // A final zero byte is redundant, so this is not the shortest encoding.
                return if byte == 0 && shift > 0 {
                    Err(Damage::Number)
                } else {
                    Ok(number)
                };
            }
        }
        Err(Damage::Number)
    }

    /// Reads a varint of up to 64 bits.
    pub fn number(&mut self) -> Result<u64, Damage> {
        u64::try_from(self.wide()?).map_err(|_| Damage::Number)
    }

    /// Checks that all of the input has been read.
    pub fn finish(self) -> Result<(), Damage> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Damage::Trailing),
        }
    }
}
