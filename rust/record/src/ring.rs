//! A non-blocking ring buffer of the most recent samples (the window), with any number of writers.
//!
//! Samples are numbered in the order in which they are recorded. A sample's number, its *ticket*, determines its slot,
//! `ticket % capacity`, and its *lap* around the ring, `ticket / capacity + 1`. A slot has four words, and **every word
//! carries the low 31 bits of the lap** next to 33 bits of payload:
//!
//! ```text
//! word 0   end: bits 0-32                              | lap
//! word 1   end: bits 33-63, outcome (2 bits)           | lap
//! word 2   duration: bits 0-32                         | lap
//! word 3   duration: bits 33-63, is_seconds, metadata  | lap
//! ```
//!
//! A writer stores the four words; a reader accepts a slot only if all four carry the expected lap. No locking, waiting
//! or memory ordering is needed: each word is atomic, and a slot with words from different laps is not accepted, even
//! if a writer was interrupted or killed between two stores. The only way to mix up two samples is for a writer to
//! pause between two stores for 2^31 laps, after which the low 31 bits repeat. With the default window, that is
//! 2.2 * 10^12 samples, which takes days of recording at full speed.
//!
//! The price: a writer that pauses for a whole lap then overwrites part of a newer sample. Readers skip that slot, and
//! count it as skipped, until it is written on the next lap. Both samples are still counted in the totals and the
//! histogram.

use std::ops::Range;

use crate::{
    sample::{Measured, Outcome, Sample},
    seconds::Seconds,
    sync::Word,
};

/// The maximum length of a window, in samples. A ring of this size takes 512 MiB of address space.
pub const MAX_WINDOW: usize = 1 << 24;

/// The number of 64-bit words in a slot: half a cache line, so that no slot straddles two lines.
pub const SLOT_WORDS: usize = 4;

const LAP_BITS: u32 = 31;
const LAP_MASK: u64 = (1 << LAP_BITS) - 1;
/// The number of payload bits in a word; the other bits hold the lap.
const LOW_BITS: u32 = 64 - LAP_BITS;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;

/// A ring buffer of samples: a view of the part of an operation's memory block that holds the slots. The number of
/// slots is a power of two.
#[derive(Debug, Clone, Copy)]
pub struct Ring<'a> {
    slots: &'a [[Word; SLOT_WORDS]],
    capacity_log2: u32,
}

impl<'a> Ring<'a> {
    /// Returns the number of slots in a ring for `window` samples: `window`, rounded up to a power of two.
    #[must_use]
    pub const fn capacity_for(window: usize) -> usize {
        window.next_power_of_two()
    }

    /// Creates a ring of 2^`capacity_log2` slots in the first elements of `words`.
    ///
    /// # Panics
    ///
    /// In debug builds, `new` panics if `words` is too short. In release builds, reading or writing a missing slot
    /// panics instead.
    #[inline]
    #[must_use]
    pub fn new(words: &'a [Word], capacity_log2: u32) -> Self {
        debug_assert!(words.len() >= SLOT_WORDS << capacity_log2);
        Self {
            slots: words.as_chunks().0,
            capacity_log2,
        }
    }

    #[inline]
    fn slot_and_lap(&self, ticket: u64) -> (&'a [Word; SLOT_WORDS], u64) {
        let capacity = 1_u64 << self.capacity_log2;
        // Laps count from 1, because memory that was never written has lap 0.
        let lap = ((ticket >> self.capacity_log2) + 1) & LAP_MASK;
        (&self.slots[(ticket & (capacity - 1)) as usize], lap)
    }

    /// Writes `sample` to the slot for `ticket`. The caller must have claimed the ticket, so that no other writer uses
    /// it.
    #[inline(always)]
    pub fn write(&self, ticket: u64, sample: Sample) {
        let (slot, lap) = self.slot_and_lap(ticket);
        let (duration, is_seconds) = match sample.duration {
            Measured::Nanos(ns) => (ns, 0),
            Measured::Seconds(seconds) => (seconds.get().to_bits(), 1),
        };
        let flags = is_seconds << 1 | u64::from(sample.has_metadata);
        let outcome = sample.outcome as u64;
        let word = |payload: u64| payload << LAP_BITS | lap;
        // Relaxed: readers check the lap in every word, so the order of the stores does not matter.
        slot[0].store_relaxed(word(sample.end & LOW_MASK));
        slot[1].store_relaxed(word((sample.end >> LOW_BITS) << 2 | outcome));
        slot[2].store_relaxed(word(duration & LOW_MASK));
        slot[3].store_relaxed(word((duration >> LOW_BITS) << 2 | flags));
    }

    /// Returns the sample recorded under `ticket`, or `None` if it has not been completely written or has been
    /// overwritten.
    #[inline]
    #[must_use]
    pub fn read(&self, ticket: u64) -> Option<Sample> {
        let (slot, lap) = self.slot_and_lap(ticket);
        read_slot(slot, lap)
    }

    /// Calls `visit` with every readable sample whose ticket is in `tickets`, in ticket order.
    ///
    /// The range must not contain more tickets than the ring has slots.
    #[inline]
    pub fn for_each(&self, tickets: Range<u64>, mut visit: impl FnMut(Sample)) {
        let capacity = 1 << self.capacity_log2;
        debug_assert!(tickets.end - tickets.start <= capacity);
        let mut run = tickets;
        // At most two runs of slots, one up to the ring's end and one from its start, each within a single lap.
        while !run.is_empty() {
            let from = run.start & (capacity - 1);
            let length = (run.end - run.start).min(capacity - from);
            let (_, lap) = self.slot_and_lap(run.start);
            self.slots[from as usize..][..length as usize]
                .iter()
                .filter_map(|slot| read_slot(slot, lap))
                .for_each(&mut visit);
            run.start += length;
        }
    }
}

/// Returns the sample in `slot` if every word in the slot carries `lap`, and `None` otherwise.
#[inline]
fn read_slot(slot: &[Word; SLOT_WORDS], lap: u64) -> Option<Sample> {
    // Relaxed: the lap in every word is checked, so the order of the loads does not matter.
    let words: [u64; SLOT_WORDS] = std::array::from_fn(|i| slot[i].load_relaxed());
    let differing = words.iter().fold(0, |all, word| all | (word ^ lap));
    if differing & LAP_MASK != 0 {
        return None;
    }
    let [end_low, end_high, duration_low, duration_high] = words.map(|word| word >> LAP_BITS);
    let duration = duration_low | (duration_high >> 2) << LOW_BITS;
    Some(Sample {
        end: end_low | (end_high >> 2) << LOW_BITS,
        duration: if duration_high & 2 == 0 {
            Measured::Nanos(duration)
        } else {
            Measured::Seconds(Seconds::from_bits(duration))
        },
        outcome: Outcome::from_bits(end_high),
        has_metadata: duration_high & 1 == 1,
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{limits::MAX_SECONDS, memory::Memory};

    fn sample(end: u64) -> Sample {
        Sample {
            end,
            duration: Measured::Nanos(!end),
            outcome: Outcome::Ok,
            has_metadata: false,
        }
    }

    #[test]
    fn a_fresh_ring_holds_nothing() {
        let memory = Memory::zeroed(8 * SLOT_WORDS).unwrap();
        let ring = Ring::new(memory.words(), 3);
        assert!((0..20).all(|ticket| ring.read(ticket).is_none()));
    }

    #[test]
    fn the_newest_lap_replaces_the_previous_one() {
        let memory = Memory::zeroed(8 * SLOT_WORDS).unwrap();
        let ring = Ring::new(memory.words(), 3);
        for ticket in 0..20 {
            ring.write(ticket, sample(ticket));
        }
        for ticket in 0..20 {
            let expected = (ticket >= 12).then(|| sample(ticket));
            assert_eq!(ring.read(ticket), expected, "{ticket}");
        }
    }

    #[test]
    fn any_mixture_of_two_laps_is_skipped() {
        for mixture in 1_u32..15 {
            let (a, b) = (Memory::zeroed(4).unwrap(), Memory::zeroed(4).unwrap());
            Ring::new(a.words(), 0).write(5, sample(1));
            Ring::new(b.words(), 0).write(6, sample(2));
            for (word, of_b) in a
                .words()
                .iter()
                .zip(b.words())
                .enumerate()
                .filter_map(|(i, pair)| (mixture >> i & 1 == 1).then_some(pair))
            {
                word.store_relaxed(of_b.load_relaxed());
            }
            let ring = Ring::new(a.words(), 0);
            assert_eq!((ring.read(5), ring.read(6)), (None, None), "{mixture:04b}");
        }
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_for_bit(
            end: u64,
            ticket in 0..u64::MAX / 2,
            duration in prop_oneof![
                any::<u64>().prop_map(Measured::Nanos),
                (0.0..=MAX_SECONDS).prop_map(|s| Measured::Seconds(Seconds::new(s).unwrap())),
            ],
            outcome in prop_oneof![
                Just(Outcome::Ok), Just(Outcome::Error), Just(Outcome::Cancelled),
            ],
            has_metadata: bool,
            capacity_log2 in 0_u32..6,
        ) {
            let memory = Memory::zeroed(SLOT_WORDS << capacity_log2).unwrap();
            let ring = Ring::new(memory.words(), capacity_log2);
            let sample = Sample { end, duration, outcome, has_metadata };
            ring.write(ticket, sample);
            prop_assert_eq!(ring.read(ticket), Some(sample));
            prop_assert_eq!(ring.read(ticket + (1 << capacity_log2)), None);
        }
    }
}
