//! The target `histogram`: encoded histogram snapshots.

use nanospan_record::histogram::Snapshot;

use crate::{limits::limited, snapshot::sealed};

/// The memory of the counts of a histogram with all buckets. A decoded histogram has a count for each bucket between
/// its lowest and its highest one, however few bytes encode them; while their list grows, it exists twice.
pub const ALL_COUNTS: usize = 3 * 8 * 4096;

/// Decoding any bytes gives an error, or a snapshot that encodes to the same bytes and can be merged, reduced and
/// queried. The bytes are tried as they are and with a correct checksum, which a fuzzer cannot guess.
pub fn target(data: &[u8]) {
    try_to_decode(data);
    try_to_decode(&sealed(data));
}

fn try_to_decode(bytes: &[u8]) {
    let Ok(snapshot) = limited(bytes, ALL_COUNTS, Snapshot::from_bytes) else {
        return;
    };
    assert_eq!(
        snapshot.to_bytes().as_deref(),
        Ok(bytes),
        "a second encoding"
    );
    for q in [0.0, 0.5, 0.999, 1.0] {
        let quantile = snapshot.quantile(q).expect("q is in range");
        assert!(quantile.is_none_or(|ns| ns.is_finite() && ns >= 0.0));
    }
    for scale in [-12, -3, 0, 6] {
        let coarse = snapshot.at_scale(scale).expect("enough memory");
        assert_eq!(coarse.count(), snapshot.count());
        assert_eq!(
            Snapshot::from_bytes(&coarse.to_bytes().expect("enough memory")).as_ref(),
            Ok(&coarse)
        );
        let mut both = coarse.try_clone().expect("enough memory");
        if both.merge(&snapshot).is_ok() {
            assert_eq!(both.count(), 2 * snapshot.count());
            assert_eq!(
                Snapshot::from_bytes(&both.to_bytes().expect("enough memory")).as_ref(),
                Ok(&both)
            );
            let later = both.since(&coarse).map(|later| later.count());
            assert!(later.is_err() || later == Ok(snapshot.count()));
        }
    }
    let fewer = snapshot.with_at_most(5).expect("enough memory");
    assert!(fewer.buckets().count() <= 5);
    assert_eq!(snapshot.count_up_to(u64::MAX), snapshot.count());
}
