//! The target `snapshot`: encoded monitor snapshots, and their expositions for Prometheus.

use nanospan_format::prometheus::{Format, Options, Source, encode};
use nanospan_record::MonitorSnapshot;

use crate::{
    exposition::{check_protobuf, check_text},
    histogram::ALL_COUNTS,
    limits::limited,
};

const CHECKSUM: usize = 4;

/// The shortest encoding of an operation, in bytes.
const SHORTEST: usize = 40;

/// Decoding any bytes gives an error, or a snapshot that encodes to the same bytes and can be exposed in every format.
/// The bytes are tried as they are and with correct checksums, which a fuzzer cannot guess.
pub fn target(data: &[u8]) {
    try_to_decode(data);
    try_to_decode(&repaired(data));
}

fn try_to_decode(bytes: &[u8]) {
    let extra = (1 + bytes.len() / SHORTEST) * 3 * ALL_COUNTS;
    let Ok(snapshot) = limited(bytes, extra, MonitorSnapshot::from_bytes) else {
        return;
    };
    assert_eq!(
        snapshot.to_bytes().as_deref(),
        Ok(bytes),
        "a second encoding"
    );
    for operation in snapshot.since(&snapshot).expect("enough memory").operations {
        assert!(operation.all().is_ok(), "{operation:?}");
    }
    let options = Options::new(&[1e-6, 1e-3, 1.0], 160).expect("valid options");
    let source = Source {
        snapshot: &snapshot,
        labels: &[("snapshot".to_owned(), "a \"b\"\n".to_owned())],
    };
    for format in [Format::Text, Format::OpenMetrics] {
        check_text(&[source], &[], format, &options);
    }
    check_protobuf(&encode(&[source], &[], Format::Protobuf, &options).expect("enough memory"));
}

/// Returns the bytes followed by their checksum.
pub fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &crc32fast::hash(content).to_le_bytes()].concat()
}

/// Returns the bytes with the checksum of each histogram, and then of the whole, in place of their last four bytes.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    repair_histograms(&mut bytes);
    repair(&mut bytes);
    bytes
}

fn repair(frame: &mut [u8]) {
    if let Some((content, checksum)) = frame.split_last_chunk_mut::<CHECKSUM>() {
        *checksum = crc32fast::hash(content).to_le_bytes();
    }
}

/// Repairs each histogram, as far as the bytes can be read as a monitor snapshot.
fn repair_histograms(bytes: &mut [u8]) -> Option<()> {
    let mut at = 4 + 8; // magic, version and time
    for _ in 0..number(bytes, &mut at)? {
        at = at.checked_add(number(bytes, &mut at)?)?; // the name
        at += 8; // when it was created
        number(bytes, &mut at)?;
        number(bytes, &mut at)?;
        at += match bytes.get(at)? {
            0 => 1,
            _ => 9, // with a threshold
        };
        for _ in 0..3 {
            let length = number(bytes, &mut at)?;
            let end = at.checked_add(length)?;
            repair(bytes.get_mut(at..end)?);
            at = end;
        }
    }
    Some(())
}

/// Reads a varint at `at`, and moves `at` behind it.
fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut rest = bytes.get(*at..)?;
    let before = rest.len();
    let number = prost::encoding::decode_varint(&mut rest).ok()?;
    *at += before - rest.len();
    usize::try_from(number).ok()
}
