//! `Operation`, the Python handle to one operation; monitors and spans record through it.

use std::sync::Arc;

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, vec};
use nanospan_format::Columns;
use nanospan_record::{
    Measured, Outcome, Recorded, Registry, Sample, Seconds, Summary, Window, Writers,
};
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::{PyKeyboardInterrupt, PyMemoryError},
    intern,
    prelude::*,
    types::{PyDict, PyList, PyString},
};

use crate::{
    arguments::number,
    bindings,
    error::{self, Fallible, memory_error},
    export::samples::Samples,
    hot::{exclusive::Exclusive, objects},
    messages::shown,
    metadata::{self, MetadataTable},
    outcome,
    snapshot::Snapshot,
    sync::Switch,
};

/// State shared by all operations of a monitor.
pub struct Shared {
    registry: Registry,
    enabled: Switch,
    events: Exclusive<Option<Py<PyAny>>>,
}

impl Shared {
    /// Creates the state with recording enabled. The methods of `events`, if it is not `None`, are called when a sample
    /// exceeds its threshold and for names beyond `max_operations`; see `nanospan.recorder`.
    pub fn new(registry: Registry, events: Option<Py<PyAny>>) -> Self {
        Self {
            registry,
            enabled: Switch::new(true),
            events: Exclusive::new(events),
        }
    }

    #[inline]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    #[inline]
    pub fn enabled(&self) -> bool {
        // Relaxed: the switch publishes no other data, and other threads may see a change slightly later.
        self.enabled.load_relaxed()
    }

    pub fn enable(&self, on: bool) {
        self.enabled.store_relaxed(on);
    }

    pub fn events<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let events = self
            .events
            .with(py, |events| Some(events.as_ref()?.clone_ref(py)));
        events.map(|events| events.into_bound(py))
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.events.collecting(|events| visit.call(&*events));
        shown.unwrap_or(Ok(()))
    }

    pub fn clear(&self, py: Python<'_>) {
        let events = self.events.with(py, Option::take);
        drop(events.map(|events| events.into_bound(py)));
    }
}

/// Handle to one operation of a monitor, as returned by ``monitor.operation(name)``.
///
/// Recording through the handle is faster than through the monitor, because the name is not looked up each time. All
/// methods may be called from any thread.
#[pyclass(frozen, weakref, module = "nanospan")]
pub struct Operation {
    core: Arc<nanospan_record::Operation>,
    name: Py<PyString>,
    metadata: MetadataTable,
    // Whether the loss of a sample's metadata has been reported.
    loss_reported: Switch,
    shared: Arc<Shared>,
}

impl Operation {
    pub fn new(
        core: Arc<nanospan_record::Operation>,
        name: Py<PyString>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            core,
            name,
            metadata: MetadataTable::default(),
            loss_reported: Switch::new(false),
            shared,
        }
    }

    #[inline]
    pub fn core(&self) -> &nanospan_record::Operation {
        &self.core
    }

    pub fn name<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.name.bind(py)
    }

    /// Returns a copy of the caller's metadata, which can be passed to [`record`](Self::record).
    #[inline]
    pub fn copy<'py>(&self, given: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        self.metadata.copy(given)
    }

    /// Returns whether recording is enabled.
    #[inline]
    pub fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    /// Counts a new execution as running and returns its start time in ticks. [`end`](Self::end) or
    /// [`abandon`](Self::abandon) must be called afterwards.
    #[inline(always)]
    pub fn begin(&self) -> u64 {
        self.core.begin(WRITERS)
    }

    /// Counts an execution as no longer running and returns its end time in ticks.
    #[inline(always)]
    pub fn end(&self) -> u64 {
        self.core.end(WRITERS)
    }

    /// Counts an execution as no longer running; it will not be recorded.
    pub fn abandon(&self) {
        self.core.abandon(WRITERS);
    }

    /// Records a successful execution that has no metadata and ended at `end`, in ticks. Does nothing if the monitor is
    /// disabled.
    // Inlined, because each of the few callers knows at compile time which variant of `Measured` it passes.
    #[inline(always)]
    pub fn record_plain(&self, py: Python<'_>, end: u64, duration: Measured) -> PyResult<()> {
        if !self.enabled() {
            return Ok(());
        }
        let Recorded { violation } = self
            .core
            .record(end, duration, Outcome::Ok, WRITERS, |_| false);
        if violation {
            self.report(py, end, duration, Outcome::Ok, None)?;
        }
        Ok(())
    }

    /// Records an execution with the given outcome that ended at `end`, in ticks. Does nothing if the monitor is
    /// disabled. `metadata` is stored without being copied, so the caller must not modify it afterwards.
    ///
    /// If there is no memory for the metadata, the sample is recorded without it, and a warning is logged once. So that
    /// no sample is lost, `metadata` may be the error with which preparing it failed; it is returned after recording
    /// unless it is a `MemoryError`.
    pub fn record(
        &self,
        py: Python<'_>,
        end: u64,
        duration: Measured,
        outcome: Outcome,
        metadata: PyResult<Option<Bound<'_, PyDict>>>,
    ) -> PyResult<()> {
        if !self.enabled() {
            return metadata.map(drop);
        }
        let (metadata, mut lost) = match metadata {
            Ok(metadata) => (metadata, None),
            Err(error) => (None, Some(error)),
        };
        let mut displaced = None;
        let Recorded { violation } = self.core.record(end, duration, outcome, WRITERS, |ticket| {
            metadata.as_ref().is_some_and(|metadata| {
                let window = self.core.block().window();
                match self.metadata.put(ticket, metadata.clone(), window) {
                    Ok(before) => displaced = before,
                    Err(error) => lost = Some(memory_error(error)),
                }
                lost.is_none()
            })
        });
        drop(displaced);
        if violation {
            self.report(py, end, duration, outcome, metadata)?;
        }
        match lost {
            None => Ok(()),
            Some(error) => self.report_loss(py, error),
        }
    }

    /// Logs once that samples are recorded without their metadata, if `error` is a `MemoryError`; otherwise returns it.
    #[cold]
    fn report_loss(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        if !error.is_instance_of::<PyMemoryError>(py) {
            return Err(error);
        }
        if self.loss_reported.load_relaxed() {
            return Ok(());
        }
        self.loss_reported.store_relaxed(true);
        let Some(events) = self.shared.events(py) else {
            return Ok(());
        };
        let reported = events.call_method1(intern!(py, "metadata_lost"), (self.name(py),));
        events_failed(py, reported.map(drop))
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
        let reported = events.call_method1(intern!(py, "violation"), arguments);
        events_failed(py, reported.map(drop))
    }

    /// Returns the statistics of the window, or `None` if it is empty. Releases the GIL if the window holds enough
    /// samples to make that worthwhile.
    pub fn summary(&self, py: Python<'_>) -> Result<Option<Summary>, OutOfMemory> {
        if self.core.block().samples().len() >= SAMPLES_WORTH_DETACHING {
            py.detach(|| self.core.summary())
        } else {
            self.core.summary()
        }
    }

    /// Returns the samples in the window, each with a copy of its metadata.
    pub fn samples<'py>(&self, py: Python<'py>) -> Fallible<Vec<(Sample, Bound<'py, PyDict>)>> {
        let Window { samples, .. } = self.core.window()?;
        // All references are taken before the first dict is created, because creating a dict may let other threads run.
        let mut kept: Vec<(Sample, Option<Py<PyDict>>)> = vec(samples.len())?;
        kept.try_extend(samples.into_iter().filter_map(
            |(ticket, sample)| match sample.has_metadata {
                false => Some((sample, None)),
                // If the metadata have been displaced, their sample has left the window in the meantime: skip it.
                true => Some((sample, Some(self.metadata.get(py, ticket)?))),
            },
        ))?;
        kept.into_iter()
            .map(|(sample, metadata)| match metadata {
                Some(metadata) => Ok((sample, metadata.bind(py).copy()?)),
                None => Ok((sample, objects::dict(py)?)),
            })
            .try_vec_of()
    }

    /// Returns the samples in the window as columns. The metadata is not copied; its column is empty if no sample has
    /// metadata.
    fn columns(&self, py: Python<'_>) -> Fallible<Samples> {
        let Window { samples, .. } = py.detach(|| self.core.window())?;
        let mut metadata = Vec::new();
        let mut kept = vec(samples.len())?;
        for (ticket, sample) in samples {
            if sample.has_metadata {
                let Some(of_sample) = self.metadata.get(py, ticket) else {
                    continue; // skipped, as in `samples`
                };
                metadata.try_resize_with(kept.len(), || None)?;
                metadata.try_push(Some(of_sample))?;
            }
            kept.try_push(sample)?;
        }
        if !metadata.is_empty() {
            metadata.try_resize_with(kept.len(), || None)?;
        }
        let anchor = self.shared.registry.wall().anchor();
        let columns = py.detach(|| Columns::of(&kept, anchor))?;
        Ok(Samples::timed(columns, metadata))
    }

    /// Returns the durations, in seconds, of the window's samples that ended after `moment`, and the time at which
    /// the last of them ended (`moment` if there are none). Both times are in clock ticks.
    pub fn durations_since<'py>(
        &self,
        py: Python<'py>,
        moment: u64,
    ) -> Fallible<(Bound<'py, PyList>, u64)> {
        let Window { samples, .. } = self.core.window()?;
        let new = samples.iter().filter(|(_, sample)| sample.end > moment);
        let latest = new.clone().map(|(_, sample)| sample.end).max();
        let durations = new.map(|(_, sample)| objects::float(py, sample.duration.seconds()));
        Ok((objects::list(py, durations)?, latest.unwrap_or(moment)))
    }

    /// Deletes the metadata that a forked child has inherited; the core's samples are reset separately.
    pub fn forget_metadata(&self, py: Python<'_>) {
        self.metadata.clear(py);
    }

    /// Deletes all samples and their metadata.
    pub fn clear(&self, py: Python<'_>) {
        self.core.clear();
        self.metadata.clear(py);
    }
}

/// Passes an error raised by an event callback to `sys.unraisablehook`, unless it is a `KeyboardInterrupt`, which is
/// returned to the caller.
///
/// Errors in callbacks or logging must not disturb the monitored program or replace its own exception.
pub fn events_failed(py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
    match result {
        Err(error) if !error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            error.write_unraisable(py, None);
            Ok(())
        }
        result => result,
    }
}

/// Whether several threads may record at the same time: with a GIL they cannot, so plain additions suffice.
const WRITERS: Writers = if cfg!(Py_GIL_DISABLED) {
    Writers::Concurrent
} else {
    Writers::Serialised
};

/// Minimum number of samples in a window for which computing statistics takes longer than releasing and re-acquiring
/// the GIL.
const SAMPLES_WORTH_DETACHING: usize = 10_000;

#[pymethods]
impl Operation {
    /// The operation's name.
    #[getter(name)]
    fn get_name<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.name(py).clone()
    }

    /// Return the statistics of the samples in the operation's window, or None if it has no samples.
    ///
    /// Equivalent to calling ``PerformanceMonitor.get_stats`` with the operation's name.
    pub fn stats<'py>(&self, py: Python<'py>) -> Fallible<Option<Bound<'py, PyAny>>> {
        let Some(summary) = self.summary(py)? else {
            return Ok(None);
        };
        let totals = self.core.totals();
        let lifetime = self.core.block().lifetime(&summary)?;
        let bindings = bindings::get(py)?;
        let updated = self
            .shared
            .registry
            .wall()
            .anchor()
            .unix_seconds(summary.last_end);
        let float = |value| objects::float(py, value).map(Bound::into_any);
        let count = |value| objects::int(py, value).map(Bound::into_any);
        let arguments = [
            self.name(py).clone().into_any(),
            count(summary.count as u64)?,
            float(summary.mean)?,
            float(summary.min)?,
            float(summary.max)?,
            float(summary.p95)?,
            float(summary.p99)?,
            float(summary.success_rate())?,
            float(updated)?,
            float(summary.p50)?,
            float(summary.p999)?,
            float(summary.stddev)?,
            count(summary.errors as u64)?,
            count(summary.cancelled as u64)?,
            count(totals.count)?,
            count(totals.violations)?,
            float(lifetime.mean)?,
            float(lifetime.min)?,
            float(lifetime.max)?,
            float(lifetime.p50)?,
            float(lifetime.p95)?,
            float(lifetime.p99)?,
            float(lifetime.p999)?,
            float(totals.success_rate())?,
        ];
        let arguments = objects::tuple(py, arguments)?;
        let class = bindings.performance_stats.bind(py);
        Ok(Some(class.call1(arguments)?))
    }

    /// Record an execution that was cancelled, which counts as neither a success nor an error.
    ///
    /// Args:
    ///     duration: Duration until the cancellation in seconds, from 0 to ``_core.MAX_DURATION`` (584 years).
    ///     metadata: A mapping to keep with the sample; it is copied.
    ///
    /// Raises:
    ///     TypeError: If ``duration`` is not a number, or ``metadata`` is neither a mapping nor None.
    ///     ValueError: If ``duration`` is negative, longer than 584 years or NaN.
    #[pyo3(signature = (duration, metadata=None))]
    fn record_cancelled<'py>(
        &self,
        py: Python<'py>,
        duration: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let asked = || format!("duration of operation {}", shown(self.name(py)));
        let seconds = Seconds::new(number(duration, asked)?)
            .map_err(|refused| error::to_python(&asked(), &refused))?;
        let given = metadata.map(metadata::given).transpose()?;
        let kept = outcome::metadata(py, given.as_ref(), None, Outcome::Cancelled, None);
        let end = self.core.clock().ticks();
        self.record(
            py,
            end,
            Measured::Seconds(seconds),
            Outcome::Cancelled,
            kept,
        )
    }

    /// Wrap a function in a native callable that records each execution.
    ///
    /// On CPython 3.11, calling it is faster than calling a decorated function. It is not a function, however:
    /// libraries that require one refuse it.
    ///
    /// Args:
    ///     function: A function or coroutine function, or another callable that is not a generator function.
    ///     metadata: A mapping to keep with every sample.
    ///
    /// Raises:
    ///     TypeError: If ``function`` is not such a callable, or ``metadata`` is neither a mapping nor None.
    #[pyo3(signature = (function, metadata=None))]
    fn wrap<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
        metadata: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let given = metadata.map(metadata::given).transpose()?;
        bindings::get(py)?
            .wrap
            .bind(py)
            .call1((function, slf, given))
    }

    /// Return a histogram of all durations recorded since the operation was created or last cleared.
    ///
    /// Executions with every outcome are included. A sample that another thread is recording at the same time may be
    /// missing.
    fn snapshot(&self) -> PyResult<Snapshot> {
        // The GIL is kept: copying takes microseconds, about as long as releasing and re-acquiring the GIL.
        let histogram = self.core.histogram();
        Ok(Snapshot::new(
            histogram.map_err(|e| error::to_python("snapshot", &e))?,
        ))
    }

    /// Return the samples in the operation's window as columns.
    ///
    /// The samples' metadata is not copied and must not be modified.
    fn _columns(&self, py: Python<'_>) -> Fallible<Samples> {
        self.columns(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<Operation {}>", shown(self.name(py)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.metadata.traverse(&visit)
    }

    fn __clear__(&self, py: Python<'_>) {
        self.metadata.clear(py);
    }
}
