//! The binary encoding of a histogram snapshot, for storage or transmission.
//!
//! ```text
//! magic       3 bytes   "NSH"
//! version     1 byte    1
//! scale       1 byte    two's complement
//! zeros       varint    the number of values that were exactly 0
//! buckets     varint    the number of non-empty buckets, then for each, in ascending order of index:
//!   gap       varint      the number of empty buckets after the previous one, or for the first, from the lowest index
//!   count     varint      at least 1
//! min, max    varints   nanoseconds; these and the sum are omitted if there are no values
//! sum         varint    nanoseconds, up to 128 bits
//! checksum    4 bytes   CRC-32 (IEEE) of everything before it, little-endian
//! ```
//!
//! The module `bytes` defines the frame (magic, version and checksum) and the varints, and gives each number a single
//! encoding, so each snapshot has a single encoding too. The decoder does not trust its input: it accepts only
//! histograms that could have been recorded, and never allocates more counts than there are possible buckets.

use nanospan_fallible::{OutOfMemory, TryGrow};

use super::{
    config::{MAX_INDEX, MIN_INDEX, MIN_SCALE, SCALE},
    snapshot::Snapshot,
};
use crate::{
    bytes::{Input, Kind, put, seal},
    error::{Damage, Error, Stopped},
};

const KIND: Kind = Kind {
    magic: "NSH",
    version: 1,
};

impl Snapshot {
    /// Encodes the snapshot as bytes, which [`from_bytes`](Self::from_bytes) decodes to an equal snapshot.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut out = KIND.begin(64 + 4 * self.counts.len());
        // The cast is exact: the scale is between MIN_SCALE and SCALE.
        out.put(&(self.scale as i8).to_le_bytes());
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
        seal(out)
    }

    /// Decodes a snapshot encoded by [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    ///
    /// [`Error::Snapshot`] if the bytes do not encode a snapshot, are damaged, or describe a histogram that could never
    /// have been recorded; [`Error::OutOfMemory`] if there is no memory for the snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes).map_err(|stopped| stopped.into_error(Error::Snapshot))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Stopped> {
        let mut input = KIND.open(bytes)?;
        let snapshot = snapshot(&mut input)?;
        input.finish()?;
        Ok(snapshot)
    }
}

fn least_index(scale: i32) -> i32 {
    MIN_INDEX >> (SCALE - scale)
}

fn snapshot(input: &mut Input<'_>) -> Result<Snapshot, Stopped> {
    let scale = i8::from_le_bytes([input.byte()?]);
    if !(MIN_SCALE..=SCALE).contains(&i32::from(scale)) {
        return Err(Stopped::Damage(Damage::Scale {
            given: scale,
            range: (MIN_SCALE, SCALE),
        }));
    }
    let scale = i32::from(scale);
    let zeros = input.number()?;
    let buckets = input.number()?;

    let least = least_index(scale);
    // The number of possible buckets at this scale, which is at most BUCKETS.
    let room = u64::from((MAX_INDEX >> (SCALE - scale)).abs_diff(least)) + 1;
    let (mut first, mut counts, mut next) = (0, Vec::new(), 0);
    for _ in 0..buckets {
        let (gap, count) = (input.number()?, input.number()?);
        let slot = gap.checked_add(next).filter(|&slot| slot < room);
        let slot = slot.filter(|_| count > 0).ok_or(Damage::Bucket)?;
        if counts.is_empty() {
            first = slot;
        }
        counts.try_resize_with((slot - first) as usize, || 0)?;
        counts.try_push(count)?;
        next = slot + 1;
    }
    let mut snapshot = Snapshot {
        scale,
        zeros,
        // 0 if there are no buckets. The cast is exact: a slot is below BUCKETS.
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
        (snapshot.min, snapshot.max) = (input.number()?, input.number()?);
        snapshot.sum = input.wide()?;
        if !snapshot.is_possible() {
            return Err(Damage::Bucket.into());
        }
        let possible = snapshot.possible_extremes();
        if !possible.0.contains(&snapshot.min)
            || !possible.1.contains(&snapshot.max)
            || snapshot.min > snapshot.max
        {
            return Err(Damage::Extremes.into());
        }
        if !snapshot.possible_sums().contains(&snapshot.sum) {
            return Err(Damage::Sum.into());
        }
    }
    Ok(snapshot)
}
