//! An operation as the monitor and its spans hold it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use perfuse_core::{Measured, Outcome, Recorded, Registry, Sample, Summary, Window};
use pyo3::{
    PyTraverseError, PyVisit, intern,
    prelude::*,
    types::{PyDict, PyString},
};

use crate::metadata::MetadataTable;

/// What all operations of a monitor share.
pub struct Shared {
    registry: Registry,
    enabled: AtomicBool,
    events: Mutex<Option<Py<PyAny>>>,
}

impl Shared {
    /// `events` is told of violations and refused names; see `perfuse.monitor`.
    pub fn new(registry: Registry, events: Py<PyAny>) -> Self {
        Self {
            registry,
            enabled: AtomicBool::new(true),
            events: Mutex::new(Some(events)),
        }
    }

    #[inline]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    #[inline]
    pub fn enabled(&self) -> bool {
        // Relaxed: a switch that publishes nothing; "from now on" has no sharper meaning than that.
        self.enabled.load(Ordering::Relaxed)
    }

    pub fn enable(&self, on: bool) {
        self.enabled.store(on, Ordering::Relaxed);
    }

    pub fn events(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.as_ref().map(|events| events.clone_ref(py))
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.events.try_lock() {
            Ok(events) => visit.call(&*events),
            // Not shown counts as reachable; see MetadataTable::traverse.
            Err(_) => Ok(()),
        }
    }

    pub fn clear(&self) {
        let events = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(events);
    }
}

/// An operation's state with what Python adds to it.
#[pyclass(frozen, name = "_Operation", module = "perfuse._core")]
pub struct Operation {
    core: Arc<perfuse_core::Operation>,
    name: Py<PyString>,
    metadata: MetadataTable,
    shared: Arc<Shared>,
}

impl Operation {
    pub fn new(
        core: Arc<perfuse_core::Operation>,
        name: Py<PyString>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            core,
            name,
            metadata: MetadataTable::default(),
            shared,
        }
    }

    #[inline]
    pub fn core(&self) -> &perfuse_core::Operation {
        &self.core
    }

    pub fn name<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.name.bind(py)
    }

    /// Records a sample that ended at `end`, unless the monitor is disabled. `metadata` becomes ours.
    #[inline]
    pub fn record(
        &self,
        py: Python<'_>,
        end: u64,
        duration: Measured,
        outcome: Outcome,
        metadata: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if !self.shared.enabled() {
            return Ok(());
        }
        let mut displaced = None;
        let Recorded { violation } = self.core.record(end, duration, outcome, |ticket| {
            metadata.as_ref().is_some_and(|metadata| {
                let window = self.core.block().window();
                displaced = self.metadata.put(ticket, metadata.clone().unbind(), window);
                true
            })
        });
        drop(displaced);
        if violation {
            self.report(py, end, duration, outcome, metadata)?;
        }
        Ok(())
    }

    #[cold]
    fn report(
        &self,
        py: Python<'_>,
        end: u64,
        duration: Measured,
        outcome: Outcome,
        metadata: Option<Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let Some(events) = self.shared.events(py) else {
            return Ok(());
        };
        let arguments = (
            self.name(py),
            duration.seconds(),
            self.shared.registry.wall().anchor().unix_seconds(end),
            outcome == Outcome::Ok,
            metadata,
        );
        events.call_method1(py, intern!(py, "violation"), arguments)?;
        Ok(())
    }

    /// Statistics of the window, taken without the GIL where that is worth a switch.
    pub fn summary(&self, py: Python<'_>) -> Option<Summary> {
        let samples = self.core.block().samples();
        let large = samples.len() >= SAMPLES_WORTH_DETACHING;
        let condense = || Summary::of(samples.filter_map(|(_, sample)| sample));
        if large {
            py.detach(condense)
        } else {
            condense()
        }
    }

    /// The window with a copy of each sample's metadata.
    pub fn samples<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Sample, Bound<'py, PyDict>)>> {
        let Window { samples, .. } = self.core.window();
        // All references are taken before the first dict is made, which may let other threads run.
        let kept: Vec<(Sample, Option<Py<PyDict>>)> = samples
            .into_iter()
            .filter_map(|(ticket, sample)| match sample.has_metadata {
                false => Some((sample, None)),
                // Metadata that has given way belongs to a sample that has left the window since.
                true => Some((sample, Some(self.metadata.get(py, ticket)?))),
            })
            .collect();
        kept.into_iter()
            .map(|(sample, metadata)| match metadata {
                Some(metadata) => Ok((sample, metadata.bind(py).copy()?)),
                None => Ok((sample, PyDict::new(py))),
            })
            .collect()
    }

    /// Forgets every sample.
    pub fn clear(&self) {
        self.core.block().clear();
        self.metadata.clear();
    }
}

/// From this many samples on, condensing a window takes longer than handing the GIL around.
const SAMPLES_WORTH_DETACHING: usize = 10_000;

#[pymethods]
impl Operation {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.metadata.traverse(&visit)
    }

    fn __clear__(&self) {
        self.metadata.clear();
    }
}
