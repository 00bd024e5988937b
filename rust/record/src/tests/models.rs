//! loom models of the ring and of a block's record path. They explore small programs in every interleaving, with every
//! value that relaxed loads may return.
//!
//! Each sample can be verified: its duration is the complement of its end, and its end identifies its ticket. So a
//! reader that accepted words of two writers, or a sample under another sample's ticket, would notice the mismatch.
//!
//! The histogram needs no separate model. Its one operation on the record path is a `fetch_add` on a single word whose
//! result is not used; the block's model checks that no such addition is lost, on the head, the sum and one bucket.

use loom::{model::Builder, sync::Arc, thread};

use crate::{
    block::Block,
    memory::Memory,
    ring::{Ring, SLOT_WORDS},
    sample::{Measured, Outcome, Sample},
    sync::{Word, Writers},
};

/// Returns a sample with bits set in every part of the payload, and with a different payload for each ticket.
fn sample(ticket: u64) -> Sample {
    let end = (ticket + 1) << 33 | (ticket + 1);
    Sample {
        end,
        duration: Measured::Nanos(!end),
        outcome: [Outcome::Ok, Outcome::Error][(ticket % 2) as usize],
        has_metadata: ticket % 2 == 1,
    }
}

/// A ring and the counter that issues its tickets.
struct Shared {
    memory: Memory,
    head: Word,
    capacity_log2: u32,
}

impl Shared {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::zeroed(capacity * SLOT_WORDS).expect("a few words"),
            head: Word::new(0),
            capacity_log2: capacity.ilog2(),
        })
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(self.memory.words(), self.capacity_log2)
    }

    fn write(&self) {
        let ticket = Writers::Concurrent.add_relaxed(&self.head, 1);
        self.ring().write(ticket, sample(ticket));
    }

    /// Checks that every readable sample is exactly the one that belongs to its ticket.
    fn check(&self, tickets: u64) {
        for ticket in 0..tickets {
            if let Some(read) = self.ring().read(ticket) {
                assert_eq!(read, sample(ticket), "a torn or misplaced sample");
            }
        }
    }
}

/// Explores every interleaving of `model` with at most `preemptions` forced context switches. Bugs need few (Musuvathi
/// and Qadeer, "Iterative Context Bounding", 2007), and exploring more takes minutes.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn a_reader_never_accepts_two_writers_words_in_one_slot() {
    explore(2, || {
        let shared = Shared::new(1);
        let writers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.write())
        });
        // Both tickets share the slot; by symmetry, checking one is enough.
        shared.check(1);
        for writer in writers {
            writer.join().unwrap();
        }
        shared.check(2);
    });
}

#[test]
fn a_ring_that_wraps_around_shows_only_the_newest_lap() {
    explore(2, || {
        let shared = Shared::new(2);
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || (0..3).for_each(|_| shared.write())
        });
        shared.check(3);
        writer.join().unwrap();
        let kept: Vec<_> = (0..3).map(|ticket| shared.ring().read(ticket)).collect();
        assert_eq!(kept, [None, Some(sample(1)), Some(sample(2))]);
    });
}

#[test]
fn a_snapshot_in_one_go_skips_what_is_being_written() {
    explore(3, || {
        let shared = Shared::new(2);
        shared.write();
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || (0..2).for_each(|_| shared.write())
        });
        let head = shared.head.load_relaxed();
        let first = head.saturating_sub(2);
        shared.ring().for_each(first..head, |read| {
            let ticket = (read.end & 0xff) - 1;
            assert!((first..head).contains(&ticket), "a sample of another lap");
            assert_eq!(read, sample(ticket), "a torn sample");
        });
        writer.join().unwrap();
    });
}

#[test]
fn concurrent_records_are_all_counted() {
    explore(3, || {
        let block = Arc::new(Block::new(1).expect("a few words"));
        let writer = thread::spawn({
            let block = Arc::clone(&block);
            move || record(&block, u64::MAX)
        });
        // All values are in one octave, so that the snapshot reads few words. There are three, because the sum of two
        // follows from the minimum and maximum.
        record(&block, 1 << 63);
        record(&block, 3 << 62);
        writer.join().unwrap();
        let totals = block.totals();
        assert_eq!((totals.count, totals.errors), (3, 3));
        // The low half of the sum wraps whatever the order of the records.
        let histogram = block.histogram(Outcome::Error);
        let sum = u128::from(u64::MAX) + (1 << 63) + (3 << 62);
        assert_eq!(histogram.sum_ns(), sum);
        assert_eq!(histogram.count(), 3);
        assert_eq!(
            (histogram.min_ns(), histogram.max_ns()),
            (Some(1 << 63), Some(u64::MAX))
        );
    });
}

fn record(block: &Block, ns: u64) {
    let sample = Sample {
        end: ns,
        duration: Measured::Nanos(ns),
        outcome: Outcome::Error,
        has_metadata: false,
    };
    block.record(
        block.claim(Writers::Concurrent),
        sample,
        Writers::Concurrent,
    );
}
