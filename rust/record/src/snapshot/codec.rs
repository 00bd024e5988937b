//! A monitor's snapshot as bytes.
//!
//! ```text
//! magic        3 bytes   "NSM"
//! version      1 byte    1
//! time         8 bytes   f64, little-endian, like every f64 here
//! operations   varint    how many, then for each:
//!   name         varint      its length in bytes, then the bytes
//!   created      8 bytes     f64
//!   violations   varint
//!   in_flight    varint
//!   threshold    1 byte      0: none; 1: 8 bytes, f64, follow
//!   ok, error, cancelled     for each a varint, its length in bytes, then a histogram's bytes
//! checksum     4 bytes   CRC-32 (IEEE) of everything before it, little-endian
//! ```
//!
//! Varints and histograms are those of the [histogram's codec](crate::histogram).

use std::{collections::HashSet, fmt};

use super::{MonitorSnapshot, OperationSnapshot};
use crate::{
    error::{Error, check_seconds},
    histogram::{
        self, Snapshot,
        codec::{CHECKSUM_BYTES, Input, put},
    },
};

const MAGIC: [u8; 3] = *b"NSM";
const VERSION: u8 = 1;

/// What is wrong with bytes that should have been a monitor's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// They do not start as a snapshot does.
    Magic,
    /// They are of a version that this one cannot read.
    Version(u8),
    /// A time or threshold is negative, infinite or not a number.
    Seconds,
    /// A name is empty, or there twice.
    Name,
    /// A mark is neither 0 nor 1.
    Mark,
    /// A number or histogram is damaged, or the bytes as a whole are.
    Part(histogram::Damage),
}

impl From<histogram::Damage> for Damage {
    fn from(damage: histogram::Damage) -> Self {
        Self::Part(damage)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("it does not start with \"NSM\""),
            Self::Version(given) => write!(f, "version {given} is not {VERSION}"),
            Self::Seconds => f.write_str("a time or threshold is no finite number >= 0"),
            Self::Name => f.write_str("a name is empty, or there twice"),
            Self::Mark => f.write_str("a mark is neither 0 nor 1"),
            Self::Part(damage) => damage.fmt(f),
        }
    }
}

impl MonitorSnapshot {
    /// The snapshot as bytes, which [`from_bytes`](Self::from_bytes) turns back into an equal one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.push(VERSION);
        out.extend(self.time.to_le_bytes());
        put(&mut out, self.operations.len() as u128);
        for operation in &self.operations {
            put_bytes(&mut out, &operation.name);
            out.extend(operation.created.to_le_bytes());
            put(&mut out, operation.violations.into());
            put(&mut out, operation.in_flight.into());
            out.push(operation.threshold.is_some().into());
            out.extend(operation.threshold.iter().flat_map(|t| t.to_le_bytes()));
            for part in operation.parts() {
                put_bytes(&mut out, &part.to_bytes());
            }
        }
        let checksum = crc32fast::hash(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// The snapshot that [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`Error::MonitorSnapshot`] if the bytes are no snapshot of a monitor, or were damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes).map_err(Error::MonitorSnapshot)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u128);
    out.extend(bytes);
}

fn decode(bytes: &[u8]) -> Result<MonitorSnapshot, Damage> {
    let (content, checksum) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(histogram::Damage::Truncated)?;
    let mut input = Input(content);
    if input.array()? != MAGIC {
        return Err(Damage::Magic);
    }
    match input.byte()? {
        VERSION => {}
        other => return Err(Damage::Version(other)),
    }
    if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
        return Err(histogram::Damage::Checksum.into());
    }
    let time = seconds(&mut input)?;
    let mut operations = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..input.number()? {
        let operation = operation(&mut input)?;
        if operation.name.is_empty() || !names.insert(operation.name.clone()) {
            return Err(Damage::Name);
        }
        operations.push(operation);
    }
    match input.0 {
        [] => Ok(MonitorSnapshot { time, operations }),
        _ => Err(histogram::Damage::Trailing.into()),
    }
}

fn operation(input: &mut Input<'_>) -> Result<OperationSnapshot, Damage> {
    let name = sized(input)?.into();
    let created = seconds(input)?;
    let (violations, in_flight) = (input.number()?, input.number()?);
    let threshold = match input.byte()? {
        0 => None,
        1 => Some(seconds(input)?),
        _ => return Err(Damage::Mark),
    };
    let mut part = || -> Result<_, Damage> { Ok(Snapshot::decode(sized(input)?)?) };
    let [ok, error, cancelled] = [part()?, part()?, part()?];
    // Together they are numbered with 64 bits.
    ok.count()
        .checked_add(error.count())
        .and_then(|sum| sum.checked_add(cancelled.count()))
        .ok_or(histogram::Damage::Count)?;
    Ok(OperationSnapshot {
        name,
        ok,
        error,
        cancelled,
        violations,
        threshold,
        in_flight,
        created,
    })
}

fn sized<'a>(input: &mut Input<'a>) -> Result<&'a [u8], Damage> {
    let length = usize::try_from(input.number()?).map_err(|_| histogram::Damage::Truncated)?;
    Ok(input.bytes(length)?)
}

fn seconds(input: &mut Input<'_>) -> Result<f64, Damage> {
    let value = f64::from_le_bytes(input.array()?);
    check_seconds(value).map_err(|_| Damage::Seconds)
}
