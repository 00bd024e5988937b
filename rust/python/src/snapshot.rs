//! A histogram at rest, as Python sees it: durations are seconds.

use nanospan_record::{Seconds, histogram};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyType},
};

use crate::{bindings, error};

/// A histogram of durations: what an operation recorded since start or the last clear.
///
/// It is an immutable value that outlives its monitor, travels between processes and hosts as
/// ``to_bytes()`` or by pickle, and merges with any other. Quantiles are within 0.55 % of the true ones;
/// count, sum, minimum and maximum are exact. Buckets are those of an OpenTelemetry exponential
/// histogram of seconds at scale 6.
#[pyclass(frozen, eq, module = "nanospan")]
#[derive(PartialEq)]
pub struct Snapshot(histogram::Snapshot);

impl Snapshot {
    pub fn new(histogram: histogram::Snapshot) -> Self {
        Self(histogram)
    }

    /// What Rust encodes.
    pub fn core(&self) -> &histogram::Snapshot {
        &self.0
    }

    /// A histogram as a plain dict, for JSON; durations are seconds.
    pub fn dict<'py>(
        histogram: &histogram::Snapshot,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = Self(histogram.clone());
        let dict = PyDict::new(py);
        dict.set_item("count", snapshot.count())?;
        dict.set_item("sum", snapshot.sum())?;
        dict.set_item("min", snapshot.min())?;
        dict.set_item("max", snapshot.max())?;
        for (name, q) in [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p95", 0.95),
            ("p99", 0.99),
            ("p999", 0.999),
        ] {
            dict.set_item(name, snapshot.quantile(q)?)?;
        }
        dict.set_item("scale", snapshot.scale())?;
        dict.set_item("zeros", snapshot.zeros())?;
        dict.set_item("buckets", snapshot.buckets())?;
        Ok(dict)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds as float, like every duration in Python"
)]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[pymethods]
impl Snapshot {
    /// How many durations there are.
    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    /// Their sum in seconds.
    #[getter]
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn sum(&self) -> f64 {
        self.0.sum_ns() as f64 / 1e9
    }

    /// The shortest in seconds, None without any.
    #[getter]
    fn min(&self) -> Option<f64> {
        self.0.min_ns().map(seconds)
    }

    /// The longest in seconds, None without any.
    #[getter]
    fn max(&self) -> Option<f64> {
        self.0.max_ns().map(seconds)
    }

    /// The scale: there are 2**scale buckets to a doubling.
    #[getter]
    fn scale(&self) -> i32 {
        self.0.scale()
    }

    /// How many of them were exactly 0.
    #[getter]
    fn zeros(&self) -> u64 {
        self.0.zeros()
    }

    /// Return the buckets that are not empty, ascending: index i and how many durations v lie in it, where
    /// b**i < v <= b**(i + 1) seconds with b = 2**(2**-scale). Zeros lie in none.
    fn buckets(&self) -> Vec<(i32, u64)> {
        self.0.buckets().collect()
    }

    /// Return how many durations lie in buckets that end at or below ``seconds``: for classic, cumulative buckets.
    ///
    /// Durations that share a bucket with ``seconds`` are not counted: these are less than 1.1 % below it.
    ///
    /// Raises:
    ///     ValueError: If ``seconds`` is negative, infinite or NaN.
    fn count_below(&self, seconds: f64) -> PyResult<u64> {
        match Seconds::new(seconds) {
            Ok(seconds) => Ok(self.0.count_up_to(seconds.nanos())),
            Err(refused) => Err(error::to_python("count_below", &refused)),
        }
    }

    /// Return what was recorded since ``earlier``, a snapshot of the same operation.
    ///
    /// Count and sum are exact; an extreme that is older than ``earlier`` gives way to one that buckets and sum
    /// allow.
    ///
    /// Raises:
    ///     ValueError: If ``earlier`` holds durations that this one does not.
    fn since(&self, earlier: &Self) -> PyResult<Self> {
        match self.0.since(&earlier.0) {
            Ok(since) => Ok(Self(since)),
            Err(refused) => Err(error::to_python("since", &refused)),
        }
    }

    /// Return the duration in seconds at rank ceil(q * count), within 0.55 % at scale 6; None without any.
    ///
    /// Raises:
    ///     ValueError: If ``q`` is not between 0 and 1.
    fn quantile(&self, q: f64) -> PyResult<Option<f64>> {
        match self.0.quantile(q) {
            Ok(ns) => Ok(ns.map(|ns| ns / 1e9)),
            Err(refused) => Err(error::to_python("quantile", &refused)),
        }
    }

    /// Return a snapshot of the durations of both, at the coarser of their scales.
    ///
    /// Raises:
    ///     ValueError: If together they are more than can be counted.
    fn merge(&self, other: &Self) -> PyResult<Self> {
        let mut merged = self.0.clone();
        match merged.merge(&other.0) {
            Ok(()) => Ok(Self(merged)),
            Err(refused) => Err(error::to_python("merge", &refused)),
        }
    }

    /// Return the same durations at the finest scale that has at most ``buckets`` non-empty buckets.
    fn with_at_most(&self, buckets: usize) -> Self {
        Self(self.0.with_at_most(buckets))
    }

    /// Return the same durations at a coarser scale, or unchanged if ``scale`` is not coarser.
    fn at_scale(&self, scale: i32) -> Self {
        Self(self.0.at_scale(scale))
    }

    /// Return the snapshot as versioned, checksummed bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// Return the snapshot that ``to_bytes`` turned into ``data``.
    ///
    /// Raises:
    ///     ValueError: If ``data`` is damaged, or is something else.
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
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let class: Bound<'py, PyType> = py.get_type::<Self>();
        Ok((
            class.getattr(intern!(py, "from_bytes"))?,
            (self.to_bytes(py),),
        ))
    }

    /// Return the distribution as a picture, for notebooks.
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
