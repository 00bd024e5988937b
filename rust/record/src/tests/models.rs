//! Models, checked by loom, of the ring and of recording a sample in a block. Each is a small program, run in every
//! interleaving (see [`explore`] for the limit), with every value that a relaxed load may return.
//!
//! Every sample in the models of the ring can be verified: its duration is the bitwise complement of its end time, and
//! its end time identifies its ticket. A reader that accepted words from two writers, or a sample under the wrong
//! ticket, would fail the check.
//!
//! The histogram needs no separate model. Recording a value performs a single `fetch_add` on one word and does not use
//! the result. The block's model checks that no such addition is lost, for the ticket counter, the sum and one bucket.

use loom::{model::Builder, sync::Arc, thread};

use crate::{
    block::Block,
    memory::Memory,
    ring::{Ring, SLOT_WORDS},
    sample::{Measured, Outcome, Sample},
    sync::{Word, Writers},
};

/// Returns a sample that is different for each ticket and has bits set in every part of its encoded form.
fn sample(ticket: u64) -> Sample {
    let end = (ticket + 1) << 33 | (ticket + 1);
    Sample {
        end,
        duration: Measured::Nanos(!end),
        outcome: [Outcome::Ok, Outcome::Error][(ticket % 2) as usize],
        has_metadata: ticket % 2 == 1,
    }
}

/// A ring and its ticket counter, shared by the threads of a model.
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

    /// Checks, for each ticket below `tickets`, that the sample read (if any) is the one written under that ticket.
    fn check(&self, tickets: u64) {
        for ticket in 0..tickets {
            if let Some(read) = self.ring().read(ticket) {
                assert_eq!(read, sample(ticket), "a torn or misplaced sample");
            }
        }
    }
}

/// Runs `model` in every interleaving with at most `preemptions` preemptive context switches. Most concurrency bugs
/// need only a few of these (Musuvathi and Qadeer, "Iterative Context Bounding", 2007), and exploring more takes
/// minutes.
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
        // All values are in the highest octave, the only one with buckets under loom. Three values are recorded,
        // because the sum of only two would follow from the minimum and maximum, and a lost addition would go unnoticed.
        record(&block, 1 << 63);
        record(&block, 3 << 62);
        writer.join().unwrap();
        let totals = block.totals();
        assert_eq!((totals.count, totals.errors), (3, 3));
        // The low half of the sum overflows in every order of recording.
        let histogram = block.histogram(Outcome::Error).unwrap();
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
