//! Collections whose growth can fail.
//!
//! The standard library's collections end the process when there is no memory for them. Nothing else in the monitored
//! program may end because of its monitor, so wherever the size of an allocation depends on data, the other crates use
//! this one, and return [`OutOfMemory`] to their caller. Allocations of a few bytes whose size is known at compile time
//! may still use the standard library.

#![deny(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "reserves the memory before it calls them"
)]

mod buffer;
mod error;

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    fmt,
    hash::{BuildHasher, Hash},
    mem::MaybeUninit,
    sync::Arc,
};

pub use buffer::Buffer;
pub use error::OutOfMemory;

/// Creates an empty vector with room for `capacity` values.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for them, as in all functions of this crate.
#[inline]
pub fn vec<T>(capacity: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut vec = Vec::new();
    match vec.try_reserve_exact(capacity) {
        Ok(()) => Ok(vec),
        Err(_) => Err(OutOfMemory::of::<T>(capacity)),
    }
}

/// Creates a vector that contains `value` `count` times.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn filled<T: Copy>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut filled = vec(count)?;
    filled.resize(count, value);
    Ok(filled)
}

/// Copies a slice to a vector.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>, OutOfMemory> {
    let mut copied = vec(values.len())?;
    copied.extend_from_slice(values);
    Ok(copied)
}

/// Copies a slice to a box.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn boxed<T: Copy>(values: &[T]) -> Result<Box<[T]>, OutOfMemory> {
    // The vector has exactly the capacity that it needs, so it need not be reallocated.
    Ok(copied(values)?.into_boxed_slice())
}

/// Copies text to a string.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn string(text: &str) -> Result<String, OutOfMemory> {
    joined(&[text])
}

/// Joins texts to one string.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn joined(texts: &[&str]) -> Result<String, OutOfMemory> {
    let length = texts.iter().map(|text| text.len()).sum();
    let mut joined = String::new();
    match joined.try_reserve_exact(length) {
        Ok(()) => {
            texts.iter().for_each(|text| joined.push_str(text));
            Ok(joined)
        }
        Err(_) => Err(OutOfMemory::of::<u8>(length)),
    }
}

/// Formats text, as in `formatted(format_args!("{number}"))`.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
///
/// # Panics
///
/// Never: what is formatted is UTF-8.
pub fn formatted(arguments: fmt::Arguments<'_>) -> Result<String, OutOfMemory> {
    let mut buffer = Buffer::default();
    buffer.text(arguments);
    Ok(String::from_utf8(buffer.finish()?).expect("formatted text is UTF-8"))
}

/// Moves a value into an [`Arc`].
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn arc<T>(value: T) -> Result<Arc<T>, OutOfMemory> {
    // Arc has no constructor that can fail.
    probe::<Counted<T>>()?;
    Ok(Arc::new(value))
}

/// Checks that there is memory for a value of type `T`, before code that cannot fail allocates it: memory of the same
/// size that was just freed is available to it, unless another thread takes the last memory in between.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it.
pub fn probe<T>() -> Result<(), OutOfMemory> {
    drop(vec::<T>(1)?);
    Ok(())
}

/// Has the size and the alignment of what an `Arc` allocates.
#[repr(C)]
struct Counted<T>([usize; 2], MaybeUninit<T>);

/// Growth of a vector that can fail.
pub trait TryGrow<T> {
    /// Appends `value`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it.
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory>;

    /// Appends all of `values`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for them; those before may have been appended.
    fn try_extend(&mut self, values: impl IntoIterator<Item = T>) -> Result<(), OutOfMemory>;

    /// Changes the length to `length`; if it grows, calls `value` for each new value.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it.
    fn try_resize_with(
        &mut self,
        length: usize,
        value: impl FnMut() -> T,
    ) -> Result<(), OutOfMemory>;

    /// Inserts `value` before the value at index `at`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it.
    fn try_insert(&mut self, at: usize, value: T) -> Result<(), OutOfMemory>;
}

/// Reserves room for `more` values.
#[inline]
fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    match vec.try_reserve(more) {
        Ok(()) => Ok(()),
        Err(_) => Err(OutOfMemory::of::<T>(vec.len().saturating_add(more))),
    }
}

impl<T> TryGrow<T> for Vec<T> {
    #[inline]
    fn try_push(&mut self, value: T) -> Result<(), OutOfMemory> {
        reserve(self, 1)?;
        self.push(value);
        Ok(())
    }

    fn try_extend(&mut self, values: impl IntoIterator<Item = T>) -> Result<(), OutOfMemory> {
        let values = values.into_iter();
        reserve(self, values.size_hint().0)?;
        for value in values {
            self.try_push(value)?;
        }
        Ok(())
    }

    fn try_resize_with(
        &mut self,
        length: usize,
        value: impl FnMut() -> T,
    ) -> Result<(), OutOfMemory> {
        reserve(self, length.saturating_sub(self.len()))?;
        self.resize_with(length, value);
        Ok(())
    }

    fn try_insert(&mut self, at: usize, value: T) -> Result<(), OutOfMemory> {
        reserve(self, 1)?;
        self.insert(at, value);
        Ok(())
    }
}

/// Collects what an iterator yields, like [`Iterator::collect`], but can fail.
pub trait TryCollect: Iterator + Sized {
    /// Collects the values in a vector.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for them.
    fn try_vec(self) -> Result<Vec<Self::Item>, OutOfMemory> {
        // Exactly, because most results are kept as they are.
        let mut collected = vec(self.size_hint().0)?;
        collected.try_extend(self)?;
        Ok(collected)
    }

    /// Collects the values in a vector, or returns the first error that the iterator yields.
    ///
    /// # Errors
    ///
    /// The iterator's error, or [`OutOfMemory`] if there is no memory for the values.
    fn try_vec_of<T, E: From<OutOfMemory>>(self) -> Result<Vec<T>, E>
    where
        Self: Iterator<Item = Result<T, E>>,
    {
        let mut collected = vec(self.size_hint().1.unwrap_or(0))?;
        for value in self {
            collected.try_push(value?)?;
        }
        Ok(collected)
    }
}

impl<I: Iterator> TryCollect for I {}

/// Adds an entry to a map, replacing the value of an equal key.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it; the map is then unchanged.
pub fn insert<K: Eq + Hash, V, S: BuildHasher>(
    map: &mut HashMap<K, V, S>,
    key: K,
    value: V,
) -> Result<Option<V>, OutOfMemory> {
    match map.try_reserve(1) {
        Ok(()) => Ok(map.insert(key, value)),
        Err(_) => Err(OutOfMemory::of::<(K, V)>(map.len() + 1)),
    }
}

/// Adds a value to a set; returns false if it was there already.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it; the set is then unchanged.
pub fn add<T: Eq + Hash, S: BuildHasher>(
    set: &mut HashSet<T, S>,
    value: T,
) -> Result<bool, OutOfMemory> {
    match set.try_reserve(1) {
        Ok(()) => Ok(set.insert(value)),
        Err(_) => Err(OutOfMemory::of::<T>(set.len() + 1)),
    }
}

/// Adds a value to a heap.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for it; the heap is then unchanged.
pub fn heap_push<T: Ord>(heap: &mut BinaryHeap<T>, value: T) -> Result<(), OutOfMemory> {
    match heap.try_reserve(1) {
        Ok(()) => {
            heap.push(value);
            Ok(())
        }
        Err(_) => Err(OutOfMemory::of::<T>(heap.len() + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_MANY: usize = isize::MAX as usize / 8;

    #[test]
    fn impossible_sizes_are_an_error_that_states_the_bytes() {
        let error = OutOfMemory {
            bytes: TOO_MANY * 8,
        };
        assert_eq!(vec::<u64>(TOO_MANY), Err(error));
        assert_eq!(filled(1_u64, TOO_MANY), Err(error));
        assert_eq!(
            error.to_string(),
            format!("out of memory: no {} bytes are available", error.bytes)
        );
    }

    #[test]
    fn collecting_fails_where_the_standard_library_would_end_the_process() {
        assert!((0..TOO_MANY as u64).try_vec().is_err());
        let results = (0..TOO_MANY as u64).map(Ok::<_, OutOfMemory>);
        assert!(results.try_vec_of::<u64, OutOfMemory>().is_err());
        let mut values = vec![1];
        assert!(values.try_extend(0..TOO_MANY as u64).is_err());
        assert!(values.try_resize_with(TOO_MANY, || 0).is_err());
        assert_eq!(values, [1]);
    }

    #[test]
    fn what_fits_is_collected() {
        assert_eq!((0..3).try_vec(), Ok(vec![0, 1, 2]));
        let odd = (0..5).filter(|number| number % 2 == 1);
        assert_eq!(odd.try_vec(), Ok(vec![1, 3]));
        let stopped = [Ok(1), Err(OutOfMemory { bytes: 7 }), Ok(2)];
        let stopped = stopped.into_iter().try_vec_of::<i32, OutOfMemory>();
        assert_eq!(stopped, Err(OutOfMemory { bytes: 7 }));
        assert_eq!(&*boxed(b"abc").unwrap(), b"abc");
        assert_eq!(string("abc").unwrap(), "abc");
        assert_eq!(joined(&["a", "", "bc"]).unwrap(), "abc");
        assert_eq!(formatted(format_args!("{}", 7)).unwrap(), "7");
        assert_eq!(*arc(7).unwrap(), 7);
        let mut values = vec![1, 3];
        values.try_insert(1, 2).unwrap();
        assert_eq!(values, [1, 2, 3]);
    }
}
