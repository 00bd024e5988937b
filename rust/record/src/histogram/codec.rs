//! A snapshot as bytes, to be kept or sent.
//!
//! ```text
//! magic       3 bytes   "NSH"
//! version     1 byte    1
//! scale       1 byte    two's complement
//! zeros       varint    values that were exactly 0
//! buckets     varint    how many buckets are not empty, then for each, by ascending index:
//!   gap       varint      empty buckets since the one before; the first counts from the least index
//!   count     varint      at least 1
//! min, max    varints   nanoseconds; these and the sum are left out where there is no value
//! sum         varint    nanoseconds, up to 128 bits
//! checksum    4 bytes   CRC-32 (IEEE) of everything before it, little-endian
//! ```
//!
//! A varint is LEB128: seven bits a byte, least first, as few bytes as the number needs. So a snapshot has
//! exactly one encoding. Reading trusts nothing: what is accepted is a histogram that could have been
//! recorded, and what is allocated is bounded by the number of buckets there can be.

use std::fmt;

use super::{
    config::{MAX_INDEX, MIN_INDEX, MIN_SCALE, SCALE},
    snapshot::Snapshot,
};
use crate::error::Error;

const MAGIC: [u8; 3] = *b"NSH";
const VERSION: u8 = 1;
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// What is wrong with bytes that should have been a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// They end too early.
    Truncated,
    /// They do not start as a snapshot does.
    Magic,
    /// They are of a version that this one cannot read.
    Version(u8),
    /// They were changed since they were written.
    Checksum,
    /// There are more of them than the snapshot needs.
    Trailing,
    /// A number is too large for its field, or longer than it needs to be.
    Number,
    /// The scale is not one that this version records or coarsens to.
    Scale(i8),
    /// A bucket is empty, lies out of range or can hold no whole number of nanoseconds.
    Bucket,
    /// There are more than `u64::MAX` values.
    Count,
    /// Minimum or maximum lie outside the first or last bucket.
    Extremes,
    /// Values in those buckets cannot add up to the sum.
    Sum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::Magic => f.write_str("it does not start with \"NSH\""),
            Self::Version(given) => write!(f, "version {given} is not {VERSION}"),
            Self::Checksum => f.write_str("the checksum differs: the bytes were changed"),
            Self::Trailing => f.write_str("bytes are left over"),
            Self::Number => f.write_str("a number is too large, or longer than it needs to be"),
            Self::Scale(given) => {
                write!(f, "scale {given} is not between {MIN_SCALE} and {SCALE}")
            }
            Self::Bucket => f.write_str("a bucket is empty or out of range"),
            Self::Count => f.write_str("the counts add up to more than 64 bits"),
            Self::Extremes => {
                f.write_str("minimum or maximum lie outside the first or last bucket")
            }
            Self::Sum => f.write_str("the sum is impossible for these buckets"),
        }
    }
}

impl Snapshot {
    /// The snapshot as bytes, which [`from_bytes`](Self::from_bytes) turns back into an equal one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 4 * self.counts.len());
        out.extend(MAGIC);
        out.push(VERSION);
        // Between MIN_SCALE and SCALE.
        out.extend((self.scale as i8).to_le_bytes());
        put(&mut out, self.zeros.into());
        put(&mut out, self.buckets().count() as u128);
        let mut next = least_index(self.scale);
        for (index, count) in self.buckets() {
            put(&mut out, (index - next).cast_unsigned().into());
            put(&mut out, count.into());
            next = index + 1;
        }
        if self.count() > 0 {
            put(&mut out, self.min.into());
            put(&mut out, self.max.into());
            put(&mut out, self.sum);
        }
        let checksum = crc32fast::hash(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// The snapshot that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`] if the bytes are not a snapshot, were damaged, or hold what could never have been
    /// recorded.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes).map_err(Error::Snapshot)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (content, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or(Damage::Truncated)?;
        let mut input = Input(content);
        if input.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        match input.byte()? {
            VERSION => {}
            other => return Err(Damage::Version(other)),
        }
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(Damage::Checksum);
        }
        let snapshot = input.snapshot()?;
        if input.0.is_empty() {
            Ok(snapshot)
        } else {
            Err(Damage::Trailing)
        }
    }
}

fn least_index(scale: i32) -> i32 {
    MIN_INDEX >> (SCALE - scale)
}

/// Appends `number` as a varint.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u128) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The bytes not read yet.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Damage> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn wide(&mut self) -> Result<u128, Damage> {
        let mut number = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damage::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                // A last byte of zero would add nothing.
                return if byte == 0 && shift > 0 {
                    Err(Damage::Number)
                } else {
                    Ok(number)
                };
            }
        }
        Err(Damage::Number)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Damage> {
        u64::try_from(self.wide()?).map_err(|_| Damage::Number)
    }

    fn snapshot(&mut self) -> Result<Snapshot, Damage> {
        let scale = i8::from_le_bytes([self.byte()?]);
        if !(MIN_SCALE..=SCALE).contains(&i32::from(scale)) {
            return Err(Damage::Scale(scale));
        }
        let scale = i32::from(scale);
        let zeros = self.number()?;
        let buckets = self.number()?;

        let least = least_index(scale);
        // How many buckets there can be at this scale; at most BUCKETS.
        let room = u64::from((MAX_INDEX >> (SCALE - scale)).abs_diff(least)) + 1;
        let (mut first, mut counts, mut next) = (0, Vec::new(), 0);
        for _ in 0..buckets {
            let (gap, count) = (self.number()?, self.number()?);
            let slot = gap.checked_add(next).filter(|&slot| slot < room);
            let slot = slot.filter(|_| count > 0).ok_or(Damage::Bucket)?;
            if counts.is_empty() {
                first = slot;
            }
            counts.resize((slot - first) as usize, 0);
            counts.push(count);
            next = slot + 1;
        }
        let mut snapshot = Snapshot {
            scale,
            zeros,
            // 0 where there is no bucket. A slot is below BUCKETS.
            first: if counts.is_empty() {
                0
            } else {
                least + first as i32
            },
            counts,
            ..Snapshot::default()
        };
        snapshot.checked_count().ok_or(Damage::Count)?;
        if snapshot.count() > 0 {
            (snapshot.min, snapshot.max) = (self.number()?, self.number()?);
            snapshot.sum = self.wide()?;
            if !snapshot.is_possible() {
                return Err(Damage::Bucket);
            }
            let possible = snapshot.possible_extremes();
            if !possible.0.contains(&snapshot.min)
                || !possible.1.contains(&snapshot.max)
                || snapshot.min > snapshot.max
            {
                return Err(Damage::Extremes);
            }
            if !snapshot.possible_sums().contains(&snapshot.sum) {
                return Err(Damage::Sum);
            }
        }
        Ok(snapshot)
    }
}
