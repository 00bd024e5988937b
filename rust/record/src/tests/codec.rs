//! Tests of the encoding of histogram snapshots.
//!
//! At any scale, an encoded snapshot decodes to an equal snapshot, and each snapshot has exactly one encoding. Any
//! other input is rejected with an error that gives the reason. Neither decoding nor using a decoded snapshot panics.
//!
//! The environment variable `NANOSPAN_FUZZ_CASES` sets the number of hostile inputs to try.

use proptest::{collection::vec, prelude::*};

use super::{extend_corpus, recorded};
use crate::{
    error::{Damage, Error},
    histogram::{Snapshot, config::MAX_INDEX},
};

/// Returns `content` followed by its correct checksum, so that the decoder gets past the checksum test.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &crc32fast::hash(content).to_le_bytes()].concat()
}

/// Returns an encoded snapshot with the given bytes between its version and its checksum.
fn fields(fields: &[u8]) -> Vec<u8> {
    sealed(&[b"NSH\x01", fields].concat())
}

fn damage(bytes: &[u8]) -> Damage {
    extend_corpus("histogram", bytes);
    match Snapshot::from_bytes(bytes) {
        Err(Error::Snapshot(damage)) => damage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_encoding_does_not_change_between_releases() {
    let bytes = recorded(&[0, 1, 2, 2]).to_bytes().unwrap();
    // Scale 6; one zero; two buckets: the lowest with count 1, and after 63 empty ones another with count 2; minimum 0,
    // maximum 2, sum 5.
    assert_eq!(bytes, fields(&[6, 1, 2, 0, 1, 63, 2, 0, 2, 5]));
    assert_eq!(recorded(&[]).to_bytes().unwrap(), fields(&[6, 0, 0]));
}

#[test]
fn each_kind_of_damage_has_its_own_name() {
    let good = recorded(&[0, 1, 2, 2]).to_bytes().unwrap();
    let content = &good[..good.len() - 4];
    assert_eq!(damage(&[]), Damage::Truncated);
    assert_eq!(damage(b"XYZ\x01\x06\0\0????"), Damage::Magic("NSH"));
    assert_eq!(
        damage(b"NSH\x02\x06\0\0????"),
        Damage::Version {
            given: 2,
            readable: 1
        }
    );
    assert_eq!(damage(&good[..good.len() - 1]), Damage::Checksum);
    assert_eq!(
        damage(&sealed(&content[..content.len() - 1])),
        Damage::Truncated
    );
    assert_eq!(damage(&sealed(&[content, &[0]].concat())), Damage::Trailing);
    assert_eq!(
        damage(&fields(&[7, 0, 0])),
        Damage::Scale {
            given: 7,
            range: (-10, 6)
        }
    );
    assert_eq!(
        damage(&fields(&[245, 0, 0])),
        Damage::Scale {
            given: -11,
            range: (-10, 6)
        }
    );
    assert_eq!(damage(&fields(&[6, 0x80, 0, 0])), Damage::Number, "padded");
    let too_wide = [[6].as_slice(), &[0xff; 9], &[2, 0]].concat();
    assert_eq!(damage(&fields(&too_wide)), Damage::Number);
    assert_eq!(
        damage(&fields(&[6, 0, 1, 0, 0, 1, 1, 1])),
        Damage::Bucket,
        "an empty bucket"
    );
    assert_eq!(
        damage(&fields(&[6, 0, 1, 0x81, 0x20, 1])),
        Damage::Bucket,
        "a bucket out of range"
    );
    // The bucket lies between 1 and 2 and contains no whole number.
    assert_eq!(
        damage(&fields(&[6, 0, 1, 1, 1, 1, 1, 1])),
        Damage::Bucket,
        "a bucket without a whole number"
    );
    let full = [[6].as_slice(), &[0xff; 9], &[1, 1, 0, 1]].concat();
    assert_eq!(damage(&fields(&full)), Damage::Count);
    assert_eq!(damage(&fields(&[6, 0, 1, 0, 1, 2, 2, 2])), Damage::Extremes);
    assert_eq!(
        damage(&fields(&[6, 1, 1, 0, 1, 1, 1, 1])),
        Damage::Extremes,
        "the minimum must be 0"
    );
    assert_eq!(
        damage(&fields(&[6, 1, 2, 0, 1, 63, 2, 0, 2, 6])),
        Damage::Sum
    );
    assert_eq!(damage(&fields(&[6, 0, 1, 0, 1, 1, 1, 2])), Damage::Sum);
    // The encoded number of buckets is not trusted: it may be far larger than the input.
    let many = [[6, 0].as_slice(), &[0xff; 9], &[1]].concat();
    assert_eq!(damage(&fields(&many)), Damage::Truncated);
}

#[test]
fn the_text_of_an_error_says_what_is_wrong() {
    let text = |bytes: &[u8]| Snapshot::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(
        text(b""),
        "not a histogram snapshot: the bytes end before the snapshot is complete"
    );
    assert_eq!(
        text(&fields(&[7, 0, 0])),
        "not a histogram snapshot: the scale must be between -10 and 6, got 7"
    );
}

proptest! {
    #[test]
    fn snapshots_come_back_equal_at_any_scale(
        values in vec((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..100),
        scale in -12..=6_i32,
    ) {
        let snapshot = recorded(&values).at_scale(scale).unwrap();
        let bytes = snapshot.to_bytes().unwrap();
        extend_corpus("histogram", &bytes);
        prop_assert_eq!(Snapshot::from_bytes(&bytes), Ok(snapshot));
    }

    #[test]
    fn merged_snapshots_come_back_equal(
        a in vec(any::<u64>(), 0..20), b in vec(0..1_000_u64, 0..20), scale in -10..=6_i32,
    ) {
        let mut both = recorded(&a).at_scale(scale).unwrap();
        both.merge(&recorded(&b)).unwrap();
        prop_assert_eq!(Snapshot::from_bytes(&both.to_bytes().unwrap()), Ok(both));
    }

    #[test]
    fn every_flipped_bit_is_noticed(
        values in vec(any::<u64>(), 0..20), bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = recorded(&values).to_bytes().unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Snapshot::from_bytes(&bytes).is_err());
    }
}

/// Tries to decode `bytes`. If this succeeds, checks that the snapshot encodes to the same bytes, and that it can be
/// merged (with `beside`) and queried without a panic. Returns true if `bytes` was decoded.
fn try_all(bytes: &[u8], beside: &Snapshot) -> bool {
    let Ok(snapshot) = Snapshot::from_bytes(bytes) else {
        return false;
    };
    assert_eq!(snapshot.to_bytes().unwrap(), bytes, "a second encoding");
    let mut both = snapshot.clone();
    if both.merge(beside).is_ok() {
        assert_eq!(both.count(), snapshot.count() + beside.count());
        assert_eq!(
            Snapshot::from_bytes(&both.to_bytes().unwrap()).as_ref(),
            Ok(&both)
        );
    }
    assert!(both.merge(&snapshot.at_scale(-3).unwrap()).is_ok() || both.count() > u64::MAX / 4);
    for q in [0.0, 0.5, 1.0] {
        let quantile = snapshot.quantile(q).expect("q is in range");
        assert!(quantile.is_none_or(|ns| ns.is_finite() && ns >= 0.0));
    }
    true
}

/// A random number generator (splitmix64). It is used because proptest's strategies would take longer than the code
/// under test.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Returns a random number of up to 64 bits, whose length in bits is also random.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.bits() >> shift
    }

    /// Returns an encoded snapshot without a checksum. Its fields are well formed but need not be consistent with each
    /// other.
    fn fields(&mut self) -> Vec<u8> {
        let mut out = vec![b'N', b'S', b'H', 1, (6 - self.below(18) as i32) as u8];
        let mut put = |mut number: u128| {
            while number >= 0x80 {
                out.push(number as u8 | 0x80);
                number >>= 7;
            }
            out.push(number as u8);
        };
        put(u128::from(self.number() >> self.below(64)));
        let buckets = self.below(6);
        put(buckets as u128);
        for _ in 0..buckets {
            put(self.below(MAX_INDEX as usize / 3) as u128);
            put(self.number().into());
        }
        let (min, spread) = (self.number(), self.number());
        put(min.into());
        put(min.saturating_add(spread).into());
        put(u128::from(self.bits()) << self.below(65));
        out
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.bits() as u8),
                2 if at < bytes.len() => _ = bytes.remove(at),
                3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                _ => {}
            }
        }
    }
}

#[test]
fn hostile_bytes_are_refused_or_harmless() {
    let fast = if cfg!(miri) {
        200
    } else if cfg!(debug_assertions) {
        50_000
    } else {
        1_000_000
    };
    let cases = std::env::var("NANOSPAN_FUZZ_CASES").map_or(fast, |n| n.parse().expect("a number"));
    let mut random = Random(20_260_101);
    let seeds: Vec<Snapshot> = (0..64)
        .map(|_| {
            let values: Vec<u64> = (0..random.below(12)).map(|_| random.number()).collect();
            recorded(&values)
                .at_scale(6 - random.below(17) as i32)
                .unwrap()
        })
        .collect();
    let encoded: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_bytes().unwrap()).collect();
    let mut accepted = 0_u64;
    for case in 0_u64..cases {
        let pick = random.below(seeds.len());
        let bytes = match case % 4 {
            // Arbitrary bytes.
            0 => (0..random.below(64)).map(|_| random.bits() as u8).collect(),
            // An altered snapshot.
            1 => {
                let mut bytes = encoded[pick].clone();
                random.mutate(&mut bytes);
                bytes
            }
            // An altered snapshot with a correct checksum.
            2 => {
                let mut bytes = encoded[pick][..encoded[pick].len() - 4].to_vec();
                random.mutate(&mut bytes);
                sealed(&bytes)
            }
            _ => sealed(&random.fields()),
        };
        accepted += u64::from(try_all(&bytes, &seeds[pick]));
    }
    // At least one input in 1,000 must be accepted, so that using decoded snapshots is tested too.
    assert!(accepted > cases / 1_000, "{accepted} of {cases}");
}
