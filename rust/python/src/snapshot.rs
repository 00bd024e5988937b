//! `Snapshot`, the Python class for a histogram's contents. Durations are in seconds.

use nanospan_record::{Seconds, histogram, limits::MAX_SECONDS};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PyType},
};

use crate::{
    bindings,
    error::{self, Fallible},
    hot::objects,
};

/// Histogram of an operation's durations, recorded since the operation was created or last cleared.
///
/// It is an immutable value that outlives its monitor. It can be sent to other processes and hosts with ``to_bytes()``
/// or pickle, and merged with any other snapshot. Quantiles are within 0.55 % of the true values; count, sum, minimum
/// and maximum are exact. The buckets are those of an OpenTelemetry exponential histogram of seconds at scale 6.
#[pyclass(frozen, eq, module = "nanospan")]
#[derive(PartialEq)]
pub struct Snapshot(histogram::Snapshot);

impl Snapshot {
    pub fn new(histogram: histogram::Snapshot) -> Self {
        Self(histogram)
    }

    /// Returns the underlying histogram, for the Rust encoders.
    pub fn core(&self) -> &histogram::Snapshot {
        &self.0
    }

    /// Converts a histogram to a JSON-compatible dict. Durations are in seconds.
    pub fn dict<'py>(
        histogram: &histogram::Snapshot,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = objects::dict(py)?;
        let float = |value| objects::float(py, value);
        let count = |value| objects::int(py, value);
        dict.set_item(intern!(py, "count"), count(histogram.count())?)?;
        dict.set_item(intern!(py, "sum"), float(sum(histogram))?)?;
        let [min, max] = [histogram.min_ns(), histogram.max_ns()]
            .map(|ns| ns.map(|ns| float(seconds(ns))).transpose());
        dict.set_item(intern!(py, "min"), min?)?;
        dict.set_item(intern!(py, "max"), max?)?;
        for (name, q) in [
            (intern!(py, "p50"), 0.5),
            (intern!(py, "p90"), 0.9),
            (intern!(py, "p95"), 0.95),
            (intern!(py, "p99"), 0.99),
            (intern!(py, "p999"), 0.999),
        ] {
            dict.set_item(name, quantile(histogram, q)?.map(float).transpose()?)?;
        }
        let scale = objects::signed_int(py, histogram.scale().into())?;
        dict.set_item(intern!(py, "scale"), scale)?;
        dict.set_item(intern!(py, "zeros"), count(histogram.zeros())?)?;
        dict.set_item(intern!(py, "buckets"), buckets(histogram, py)?)?;
        Ok(dict)
    }
}

/// Returns the sum of the durations, in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a duration in Python is a float in seconds"
)]
fn sum(histogram: &histogram::Snapshot) -> f64 {
    histogram.sum_ns() as f64 / 1e9
}

fn quantile(histogram: &histogram::Snapshot, q: f64) -> PyResult<Option<f64>> {
    match histogram.quantile(q) {
        Ok(ns) => Ok(ns.map(|ns| ns / 1e9)),
        Err(refused) => Err(error::to_python("quantile", &refused)),
    }
}

/// Returns the non-empty buckets as a list of pairs of index and count.
fn buckets<'py>(histogram: &histogram::Snapshot, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    let pairs = histogram.buckets().map(|(index, count)| {
        let index = objects::signed_int(py, index.into())?.into_any();
        objects::tuple(py, [index, objects::int(py, count)?.into_any()])
    });
    objects::list(py, pairs)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration in Python is a float in seconds"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[pymethods]
impl Snapshot {
    /// Number of durations in the histogram.
    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    /// Sum of the durations, in seconds.
    #[getter]
    fn sum(&self) -> f64 {
        sum(&self.0)
    }

    /// Shortest duration in seconds, or None if there are no durations.
    #[getter]
    fn min(&self) -> Option<f64> {
        self.0.min_ns().map(seconds)
    }

    /// Longest duration in seconds, or None if there are no durations.
    #[getter]
    fn max(&self) -> Option<f64> {
        self.0.max_ns().map(seconds)
    }

    /// Resolution of the buckets: 2**scale buckets cover each doubling of the duration.
    #[getter]
    fn scale(&self) -> i32 {
        self.0.scale()
    }

    /// Number of durations that are exactly 0.
    #[getter]
    fn zeros(&self) -> u64 {
        self.0.zeros()
    }

    /// Return the non-empty buckets in ascending order, as pairs of the bucket's index and the number of durations in
    /// it.
    ///
    /// The bucket with index i holds the durations v with b**i < v <= b**(i + 1) seconds, where b = 2**(2**-scale).
    /// Durations of 0 are not in any bucket.
    fn buckets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        buckets(&self.0, py)
    }

    /// Return approximately how many durations are at most ``seconds``, as needed for cumulative buckets.
    ///
    /// This counts the durations in buckets that end at or below ``seconds``. Shorter durations in the bucket that
    /// contains ``seconds`` are not counted; at scale 6, such durations are less than 1.1 % shorter than ``seconds``.
    /// If ``seconds`` is at least the maximum, all durations are counted.
    ///
    /// Raises:
    ///     ValueError: If ``seconds`` is negative, infinite or NaN.
    fn count_below(&self, seconds: f64) -> PyResult<u64> {
        if seconds > MAX_SECONDS && seconds.is_finite() {
            return Ok(self.0.count());
        }
        match Seconds::new(seconds) {
            Ok(seconds) => Ok(self.0.count_up_to(seconds.nanos())),
            Err(refused) => Err(error::to_python("count_below", &refused)),
        }
    }

    /// Return a histogram of what was recorded since ``earlier``, a snapshot of the same operation.
    ///
    /// Count and sum are exact. If the minimum or maximum was recorded before ``earlier``, it is replaced by an
    /// estimate that is consistent with the buckets and the sum.
    ///
    /// Raises:
    ///     ValueError: If ``earlier`` contains durations that this snapshot does not contain.
    fn since(&self, earlier: &Self) -> PyResult<Self> {
        match self.0.since(&earlier.0) {
            Ok(since) => Ok(Self(since)),
            Err(refused) => Err(error::to_python("since", &refused)),
        }
    }

    /// Return the duration in seconds at rank ceil(q * count), or None if there are no durations.
    ///
    /// At scale 6, the result is within 0.55 % of the true value.
    ///
    /// Raises:
    ///     ValueError: If ``q`` is not between 0 and 1.
    fn quantile(&self, q: f64) -> PyResult<Option<f64>> {
        quantile(&self.0, q)
    }

    /// Return a histogram of the durations in both snapshots, at the coarser of the two scales.
    ///
    /// Raises:
    ///     ValueError: If the snapshots contain more than 2**64 - 1 durations in total.
    fn merge(&self, other: &Self) -> Fallible<Self> {
        let mut merged = self.0.try_clone()?;
        match merged.merge(&other.0) {
            Ok(()) => Ok(Self(merged)),
            Err(refused) => Err(error::to_python("merge", &refused).into()),
        }
    }

    /// Return the same durations at the finest scale at which at most ``buckets`` buckets are non-empty.
    ///
    /// The result is never finer than this snapshot. If ``buckets`` is below 2, the result may still have two
    /// non-empty buckets, at the coarsest scale.
    fn with_at_most(&self, buckets: usize) -> Fallible<Self> {
        Ok(Self(self.0.with_at_most(buckets)?))
    }

    /// Return the same durations at ``scale``, or this snapshot unchanged if ``scale`` is not coarser.
    ///
    /// A scale below -10 is treated as -10.
    fn at_scale(&self, scale: i32) -> Fallible<Self> {
        Ok(Self(self.0.at_scale(scale)?))
    }

    /// Serialise the snapshot to versioned, checksummed bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Fallible<Bound<'py, PyBytes>> {
        Ok(objects::bytes(py, &self.0.to_bytes()?)?)
    }

    /// Restore a snapshot from the bytes that ``to_bytes`` returned.
    ///
    /// Raises:
    ///     ValueError: If ``data`` is corrupt or not a serialised histogram snapshot.
    #[staticmethod]
    fn from_bytes(data: &[u8]) -> PyResult<Self> {
        match histogram::Snapshot::from_bytes(data) {
            Ok(snapshot) => Ok(Self(snapshot)),
            Err(refused) => Err(error::to_python("snapshot", &refused)),
        }
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> Fallible<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let class: Bound<'py, PyType> = py.get_type::<Self>();
        Ok((
            class.getattr(intern!(py, "from_bytes"))?,
            (self.to_bytes(py)?,),
        ))
    }

    /// Return an HTML chart of the distribution, for display in notebooks.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let bindings = bindings::get(slf.py())?;
        bindings.snapshot_html.bind(slf.py()).call1((slf,))
    }

    fn __repr__(&self) -> PyResult<String> {
        let text = match (self.quantile(0.5)?, self.quantile(0.99)?) {
            (Some(p50), Some(p99)) => format!(" p50={p50:.6} s p99={p99:.6} s"),
            _ => String::new(),
        };
        Ok(format!("<Snapshot count={}{text}>", self.count()))
    }
}
