//! Bucket arithmetic: which bucket a value belongs to, and where a bucket begins and ends.
//!
//! The buckets are those of OpenTelemetry's base-2 exponential histogram at scale 6 (and of
//! Prometheus' native histograms at schema 6): with base = 2^(1/64), bucket `i` holds every
//! value `v` with `base^i < v <= base^(i + 1)`. Definition: OpenTelemetry specification, "Metrics Data
//! Model", section "ExponentialHistogram".
//!
//! Indexing needs no logarithm. A value's leading zeros give its octave. Its leading bits after that
//! select one of 128 stretches of the octave, each narrower than any bucket, so that at most
//! one bucket boundary falls into it and a single exact comparison settles the rest.

/// The scale of every recorded histogram: 2^6 buckets an octave.
pub const SCALE: i32 = 6;

/// The coarsest scale that histograms are brought to; OpenTelemetry's. One bucket holds everything over 1 ns.
pub const MIN_SCALE: i32 = -10;

/// Buckets in an octave (a doubling) at [`SCALE`].
pub const BUCKETS_PER_OCTAVE: i32 = 1 << SCALE;

/// The bucket of 1 ns: (base^-1, 1].
pub const MIN_INDEX: i32 = -1;

/// The bucket of `u64::MAX` ns (584 years).
pub const MAX_INDEX: i32 = 64 * BUCKETS_PER_OCTAVE - 1;

/// How many buckets cover every whole number of nanoseconds from 1 to `u64::MAX`.
pub const BUCKETS: usize = (MAX_INDEX - MIN_INDEX + 1) as usize;

/// The largest error, relative to the true value, of a bucket's [`representative`]:
/// (base - 1) / (base + 1).
pub const RELATIVE_ERROR: f64 = 0.005_416_139;

/// `BOUNDARIES[k]` = floor(2^63 * 2^(k / 64)): where the buckets of an octave begin, with the value's
/// leading bit shifted to bit 63. For whole `m`, `m > floor(x)` and `m > x` are the same, so comparing
/// with the floor is exact.
const BOUNDARIES: [u64; 64] = [
    0x8000000000000000,
    0x8164d1f3bc030773,
    0x82cd8698ac2ba1d7,
    0x843a28c3acde4046,
    0x85aac367cc487b14,
    0x871f61969e8d1010,
    0x88980e8092da8527,
    0x8a14d575496efd9a,
    0x8b95c1e3ea8bd6e6,
    0x8d1adf5b7e5ba9e5,
    0x8ea4398b45cd53c0,
    0x9031dc431466b1dc,
    0x91c3d373ab11c336,
    0x935a2b2f13e6e92b,
    0x94f4efa8fef70961,
    0x96942d3720185a00,
    0x9837f0518db8a96f,
    0x99e0459320b7fa64,
    0x9b8d39b9d54e5538,
    0x9d3ed9a72cffb750,
    0x9ef5326091a111ad,
    0xa0b0510fb9714fc2,
    0xa27043030c496818,
    0xa43515ae09e6809e,
    0xa5fed6a9b15138ea,
    0xa7cd93b4e9653569,
    0xa9a15ab4ea7c0ef8,
    0xab7a39b5a93ed337,
    0xad583eea42a14ac6,
    0xaf3b78ad690a4374,
    0xb123f581d2ac258f,
    0xb311c412a9112489,
    0xb504f333f9de6484,
    0xb6fd91e328d17791,
    0xb8fbaf4762fb9ee9,
    0xbaff5ab2133e45fb,
    0xbd08a39f580c36be,
    0xbf1799b67a731082,
    0xc12c4cca66709456,
    0xc346ccda24976407,
    0xc5672a115506dadd,
    0xc78d74c8abb9b15c,
    0xc9b9bd866e2f27a2,
    0xcbec14fef2727c5c,
    0xce248c151f8480e3,
    0xd06333daef2b2594,
    0xd2a81d91f12ae45a,
    0xd4f35aabcfedfa1f,
    0xd744fccad69d6af4,
    0xd99d15c278afd7b5,
    0xdbfbb797daf23755,
    0xde60f4825e0e9123,
    0xe0ccdeec2a94e111,
    0xe33f8972be8a5a51,
    0xe5b906e77c8348a8,
    0xe8396a503c4bdc68,
    0xeac0c6e7dd24392e,
    0xed4f301ed9942b84,
    0xefe4b99bdcdaf5cb,
    0xf281773c59ffb139,
    0xf5257d152486cc2c,
    0xf7d0df730ad13bb8,
    0xfa83b2db722a033a,
    0xfd3e0c0cf486c174,
];

/// `STRETCHES[s]`: how many boundaries lie strictly below the start of the `s`-th 128th of the octave.
const STRETCHES: [u8; 128] = {
    let mut table = [0; 128];
    let mut s = 0;
    while s < 128 {
        let start = (1 << 63) | ((s as u64) << 56);
        let mut below = 0;
        while below < 64 && BOUNDARIES[below] < start {
            below += 1;
        }
        table[s] = below as u8;
        s += 1;
    }
    table
};

/// The index of the bucket that holds `value`, which must not be 0.
#[inline]
#[must_use]
pub fn index_of(value: u64) -> i32 {
    debug_assert!(value > 0, "zero has a counter of its own");
    let zeros = value.leading_zeros();
    let mantissa = value << (zeros & 63);
    let below = STRETCHES[(mantissa >> 56 & 127) as usize];
    // The stretch holds one more boundary at the most. The mask proves the index to the compiler; where
    // all 64 boundaries lie below, it compares with BOUNDARIES[0] = 2^63 and must not count it.
    let next = BOUNDARIES[(below & 63) as usize];
    let boundaries_below = i32::from(below) + i32::from(below < 64 && mantissa > next);
    let octave = 63 - zeros.cast_signed();
    octave * BUCKETS_PER_OCTAVE + boundaries_below - 1
}

/// The lower, exclusive bound of bucket `index` at `scale`; its upper, inclusive one is the next
/// bucket's lower bound.
#[must_use]
pub fn lower_bound(index: i32, scale: i32) -> f64 {
    (f64::from(index) * (-f64::from(scale)).exp2()).exp2()
}

/// The value that stands for bucket `index` at `scale`: the one whose relative error to both ends of
/// the bucket is the same, 2ab / (a + b).
#[must_use]
pub fn representative(index: i32, scale: i32) -> f64 {
    let (low, high) = (lower_bound(index, scale), lower_bound(index + 1, scale));
    // In this form an infinite `high`, which there is at scale -10, gives 2 * low.
    2.0 * low / (1.0 + low / high)
}

/// The largest whole number in the buckets up to `index` at [`SCALE`]: floor(base^(index + 1)).
///
/// Below [`MIN_INDEX`] that is 0, from [`MAX_INDEX`] on `u64::MAX`.
#[must_use]
pub fn largest_up_to(index: i32) -> u64 {
    if index < MIN_INDEX {
        return 0;
    }
    let boundary = (index + 1).cast_unsigned();
    match boundary / BUCKETS_PER_OCTAVE.cast_unsigned() {
        // A floor of a floor is the floor of the whole.
        octave @ 0..64 => BOUNDARIES[(boundary % 64) as usize] >> (63 - octave),
        _ => u64::MAX,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_holds_at_most_one_boundary() {
        for pair in STRETCHES.windows(2) {
            assert!(pair[1] - pair[0] <= 1);
        }
        assert_eq!(STRETCHES[0], 0);
        assert!(STRETCHES[127] >= 63);
    }

    #[test]
    fn powers_of_two_close_their_bucket() {
        assert_eq!(index_of(1), MIN_INDEX);
        assert_eq!(index_of(2), 63);
        assert_eq!(index_of(3), 101);
        assert_eq!(index_of(1 << 40), 40 * 64 - 1);
        assert_eq!(index_of((1 << 40) + 1), 40 * 64);
        assert_eq!(index_of(u64::MAX), MAX_INDEX);
    }
}
