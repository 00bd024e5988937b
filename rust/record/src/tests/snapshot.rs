//! Tests of snapshot differences and of monitor snapshots.
//!
//! The difference between two snapshots contains exactly what was recorded between them. An encoded monitor snapshot
//! decodes to an equal snapshot, and all other bytes are rejected without a panic.

use proptest::{collection::vec, prelude::*};

use super::{extend_corpus, recorded};
use crate::{
    Clock, Lookup, Measured, MonitorSnapshot, Operation, OperationSnapshot, Outcome, Registry,
    Seconds, Writers,
    error::{Damage, Error},
    histogram::{Snapshot, config::index_of},
};

fn values() -> impl Strategy<Value = Vec<u64>> {
    vec((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..100)
}

fn operation(registry: &Registry, name: &[u8]) -> std::sync::Arc<Operation> {
    match registry.operation(name) {
        Lookup::Own(operation) => operation,
        Lookup::Refused { .. } => panic!("refused"),
    }
}

fn record(operation: &Operation, ns: u64, outcome: Outcome) {
    let now = Clock::get().ticks();
    operation.record(
        now,
        Measured::Nanos(ns),
        outcome,
        Writers::Concurrent,
        |_| false,
    );
}

/// An operation's name, number of samples for each outcome, number of violations and number of executions under way.
type Counts<'a> = (&'a [u8], [u64; 3], u64, u64);

fn counts(snapshot: &MonitorSnapshot) -> Vec<Counts<'_>> {
    let counts = |operation: &OperationSnapshot| operation.parts().map(Snapshot::count);
    snapshot
        .operations
        .iter()
        .map(|o| (&*o.name, counts(o), o.violations, o.in_flight))
        .collect()
}

#[test]
fn operations_stand_in_the_order_they_were_first_seen_and_quiet_ones_are_left_out() {
    let registry = Registry::new(10, 2).unwrap();
    let threshold = Some(Seconds::new(5e-9).unwrap());
    registry.set_threshold(b"z", threshold).unwrap();
    let (z, a) = (operation(&registry, b"z"), operation(&registry, b"a"));
    assert_eq!(counts(&registry.snapshot().unwrap()), []);
    a.begin(Writers::Serialised);
    a.begin(Writers::Concurrent);
    record(&z, 5, Outcome::Ok);
    record(&z, 6, Outcome::Error);
    record(&z, 7, Outcome::Cancelled);
    let Lookup::Refused { overflow, .. } = registry.operation(b"b") else {
        panic!("the registry must have no room for b");
    };
    record(&overflow, 1, Outcome::Ok);
    a.end(Writers::Serialised);
    let snapshot = registry.snapshot().unwrap();
    let expected: [Counts<'_>; 3] = [
        (b"z", [1, 1, 1], 2, 0),
        (b"a", [0, 0, 0], 0, 1),
        (b"__overflow__", [1, 0, 0], 0, 0),
    ];
    assert_eq!(counts(&snapshot), expected);
    assert_eq!(snapshot.operations[0].threshold, threshold);
    assert!(snapshot.operations[0].created <= snapshot.time);
    assert_eq!(snapshot.operations[0].all().unwrap(), recorded(&[5, 6, 7]));
}

#[test]
fn a_difference_counts_new_and_cleared_operations_from_their_start() {
    let registry = Registry::new(10, 10).unwrap();
    let names: [&[u8]; 3] = [b"kept", b"cleared", b"quiet"];
    let [kept, cleared, quiet] = names.map(|name| operation(&registry, name));
    for operation in [&kept, &cleared, &quiet] {
        record(operation, 1_000, Outcome::Ok);
        record(operation, 1_000, Outcome::Error);
    }
    let earlier = registry.snapshot().unwrap();
    record(&kept, 5, Outcome::Ok);
    cleared.clear();
    record(&cleared, 7, Outcome::Error);
    record(&operation(&registry, b"new"), 9, Outcome::Cancelled);
    let since = registry.snapshot().unwrap().since(&earlier).unwrap();
    let expected: [Counts<'_>; 3] = [
        (b"kept", [1, 0, 0], 0, 0),
        (b"cleared", [0, 1, 0], 0, 0),
        (b"new", [0, 0, 1], 0, 0),
    ];
    assert_eq!(counts(&since), expected);
    assert_eq!(since.operations[0].ok, recorded(&[5]));
    assert_eq!(since.operations[0].created, earlier.time);
}

#[test]
fn a_difference_is_the_same_when_the_wall_clock_was_set_in_between() {
    let registry = Registry::new(10, 10).unwrap();
    let op = operation(&registry, b"op");
    record(&op, 1_000, Outcome::Ok);
    let mut earlier = registry.snapshot().unwrap();
    earlier.time = earlier.operations[0].created + 60.0;
    record(&op, 5, Outcome::Ok);
    for set_by in [-3600.0, -1.0, 1.0, 30.0] {
        let mut now = registry.snapshot().unwrap();
        now.time = earlier.time + 60.0 + set_by;
        now.operations[0].created += set_by;
        let since = now.since(&earlier).unwrap();
        assert_eq!(since.operations[0].ok, recorded(&[5]), "set by {set_by} s");
        assert_eq!(since.operations[0].created, earlier.time);
    }
}

#[test]
fn each_kind_of_damage_has_its_own_name() {
    let registry = Registry::new(10, 10).unwrap();
    record(&operation(&registry, b"op"), 1, Outcome::Ok);
    let good = registry.snapshot().unwrap();
    let decode = |bytes: &[u8]| {
        extend_corpus("snapshot", bytes);
        MonitorSnapshot::from_bytes(bytes)
    };
    let damage = |snapshot: &MonitorSnapshot| decode(&snapshot.to_bytes().unwrap());
    let mut twice = good.clone();
    twice.operations.push(good.operations[0].clone());
    assert_eq!(damage(&twice), Err(Error::MonitorSnapshot(Damage::Name)));
    let mut timeless = good.clone();
    timeless.time = f64::NAN;
    assert_eq!(
        damage(&timeless),
        Err(Error::MonitorSnapshot(Damage::Seconds))
    );

    let of = |bytes: &[u8]| match decode(bytes) {
        Err(Error::MonitorSnapshot(damage)) => damage,
        other => panic!("{other:?}"),
    };
    let bytes = good.to_bytes().unwrap();
    assert_eq!(of(b"NS"), Damage::Truncated);
    assert_eq!(
        of(&recorded(&[1]).to_bytes().unwrap()),
        Damage::Magic("NSM")
    );
    assert_eq!(
        of(b"NSM\x02????"),
        Damage::Version {
            given: 2,
            readable: 1
        }
    );
    assert_eq!(of(&bytes[..bytes.len() - 1]), Damage::Checksum);
    assert_eq!(
        Error::MonitorSnapshot(Damage::Checksum).to_string(),
        "not a monitor snapshot: the checksum does not match; the bytes are damaged"
    );
}

proptest! {
    #[test]
    fn the_difference_is_what_was_recorded_in_between(
        before in values(), after in values(), scales in [-10..=6_i32, -10..=6_i32],
    ) {
        let earlier = recorded(&before).at_scale(scales[0]).unwrap();
        let all = [before, after.clone()].concat();
        let since = recorded(&all).at_scale(scales[1]).unwrap().since(&earlier).unwrap();
        let expected = recorded(&after).at_scale(scales[0].min(scales[1])).unwrap();
        prop_assert_eq!(since.count(), expected.count());
        prop_assert_eq!(since.sum_ns(), expected.sum_ns());
        prop_assert!(since.buckets().eq(expected.buckets()));
        prop_assert_eq!(since.zeros(), expected.zeros());
        prop_assert!(since.min_ns() <= expected.min_ns() || since.count() == 1);
        prop_assert_eq!(Snapshot::from_bytes(&since.to_bytes().unwrap()), Ok(since));
    }

    #[test]
    fn a_snapshot_of_something_else_is_not_earlier(values in values(), other in any::<u64>()) {
        let earlier = recorded(&[values.as_slice(), &[other, other]].concat());
        let mut later = values;
        later.push(other);
        prop_assert_eq!(recorded(&later).since(&earlier), Err(Error::NotEarlier));
    }

    #[test]
    fn values_up_to_a_bound_are_counted_to_within_its_bucket(values in values(), ns: u64) {
        let at_most = values.iter().filter(|&&v| v <= ns).count() as u64;
        let same_bucket = |&&v: &&u64| v > 0 && ns > 0 && index_of(v) == index_of(ns);
        let in_bucket = values.iter().filter(same_bucket).count() as u64;
        let counted = recorded(&values).count_up_to(ns);
        prop_assert!(counted <= at_most && counted + in_bucket >= at_most);
    }

    #[test]
    fn snapshots_come_back_equal(
        parts in vec((vec(any::<u8>(), 1..20), values(), values(), any::<u32>()), 0..5),
        time in 0.0..1e10,
        threshold in proptest::option::of((0.0..1e3).prop_map(|s| Seconds::new(s).unwrap())),
    ) {
        let mut snapshot = MonitorSnapshot { time, operations: Vec::new() };
        for (name, ok, error, count) in parts {
            if snapshot.operations.iter().all(|o| *o.name != *name) {
                snapshot.operations.push(OperationSnapshot {
                    name: name.into(),
                    ok: recorded(&ok),
                    error: recorded(&error),
                    cancelled: Snapshot::default(),
                    violations: count.into(),
                    threshold,
                    in_flight: count.into(),
                    created: time,
                });
            }
        }
        let bytes = snapshot.to_bytes().unwrap();
        extend_corpus("snapshot", &bytes);
        prop_assert_eq!(MonitorSnapshot::from_bytes(&bytes), Ok(snapshot));
    }

    #[test]
    fn hostile_bytes_are_refused_or_usable(
        mut content in vec(any::<u8>(), 0..200), keep in 0_usize..100, sealed: bool,
    ) {
        let registry = Registry::new(10, 10).unwrap();
        record(&operation(&registry, b"op"), 1, Outcome::Ok);
        let mut bytes = registry.snapshot().unwrap().to_bytes().unwrap();
        bytes.truncate(keep);
        bytes.append(&mut content);
        if sealed {
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        }
        if let Ok(snapshot) = MonitorSnapshot::from_bytes(&bytes) {
            prop_assert_eq!(MonitorSnapshot::from_bytes(&snapshot.to_bytes().unwrap()), Ok(snapshot));
        }
    }
}
