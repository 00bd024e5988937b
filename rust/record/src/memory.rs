//! Memory for operations: zeroed words whose pages take no physical memory until they are written.
//!
//! An operation with a window of 1,000 samples needs 128 KiB of address space, but recording a single sample touches
//! only two pages. An anonymous mapping is committed page by page. `calloc` would do the same only for sizes above
//! glibc's dynamic mmap threshold; below it, `calloc` would zero, and so commit, recycled heap memory.
//!
//! In a forked child the words are zero again on Linux from 4.14 on. Elsewhere the child inherits the parent's values.
#![allow(
    unsafe_code,
    reason = "mapped bytes are viewed as atomic words, and the kernel is advised on them"
)]

use crate::{error::Error, sync::Word};

/// An array of 64-bit atomic words with a fixed length, initially zero.
#[derive(Debug)]
pub struct Memory {
    #[cfg(not(loom))]
    map: memmap2::MmapRaw,
    #[cfg(loom)]
    words: Vec<Word>,
}

#[cfg(not(loom))]
impl Memory {
    /// Maps memory for `words` zeroed words.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlock`] if the operating system refuses the mapping.
    pub fn zeroed(words: usize) -> Result<Self, Error> {
        let bytes = words * size_of::<u64>();
        let map = memmap2::MmapMut::map_anon(bytes).map_err(|_| Error::NoBlock(bytes))?;
        let map = memmap2::MmapRaw::from(map);
        // The kernel merges neighbouring mappings, and a transparent huge page would commit 2 MiB for one sample.
        // Kernels built without huge pages reject the advice and do not need it; Miri does not support it.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise(memmap2::Advice::NoHugePage);
        // Neither copying the parent's pages nor erasing them in the child takes any time. Kernels and emulators that
        // reject or ignore the advice need no branch here: `Block::reset_in_child` checks the result.
        // SAFETY: the range is exactly this anonymous mapping, to which nothing refers yet, and the advice changes
        // nothing in this process.
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = unsafe { libc::madvise(map.as_mut_ptr().cast(), map.len(), libc::MADV_WIPEONFORK) };
        Ok(Self { map })
    }

    /// Returns the words as a slice.
    #[inline]
    pub fn words(&self) -> &[Word] {
        // SAFETY: the mapping is page-aligned (so aligned for Word, which has the layout of u64), lives as long as
        // `self`, was zeroed by the kernel, is readable and writable, and every bit pattern is a valid Word. The bytes
        // are reached only through this function, so no access to them is ever non-atomic, and `MmapRaw` hands out a
        // raw pointer without ever creating a reference.
        unsafe {
            std::slice::from_raw_parts(
                self.map.as_mut_ptr().cast::<Word>(),
                self.map.len() / size_of::<u64>(),
            )
        }
    }
}

#[cfg(loom)]
impl Memory {
    /// Allocates `words` zeroed words, to which loom tracks all accesses.
    ///
    /// # Errors
    ///
    /// Never fails. It returns a `Result` only to have the same signature as the function used without loom.
    pub fn zeroed(words: usize) -> Result<Self, Error> {
        Ok(Self {
            words: (0..words).map(|_| Word::new(0)).collect(),
        })
    }

    /// Returns the words as a slice.
    pub fn words(&self) -> &[Word] {
        &self.words
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_start_at_zero_and_keep_what_is_written() {
        let memory = Memory::zeroed(10_000).unwrap();
        assert_eq!(memory.words().len(), 10_000);
        assert!(memory.words().iter().all(|word| word.load_relaxed() == 0));
        memory.words()[9_999].store_relaxed(7);
        assert_eq!(memory.words()[9_999].load_relaxed(), 7);
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri cannot fork")]
    fn words_are_zero_in_a_forked_child() {
        let memory = Memory::zeroed(10_000).unwrap();
        memory.words()[9_999].store_relaxed(7);
        let mut status = -1;
        // SAFETY: between fork and _exit, the child only reads memory that it was given.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit((memory.words()[9_999].load_relaxed() != 0).into());
            }
            libc::waitpid(child, &raw mut status, 0);
        }
        assert_eq!(status, 0);
        assert_eq!(memory.words()[9_999].load_relaxed(), 7);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri stops instead of refusing memory")]
    fn impossible_sizes_are_an_error() {
        let words = 1 << 58;
        assert_eq!(
            Memory::zeroed(words).unwrap_err(),
            Error::NoBlock(words * 8)
        );
    }
}
