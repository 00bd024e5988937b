//! Metadata of samples, kept beside the ring and free of cost where there is none.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyMapping},
};

/// The metadata of one operation's window, by ticket.
///
/// The lock is held for moves of pointers only. No Python object is made or dropped under it, so no
/// Python code (a finaliser, the garbage collector) can run there and come back for it.
#[derive(Default)]
pub struct MetadataTable {
    slots: Mutex<Vec<Option<Entry>>>,
}

type Entry = (u64, Py<PyDict>);

impl MetadataTable {
    fn slots(&self) -> MutexGuard<'_, Vec<Option<Entry>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `metadata` for `ticket` in a window of `window` samples. What had to give way is
    /// returned for the caller to drop when it is ready for Python code to run.
    #[must_use]
    pub fn put(&self, ticket: u64, metadata: Py<PyDict>, window: u64) -> Option<Entry> {
        let mut slots = self.slots();
        if slots.is_empty() {
            slots.resize_with(usize::try_from(window).unwrap_or(usize::MAX), || None);
        }
        let slot = &mut slots[(ticket % window) as usize];
        match slot {
            // A thread that was held up since it claimed its ticket comes too late.
            Some((newer, _)) if *newer > ticket => Some((ticket, metadata)),
            _ => slot.replace((ticket, metadata)),
        }
    }

    /// The metadata of `ticket`, if it is still there.
    pub fn get(&self, py: Python<'_>, ticket: u64) -> Option<Py<PyDict>> {
        let slots = self.slots();
        let at = ticket.checked_rem(slots.len() as u64)? as usize;
        match &slots[at] {
            Some((kept, metadata)) if *kept == ticket => Some(metadata.clone_ref(py)),
            _ => None,
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let forgotten = std::mem::take(&mut *self.slots());
        drop(forgotten);
    }

    /// Shows every dict to the garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let slots = match self.slots.try_lock() {
            Ok(slots) => slots,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A thread was stopped while it moved pointers (without a GIL only). What is not shown
            // counts as reachable, so nothing is freed too early; the next collection sees it.
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        for (_, metadata) in slots.iter().flatten() {
            visit.call(metadata)?;
        }
        Ok(())
    }
}

/// The caller's `metadata` argument as a dict: itself if it is one, a copy of any other mapping.
pub fn given<'py>(metadata: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(metadata) = metadata else {
        return Ok(None);
    };
    if let Ok(dict) = metadata.cast::<PyDict>() {
        return Ok(Some(dict.clone()));
    }
    let mapping = metadata.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err(format!(
            "metadata is a dict or None, got {}",
            metadata.get_type()
        ))
    })?;
    let dict = PyDict::new(metadata.py());
    dict.update(mapping)?;
    Ok(Some(dict))
}
