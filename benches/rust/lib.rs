//! Test data for the benchmarks in this directory: durations distributed like those of real services.
#![allow(
    clippy::disallowed_methods,
    reason = "running out of memory may end a test or a benchmark"
)]

use nanospan_record::{Clock, Measured, Operation, Outcome, Writers};

/// A small, fast random number generator that gives the same values in every run. The algorithm is splitmix64 (Steele
/// et al., "Fast Splittable Pseudorandom Number Generators", 2014); the field is the generator's state.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Returns a uniformly distributed random number in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (-53_f64).exp2()
    }

    /// Returns a random latency of at least 1 ms, in nanoseconds, from a heavy-tailed Pareto distribution (shape
    /// 1.2).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and `as` saturates"
    )]
    pub fn latency_ns(&mut self) -> u64 {
        (1e6 * (1.0 - self.unit()).powf(-1.0 / 1.2)) as u64
    }
}

/// Returns an operation whose window is full: it holds 1,000 random latencies, generated from `seed`. The function
/// `measured` converts each latency from nanoseconds.
///
/// # Panics
///
/// If the system runs out of memory.
#[must_use]
pub fn full_operation(seed: u64, measured: fn(u64) -> Measured) -> Operation {
    let clock = Clock::get();
    let operation = Operation::new(b"bench", 1_000, clock).expect("one operation fits into memory");
    let mut random = Random(seed);
    for _ in 0..2_000 {
        let duration = measured(random.latency_ns());
        operation.record(
            clock.ticks(),
            duration,
            Outcome::Ok,
            Writers::Concurrent,
            |_| false,
        );
    }
    operation
}
