//! The samples' metadata, stored separately from the ring so that samples without metadata cost nothing extra.
//!
//! A sample's metadata is copied when the sample is recorded, and the copy is never modified. Consecutive samples whose
//! metadata contains identical objects share a copy.

use nanospan_fallible::{OutOfMemory, TryGrow};
use nanospan_record::ring::Ring;
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyMapping},
};

use crate::{
    arguments::type_name,
    hot::{dicts::same_objects, exclusive::Exclusive, objects},
};

/// The metadata of the samples in one operation's window, keyed by the samples' tickets (sequence numbers).
#[derive(Default)]
pub struct MetadataTable(Exclusive<Table>);

#[derive(Default)]
struct Table {
    slots: Vec<Option<Entry>>,
    // The most recent copy, to be shared with the next sample if its metadata is the same.
    last: Option<Py<PyDict>>,
}

type Entry = (u64, Py<PyDict>);

impl MetadataTable {
    /// Returns a copy of `given`. Reuses the most recent copy if it contains the same objects.
    #[inline]
    pub fn copy<'py>(&self, given: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        let py = given.py();
        let shared = self.0.with(py, |table| {
            let last = table.last.as_ref()?;
            same_objects(last, given).then(|| last.clone_ref(py))
        });
        if let Some(shared) = shared {
            return Ok(shared.into_bound(py));
        }
        let copy = given.copy()?;
        let next = Some(copy.clone().unbind());
        let before = self
            .0
            .with(py, |table| std::mem::replace(&mut table.last, next));
        drop(before.map(|before| before.into_bound(py)));
        Ok(copy)
    }

    /// Stores `metadata`, which must not be modified afterwards, for the sample with ticket `ticket` in a window of
    /// `window` samples.
    ///
    /// Returns the metadata that was displaced, if any. Dropping it may run Python code, so the caller decides when to
    /// do so. Fails if there is no memory for the table; the metadata, to which the caller must hold a reference, is not
    /// stored then.
    #[inline]
    pub fn put<'py>(
        &self,
        ticket: u64,
        metadata: Bound<'py, PyDict>,
        window: u64,
    ) -> Result<Option<Bound<'py, PyDict>>, OutOfMemory> {
        let py = metadata.py();
        let metadata = metadata.unbind();
        let displaced = self.0.with(py, |Table { slots, .. }| {
            if slots.is_empty() {
                // The size is a power of two, like the ring's capacity: a division would cost more than everything else
                // here.
                slots.try_resize_with(Ring::capacity_for(window as usize), || None)?;
            }
            let at = ticket as usize & (slots.len() - 1);
            let slot = &mut slots[at];
            Ok::<_, OutOfMemory>(match slot {
                // This thread was delayed after it claimed its ticket, and a newer sample has taken the slot.
                Some((newer, _)) if *newer > ticket => Some((ticket, metadata)),
                _ => slot.replace((ticket, metadata)),
            })
        })?;
        Ok(displaced.map(|(_, displaced)| displaced.into_bound(py)))
    }

    /// Returns the metadata of the sample with ticket `ticket`, or `None` if there is none or it has been displaced.
    pub fn get(&self, py: Python<'_>, ticket: u64) -> Option<Py<PyDict>> {
        self.0.with(py, |Table { slots, .. }| {
            match slots.get(ticket as usize & slots.len().checked_sub(1)?)? {
                Some((kept, metadata)) if *kept == ticket => Some(metadata.clone_ref(py)),
                _ => None,
            }
        })
    }

    /// Removes all metadata.
    pub fn clear(&self, py: Python<'_>) {
        let Table { slots, last } = self.0.with(py, std::mem::take);
        drop(last.map(|last| last.into_bound(py)));
        for (_, metadata) in slots.into_iter().flatten() {
            drop(metadata.into_bound(py));
        }
    }

    /// Visits every dict for the garbage collector. If another thread holds the lock, no dict is visited: the dicts
    /// then count as reachable until the next collection, so none is freed too early.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.0.collecting(|table| {
            let kept = table.slots.iter().flatten().map(|(_, metadata)| metadata);
            kept.chain(&table.last)
                .try_for_each(|metadata| visit.call(metadata))
        });
        shown.unwrap_or(Ok(()))
    }
}

/// Converts a `metadata` argument other than None to a dict. A dict is returned as is; any other mapping is copied.
pub fn given<'py>(metadata: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = metadata.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    let mapping = metadata.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err(format!(
            "metadata must be a mapping or None, got {}",
            type_name(metadata)
        ))
    })?;
    let dict = objects::dict(metadata.py())?;
    dict.update(mapping)?;
    Ok(dict)
}
