//! The limits that a decoder must keep for every input.

use std::time::Duration;

use cpu_time::ThreadTime;
use peak_alloc::PeakAlloc;

/// Counts the memory of the whole program, so only one thread may measure at a time.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The processor time that one input may take.
pub const LONGEST: Duration = Duration::from_secs(1);

/// The memory that an input may take, as a multiple of its length.
pub const FACTOR: usize = 3;

/// The memory that any input may take in addition, in bytes: error messages, small tables.
pub const ALLOWANCE: usize = 16 * 1024;

/// Calls `decode` on `data` and returns the result.
///
/// # Panics
///
/// If the call takes more than [`LONGEST`], or more memory than [`FACTOR`] times the input plus [`ALLOWANCE`] plus
/// `extra` bytes.
pub fn limited<T>(data: &[u8], extra: usize, decode: impl FnOnce(&[u8]) -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = ThreadTime::now();
    let result = decode(data);
    let took = start.elapsed();
    let memory = MEMORY.peak_usage().saturating_sub(before);
    assert!(took <= LONGEST, "{} bytes took {took:?}", data.len());
    let most = FACTOR * data.len() + ALLOWANCE + extra;
    assert!(
        memory <= most,
        "{} bytes took {memory} bytes of memory, more than {most}",
        data.len()
    );
    result
}
