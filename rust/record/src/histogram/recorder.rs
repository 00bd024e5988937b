//! Counts values in histogram buckets without locks.

use nanospan_fallible::{OutOfMemory, TryCollect};

use super::config::{BUCKETS, BUCKETS_PER_OCTAVE, MAX_INDEX, MIN_INDEX, index_of};
use crate::sync::{Word, Writers};

/// The lowest bucket index that a histogram has a word for. Loom models record only values in the highest octave,
/// because loom would spend most of its time creating words for lower octaves.
const FIRST_INDEX: i32 = if cfg!(loom) {
    MAX_INDEX - BUCKETS_PER_OCTAVE
} else {
    MIN_INDEX
};

/// A histogram to record values in: a view of the words in an operation's memory block that hold the count of zeros and
/// one count per bucket.
#[derive(Debug, Clone, Copy)]
pub struct Recorder<'a> {
    words: &'a [Word],
}

impl<'a> Recorder<'a> {
    /// The number of 64-bit words that a histogram occupies.
    pub const WORDS: usize = 1 + BUCKETS - (FIRST_INDEX - MIN_INDEX).cast_unsigned() as usize;

    /// Creates a recorder that uses the first [`WORDS`](Self::WORDS) elements of `words`.
    ///
    /// # Panics
    ///
    /// If `words` has fewer elements.
    #[must_use]
    pub fn new(words: &'a [Word]) -> Self {
        Self {
            words: &words[..Self::WORDS],
        }
    }

    /// Increments the count for `value` (in nanoseconds): that of its bucket, or that of zeros.
    #[inline(always)]
    pub fn count(&self, value: u64, writers: Writers) {
        let word = if value == 0 {
            0
        } else {
            // At least 1: `index_of` is at least FIRST_INDEX.
            (index_of(value) - FIRST_INDEX + 1).cast_unsigned() as usize
        };
        // Relaxed: each bucket is an independent counter and publishes nothing else.
        writers.add_relaxed(&self.words[word], 1);
    }

    /// Returns the number of counted values that were 0.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.words[0].load_relaxed()
    }

    /// Returns the counts of the buckets from `first` to `last`, inclusive.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for them.
    pub fn counts(&self, first: i32, last: i32) -> Result<Vec<u64>, OutOfMemory> {
        debug_assert!(FIRST_INDEX <= first && first <= last);
        let word = |index: i32| (index - FIRST_INDEX + 1).cast_unsigned() as usize;
        self.words[word(first)..=word(last)]
            .iter()
            .map(|bucket| bucket.load_relaxed())
            .try_vec()
    }

    /// Adds the counts of the buckets from `first` on to `counts`.
    pub fn add_to(&self, first: i32, counts: &mut [u64]) {
        let start = (first - FIRST_INDEX + 1).cast_unsigned() as usize;
        for (count, bucket) in counts.iter_mut().zip(&self.words[start..]) {
            *count += bucket.load_relaxed();
        }
    }

    /// Resets all counts to 0. A value that another thread counts at the same time may be kept or discarded.
    pub fn clear(&self) {
        for word in self.words {
            // Reading first avoids committing pages that were never written.
            if word.load_relaxed() != 0 {
                word.store_relaxed(0);
            }
        }
    }
}
