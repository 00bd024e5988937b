//! Bucket arithmetic: which bucket holds a value, and where a bucket begins and ends.
//!
//! The buckets are those of OpenTelemetry's base-2 exponential histogram of *seconds* at scale 6 (and of
//! Prometheus' native histograms at schema 6, where bucket `i` has the index `i + 1`): with base = 2^(1/64), bucket
//! `i` holds every value of `v` seconds with `base^i < v <= base^(i + 1)`. Definition: OpenTelemetry
//! specification, "Metrics Data Model", section "ExponentialHistogram".
//!
//! Recorded values are whole nanoseconds, so bucket `i` holds values above 10^9 * base^i ns. Bucket bounds are powers
//! of the base in seconds, the unit in which durations are exported, so every export is exact. Powers of the base in
//! nanoseconds would not match any bucket bound in seconds, because 10^9 is not a power of the base.
//!
//! Finding a value's bucket needs no logarithm. The number of leading zero bits gives the value's octave (power-of-two
//! range). The seven bits after the leading one select one of 128 equal stretches of the octave. A stretch is narrower
//! than any bucket, so it contains at most one bucket boundary, and a single exact comparison determines the bucket.

/// The scale at which histograms are recorded: 2^6 buckets per octave (a doubling of the value).
pub const SCALE: i32 = 6;

/// The coarsest scale that a histogram can be reduced to, which is also the coarsest in OpenTelemetry. At this scale,
/// one bucket holds all durations up to one second, and another all longer ones.
pub const MIN_SCALE: i32 = -10;

/// Number of buckets per octave (a doubling of the value) at [`SCALE`].
pub const BUCKETS_PER_OCTAVE: i32 = 1 << SCALE;

/// The number of nanoseconds in a second.
const SECOND: f64 = 1e9;

/// The index of the bucket that holds 1 ns: 64 * log2(10^9) = 1913.43, so 1 ns lies between base^-1914 and base^-1913
/// seconds.
pub const MIN_INDEX: i32 = -1914;

/// The index of the bucket that holds `u64::MAX` ns (584 years).
pub const MAX_INDEX: i32 = MIN_INDEX + 64 * BUCKETS_PER_OCTAVE;

/// The number of buckets needed to cover every whole number of nanoseconds from 1 to `u64::MAX`.
pub const BUCKETS: usize = (MAX_INDEX - MIN_INDEX + 1) as usize;

/// The largest relative error made by replacing a value with the [`representative`] of its bucket:
/// (base - 1) / (base + 1).
pub const RELATIVE_ERROR: f64 = 0.005_416_139;

/// The bucket boundaries within one octave, for values in nanoseconds shifted so that their leading bit is bit 63:
/// `BOUNDARIES[k]` = floor(2^63 * 10^9 * 2^((k - 1913) / 64)). For a whole number `m`, `m > floor(x)` is equivalent to
/// `m > x`, so comparing with the rounded-down boundary is exact.
const BOUNDARIES: [u64; 64] = [
    0x80992abb83a534a2,
    0x81ffa7a9549ca6e3,
    0x836a0bee9d9d5401,
    0x84d8626d3118d396,
    0x864ab625376b7b77,
    0x87c11235836d16a3,
    0x893b81dbe7ed5966,
    0x8aba10758e1ea3cf,
    0x8c3cc97f4cf1aadd,
    0x8dc3b8960164a7d9,
    0x8f4ee976e7c8b4cc,
    0x90de67fff600044c,
    0x9272403036b7aa56,
    0x940a7e28259fb382,
    0x95a72e2a0ca44f7c,
    0x97485c9a622adb60,
    0x98ee16002855a076,
    0x9a9867054d512391,
    0x9c475c770cade96d,
    0x9dfb034651c99c68,
    0x9fb368881b4a8811,
    0xa1709975dfb06757,
    0xa332a36df2fd8a6a,
    0xa4f993f3ed7b61ca,
    0xa6c578b1139d848c,
    0xa8965f74bf065071,
    0xaa6c5634c8b04b16,
    0xac476b0df43f745f,
    0xae27ac445c7dc318,
    0xb00d2843e1060dc2,
    0xb1f7eda09520aa93,
    0xb3e80b172fd51af7,
    0xb5dd8f8d7d341ffd,
    0xb7d88a12d0dd9ea0,
    0xb9d909e079c5c456,
    0xbbdf1e5a373ce5c6,
    0xbdead70eaf3d9b5a,
    0xbffc43b7e604a922,
    0xc213743bb6f64957,
    0xc43078ac4ed47ae7,
    0xc6536148a749ff7d,
    0xc87c3e7d03cdbec3,
    0xcaab20e36fe24ee5,
    0xcce019443eb56ce4,
    0xcf1b38968c2339b8,
    0xd15c9000bf211c1f,
    0xd3a430d90d943190,
    0xd5f22ca6019743e0,
    0xd846951f0034440a,
    0xdaa17c2cd19555db,
    0xdd02f3ea2ab18362,
    0xdf6b0ea438793a89,
    0xe1d9dedb2c86c2b2,
    0xe44f7742cb56e3dd,
    0xe6cbeac2fc0e04aa,
    0xe94f4c7859ce1066,
    0xebd9afb4c6a18262,
    0xee6b280000000000,
    0xf103c91834f0f723,
    0xf3a3a6f29dd0c333,
    0xf64ad5bc15bce751,
    0xf8f969d9b5abf948,
    0xfbaf77e97135e555,
    0xfe6d14c2b5114024,
];

/// The number of bucket boundaries below each stretch, where the octave is divided into 128 equal stretches:
/// `STRETCHES[s]` counts the boundaries strictly below the start of stretch `s`.
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

/// Returns the index, at [`SCALE`], of the bucket that holds `value`. The value is in nanoseconds and must not be 0.
#[inline]
#[must_use]
pub fn index_of(value: u64) -> i32 {
    debug_assert!(value > 0, "zeros are counted separately");
    let zeros = value.leading_zeros();
    let mantissa = value << (zeros & 63);
    let below = STRETCHES[(mantissa >> 56 & 127) as usize];
    // The stretch contains at most one further boundary. The mask proves to the compiler that the index is in range; if
    // all 64 boundaries lie below, `next` is BOUNDARIES[0], which must not be counted again.
    let next = BOUNDARIES[(below & 63) as usize];
    let boundaries_below = i32::from(below) + i32::from(below < 64 && mantissa > next);
    let octave = 63 - zeros.cast_signed();
    MIN_INDEX + octave * BUCKETS_PER_OCTAVE + boundaries_below
}

/// Returns the lower bound of bucket `index` at `scale`, in seconds: base^index, where base is
/// 2^(2^-scale). The bound itself belongs to the bucket below; a bucket's upper bound is the lower bound of the next
/// bucket.
#[must_use]
pub fn lower_bound_seconds(index: i32, scale: i32) -> f64 {
    (f64::from(index) * (-f64::from(scale)).exp2()).exp2()
}

/// Returns the lower bound of bucket `index` at `scale`, in nanoseconds; see [`lower_bound_seconds`].
#[must_use]
pub fn lower_bound(index: i32, scale: i32) -> f64 {
    lower_bound_seconds(index, scale) * SECOND
}

/// Returns the value, in nanoseconds, that represents bucket `index` at `scale`. It is 2ab / (a + b) for a bucket from
/// `a` to `b`, which has the same relative error with respect to both ends of the bucket.
#[must_use]
pub fn representative(index: i32, scale: i32) -> f64 {
    let (low, high) = (lower_bound(index, scale), lower_bound(index + 1, scale));
    // In this form, an infinite `high`, which occurs at scale -10, yields 2 * low.
    2.0 * low / (1.0 + low / high)
}

/// Returns the largest value, in whole nanoseconds, that falls into bucket `index` at [`SCALE`] or a lower bucket:
/// floor(10^9 * base^(index + 1)).
///
/// The result is 0 if `index` is below [`MIN_INDEX`], and `u64::MAX` if it is [`MAX_INDEX`] or more.
#[must_use]
pub fn largest_up_to(index: i32) -> u64 {
    if index < MIN_INDEX {
        return 0;
    }
    let boundary = (index - MIN_INDEX).cast_unsigned();
    match boundary / BUCKETS_PER_OCTAVE.cast_unsigned() {
        // Shifting the floored boundary gives the same result as flooring the exact one after scaling.
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
    fn powers_of_two_of_a_second_close_their_bucket() {
        const SECOND: u64 = 1_000_000_000;
        assert_eq!(index_of(1), MIN_INDEX);
        assert_eq!(index_of(SECOND), -1);
        assert_eq!(index_of(SECOND + 1), 0);
        assert_eq!(index_of(3 * SECOND), 101);
        assert_eq!(index_of(SECOND << 30), 30 * 64 - 1);
        assert_eq!(index_of((SECOND << 30) + 1), 30 * 64);
        assert_eq!(index_of(SECOND >> 9), -9 * 64 - 1);
        assert_eq!(index_of(u64::MAX), MAX_INDEX);
    }
}
