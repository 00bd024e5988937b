//! Reads doubles from a buffer that other threads may be writing to.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::buffer::PyBuffer;

/// Iterates over the doubles in a buffer, reading each one once. The iterator is empty if the buffer is not
/// C-contiguous.
pub fn read(buffer: &PyBuffer<f64>) -> impl ExactSizeIterator<Item = f64> {
    // Relaxed: the values are independent; a concurrent write to the array may or may not be seen.
    let read = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
    words(buffer).iter().map(read)
}

/// Returns a buffer's memory as atomics, because other threads may write to it at any time.
fn words(buffer: &PyBuffer<f64>) -> &[AtomicU64] {
    match buffer.as_slice_ptr() {
        Some(doubles) if !doubles.is_empty() => {
            // SAFETY: PyBuffer::get checked that the items have the type, size and alignment of doubles, and
            // as_slice_ptr that they are contiguous. The exporter keeps the memory and its length unchanged while the
            // buffer is held, and the slice borrows the buffer. AtomicU64 has the layout of u64, for which every bit
            // pattern is valid. The atomics are only read, so the memory may be read-only, and other threads may write
            // to it.
            unsafe {
                std::slice::from_raw_parts(doubles.as_ptr().cast::<AtomicU64>(), doubles.len())
            }
        }
        _ => &[],
    }
}
