//! Counting into buckets, lock-free.

use super::config::{BUCKETS, MIN_INDEX, index_of};
use crate::sync::{Word, Writers};

/// The histogram's words inside an operation's block: the count of zeros, then one word per bucket.
#[derive(Debug, Clone, Copy)]
pub struct Recorder<'a> {
    words: &'a [Word],
}

impl<'a> Recorder<'a> {
    /// Words that a histogram takes.
    pub const WORDS: usize = 1 + BUCKETS;

    /// A recorder over `words`, of which it uses the first [`WORDS`](Self::WORDS).
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn new(words: &'a [Word]) -> Self {
        Self {
            words: &words[..Self::WORDS],
        }
    }

    /// Counts one value.
    #[inline(always)]
    pub fn count(&self, value: u64, writers: Writers) {
        let word = if value == 0 {
            0
        } else {
            // At least 1: `index_of` is at least MIN_INDEX.
            (index_of(value) - MIN_INDEX + 1).cast_unsigned() as usize
        };
        // Relaxed: each bucket counts for itself and publishes nothing else.
        writers.add_relaxed(&self.words[word], 1);
    }

    /// How many zeros were counted.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.words[0].load_relaxed()
    }

    /// The counts of the buckets from `first` to `last`, both included.
    #[must_use]
    pub fn counts(&self, first: i32, last: i32) -> Vec<u64> {
        debug_assert!(MIN_INDEX <= first && first <= last);
        let word = |index: i32| (index - MIN_INDEX + 1).cast_unsigned() as usize;
        self.words[word(first)..=word(last)]
            .iter()
            .map(|bucket| bucket.load_relaxed())
            .collect()
    }

    /// Forgets all counts. A value counted meanwhile may or may not be forgotten.
    pub fn clear(&self) {
        for word in self.words {
            // Reading first keeps pages that were never written from being committed.
            if word.load_relaxed() != 0 {
                word.store_relaxed(0);
            }
        }
    }
}
