//! Metadata of samples, kept beside the ring and free of cost where there is none.
//!
//! What is kept is a copy, made when the sample is recorded, and never changed: consecutive samples whose
//! metadata hold the very same objects share one.

use nanospan_record::ring::Ring;
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyMapping},
};

use crate::{
    arguments::type_name,
    hot::{dicts::same_objects, exclusive::Exclusive},
};

/// The metadata of one operation's window, by ticket.
#[derive(Default)]
pub struct MetadataTable(Exclusive<Table>);

#[derive(Default)]
struct Table {
    slots: Vec<Option<Entry>>,
    // The last copy made, for samples that have the same metadata again.
    last: Option<Py<PyDict>>,
}

type Entry = (u64, Py<PyDict>);

impl MetadataTable {
    /// A copy of `given`: the last one, if that holds the same objects.
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

    /// Keeps `metadata`, which is not changed any more, for `ticket` in a window of `window` samples. What
    /// had to give way is returned, for the caller to drop when it is ready for Python code to run.
    #[inline]
    #[must_use]
    pub fn put<'py>(
        &self,
        ticket: u64,
        metadata: Bound<'py, PyDict>,
        window: u64,
    ) -> Option<Bound<'py, PyDict>> {
        let py = metadata.py();
        let metadata = metadata.unbind();
        let displaced = self.0.with(py, |Table { slots, .. }| {
            if slots.is_empty() {
                // A power of two, like the ring's capacity: a division would cost more than the rest.
                slots.resize_with(Ring::capacity_for(window as usize), || None);
            }
            let at = ticket as usize & (slots.len() - 1);
            let slot = &mut slots[at];
            match slot {
                // A thread that was held up since it claimed its ticket comes too late.
                Some((newer, _)) if *newer > ticket => Some((ticket, metadata)),
                _ => slot.replace((ticket, metadata)),
            }
        });
        displaced.map(|(_, displaced)| displaced.into_bound(py))
    }

    /// The metadata of `ticket`, if it is still there.
    pub fn get(&self, py: Python<'_>, ticket: u64) -> Option<Py<PyDict>> {
        self.0.with(py, |Table { slots, .. }| {
            match slots.get(ticket as usize & slots.len().checked_sub(1)?)? {
                Some((kept, metadata)) if *kept == ticket => Some(metadata.clone_ref(py)),
                _ => None,
            }
        })
    }

    /// Forgets everything.
    pub fn clear(&self, py: Python<'_>) {
        let Table { slots, last } = self.0.with(py, std::mem::take);
        drop(last.map(|last| last.into_bound(py)));
        for (_, metadata) in slots.into_iter().flatten() {
            drop(metadata.into_bound(py));
        }
    }

    /// Shows every dict to the garbage collector. What could not be shown counts as reachable, so that
    /// nothing is freed too early; the next collection sees it.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.0.collecting(|table| {
            let kept = table.slots.iter().flatten().map(|(_, metadata)| metadata);
            kept.chain(&table.last)
                .try_for_each(|metadata| visit.call(metadata))
        });
        shown.unwrap_or(Ok(()))
    }
}

/// The caller's `metadata` argument, not None, as a dict: itself if it is one, a copy of any other
/// mapping.
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
    let dict = PyDict::new(metadata.py());
    dict.update(mapping)?;
    Ok(dict)
}
