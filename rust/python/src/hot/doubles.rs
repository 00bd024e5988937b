//! Doubles read from a buffer that other threads may be writing to.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::buffer::PyBuffer;

/// The doubles of a buffer, each read once: none if the buffer is not C-contiguous.
pub fn read(buffer: &PyBuffer<f64>) -> impl ExactSizeIterator<Item = f64> {
    // Relaxed: each value stands for itself; a write to the array meanwhile may be seen or not.
    let read = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
    words(buffer).iter().map(read)
}

/// The memory of a buffer, which other threads may write to at any time.
fn words(buffer: &PyBuffer<f64>) -> &[AtomicU64] {
    match buffer.as_slice_ptr() {
        Some(doubles) if !doubles.is_empty() => {
            // SAFETY: PyBuffer::get checked that the items are doubles, of their size and alignment, and
            // as_slice_ptr that they are contiguous; the exporter keeps memory and length while the
            // buffer is held, and the slice borrows it. AtomicU64 has the layout of u64, every bit
            // pattern of which is one, and is only loaded from, so that neither read-only memory nor
            // writers elsewhere matter.
            unsafe {
                std::slice::from_raw_parts(doubles.as_ptr().cast::<AtomicU64>(), doubles.len())
            }
        }
        _ => &[],
    }
}
