//! The binary encoding of a monitor snapshot, for storage or transmission.
//!
//! ```text
//! magic        3 bytes   "NSM"
//! version      1 byte    1
//! time         8 bytes   f64, little-endian, like every f64 here
//! operations   varint    the number of operations, then for each:
//!   name         varint      its length in bytes, then the bytes
//!   created      8 bytes     f64
//!   violations   varint
//!   in_flight    varint
//!   threshold    1 byte      0 if there is none, otherwise 1, followed by an f64 (8 bytes)
//!   ok, error, cancelled     for each: a varint, the length of a histogram in bytes, then the histogram
//! checksum     4 bytes   CRC-32 (IEEE) of everything before it, little-endian
//! ```
//!
//! The module `bytes` defines the frame (magic, version and checksum) and the varints; `histogram::codec` defines the
//! encoding of the histograms.

use std::collections::HashSet;

use nanospan_fallible::{OutOfMemory, TryGrow, add, boxed};

use super::{MonitorSnapshot, OperationSnapshot};
use crate::{
    bytes::{Input, Kind, put, put_sized, seal},
    error::{Damage, Error, Stopped},
    histogram::Snapshot,
    seconds::Seconds,
};

/// The magic bytes at the start of an encoded monitor snapshot.
pub const MAGIC: &str = "NSM";

const KIND: Kind = Kind {
    magic: MAGIC,
    version: 1,
};

impl MonitorSnapshot {
    /// Encodes the snapshot as bytes, which [`from_bytes`](Self::from_bytes) decodes to an equal snapshot.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut out = KIND.begin(64);
        out.put(&self.time.to_le_bytes());
        put(&mut out, self.operations.len() as u128);
        for operation in &self.operations {
            put_sized(&mut out, &operation.name);
            out.put(&operation.created.to_le_bytes());
            put(&mut out, operation.violations.into());
            put(&mut out, operation.in_flight.into());
            out.put_byte(operation.threshold.is_some().into());
            if let Some(threshold) = operation.threshold {
                out.put(&threshold.get().to_le_bytes());
            }
            for part in operation.parts() {
                put_sized(&mut out, &part.to_bytes()?);
            }
        }
        seal(out)
    }

    /// Decodes a snapshot encoded by [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    ///
    /// [`Error::MonitorSnapshot`] if the bytes do not encode a monitor snapshot or are damaged; [`Error::OutOfMemory`] if
    /// there is no memory for the snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes).map_err(|stopped| stopped.into_error(Error::MonitorSnapshot))
    }
}

fn decode(bytes: &[u8]) -> Result<MonitorSnapshot, Stopped> {
    let mut input = KIND.open(bytes)?;
    let time = seconds(&mut input)?.get();
    let mut operations = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..input.number()? {
        let name = input.sized()?;
        let operation = operation(name, &mut input)?;
        if name.is_empty() || !add(&mut names, name)? {
            return Err(Damage::Name.into());
        }
        operations.try_push(operation)?;
    }
    input.finish()?;
    Ok(MonitorSnapshot { time, operations })
}

fn operation(name: &[u8], input: &mut Input<'_>) -> Result<OperationSnapshot, Stopped> {
    let created = seconds(input)?.get();
    let (violations, in_flight) = (input.number()?, input.number()?);
    let threshold = match input.byte()? {
        0 => None,
        1 => Some(seconds(input)?),
        _ => return Err(Damage::Mark.into()),
    };
    let mut part = || Snapshot::decode(input.sized()?);
    let [ok, error, cancelled] = [part()?, part()?, part()?];
    // The total number of samples must fit into 64 bits.
    ok.count()
        .checked_add(error.count())
        .and_then(|sum| sum.checked_add(cancelled.count()))
        .ok_or(Damage::Count)?;
    Ok(OperationSnapshot {
        name: boxed(name)?,
        ok,
        error,
        cancelled,
        violations,
        threshold,
        in_flight,
        created,
    })
}

fn seconds(input: &mut Input<'_>) -> Result<Seconds, Damage> {
    let value = f64::from_le_bytes(input.array()?);
    Seconds::new(value).map_err(|_| Damage::Seconds)
}
