//! Encodes Prometheus expositions with the GIL released.

use std::{
    borrow::Cow,
    sync::{Arc, MutexGuard},
};

use nanospan_format::prometheus::{
    Family, Format, Head, Kind, Options, Sample, Series, Source, Value, encode, samples,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{IntoPyDict, PyBytes, PyDict},
};

use crate::{
    error, gil::DropWithoutGil, messages::shorten, monitor_snapshot::MonitorSnapshot,
    snapshot::Snapshot, sync::Mutex,
};

/// Pairs of label name and label value.
type Labels = Vec<(String, String)>;

/// A metric family passed from Python: name, help, unit, kind, and the labels and value of each series.
type GivenFamily<'py> = (
    String,
    String,
    String,
    String,
    Vec<(Labels, GivenValue<'py>)>,
);

/// A snapshot passed from Python, and the labels that distinguish it from other snapshots.
type GivenSource<'py> = (Bound<'py, MonitorSnapshot>, Labels);

/// A metric family returned to Python: name, help, unit, kind, and the name suffix, labels and value of each sample.
type SampledFamily<'py> = (
    Cow<'static, str>,
    Cow<'static, str>,
    Cow<'static, str>,
    &'static str,
    Vec<(&'static str, Bound<'py, PyDict>, f64)>,
);

#[derive(FromPyObject)]
enum GivenValue<'py> {
    Histogram(Bound<'py, Snapshot>),
    Number(f64),
}

/// Encodes Prometheus expositions; use ``nanospan.export.prometheus.Exposition`` instead.
#[pyclass(frozen, module = "nanospan._core")]
pub struct PrometheusEncoder(Options);

#[pymethods]
impl PrometheusEncoder {
    #[new]
    fn new(bounds: Vec<f64>, max_native_buckets: usize) -> PyResult<Self> {
        match Options::new(&bounds, max_native_buckets) {
            Ok(options) => Ok(Self(options)),
            Err(refused) => Err(error::to_value_error("buckets", &refused)),
        }
    }

    /// Return the exposition as an iterator of bytes.
    ///
    /// Args:
    ///     format: The exposition format: "text", "openmetrics" or "protobuf".
    ///     sources: Pairs of a monitor snapshot and its labels; the labels distinguish the snapshots.
    ///     families: Other metric families, each as (name, help, unit, kind, series). A series is a pair of labels
    ///         and value.
    ///
    /// Raises:
    ///     ValueError: If ``format`` or a family's kind is unknown.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        format: &str,
        sources: Vec<GivenSource<'py>>,
        families: Vec<GivenFamily<'py>>,
    ) -> PyResult<Chunks> {
        let format = match format {
            "text" => Format::Text,
            "openmetrics" => Format::OpenMetrics,
            "protobuf" => Format::Protobuf,
            other => {
                return Err(PyValueError::new_err(format!(
                    "format must be text, openmetrics or protobuf, got {}",
                    shorten(&format!("{other:?}"))
                )));
            }
        };
        let families = families_of(families)?;
        let sources = sources_of(&sources);
        Ok(Chunks::new(
            py.detach(|| encode(&sources, &families, format, &self.0)),
        ))
    }

    /// Return the metric families that a text exposition contains, each as (name, help, unit, kind, samples).
    ///
    /// Each sample is a tuple of name suffix, labels and value. For the arguments, see ``encode``.
    ///
    /// Raises:
    ///     ValueError: If a family's kind is unknown.
    fn samples<'py>(
        &self,
        py: Python<'py>,
        sources: Vec<GivenSource<'py>>,
        families: Vec<GivenFamily<'py>>,
    ) -> PyResult<Vec<SampledFamily<'py>>> {
        let families = families_of(families)?;
        let sources = sources_of(&sources);
        let all = py.detach(|| samples(&sources, &families, &self.0));
        let family = |(head, samples): (Head, Vec<Sample>)| {
            let samples = samples.into_iter().map(|sample| {
                let labels = sample.labels.into_py_dict(py)?;
                Ok((sample.suffix, labels, sample.value))
            });
            let samples = samples.collect::<PyResult<_>>()?;
            Ok((
                head.name,
                head.help,
                head.unit,
                kind_name(head.kind),
                samples,
            ))
        };
        all.into_iter().map(family).collect()
    }
}

fn sources_of<'a>(given: &'a [GivenSource<'_>]) -> Vec<Source<'a>> {
    let source = |(snapshot, labels): &'a GivenSource<'_>| Source {
        snapshot: snapshot.get().core(),
        labels,
    };
    given.iter().map(source).collect()
}

fn families_of(given: Vec<GivenFamily<'_>>) -> PyResult<Vec<Family>> {
    given.into_iter().map(family).collect()
}

const KINDS: [(&str, Kind); 4] = [
    ("counter", Kind::Counter),
    ("gauge", Kind::Gauge),
    ("info", Kind::Info),
    ("histogram", Kind::Histogram),
];

fn kind_name(kind: Kind) -> &'static str {
    let found = KINDS.into_iter().find(|&(_, known)| known == kind);
    found.map_or("", |(name, _)| name)
}

fn family((name, help, unit, kind, series): GivenFamily<'_>) -> PyResult<Family> {
    let found = KINDS.into_iter().find(|(known, _)| *known == kind);
    let Some((_, kind)) = found else {
        return Err(PyValueError::new_err(format!(
            "a family's kind must be counter, gauge, info or histogram, got {}",
            shorten(&format!("{kind:?}"))
        )));
    };
    let series = series.into_iter().map(|(labels, value)| Series {
        labels,
        value: match value {
            GivenValue::Number(number) => Value::Number(number),
            GivenValue::Histogram(histogram) => Value::Histogram(histogram.get().core().clone()),
        },
    });
    Ok(Family {
        head: Head {
            name: name.into(),
            help: help.into(),
            unit: unit.into(),
            kind,
        },
        series: series.collect(),
    })
}

/// Maximum number of bytes copied at a time while the GIL is held, which takes about ten microseconds.
const CHUNK_BYTES: usize = 64 * 1024;

/// Single-use iterator over an exposition, in chunks of at most 64 KiB.
///
/// An exposition can be several megabytes long; copying it in one piece would hold the GIL for milliseconds.
#[pyclass(frozen, module = "nanospan._core")]
pub struct Chunks {
    length: usize,
    left: Mutex<Left>,
}

/// The encoded bytes, and the position of the first byte that has not been returned yet.
struct Left {
    bytes: Arc<DropWithoutGil<Vec<u8>>>,
    next: usize,
}

impl Chunks {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len(),
            left: Mutex::new(Left::of(bytes)),
        }
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock()
    }
}

impl Left {
    fn of(bytes: Vec<u8>) -> Self {
        let is_large = bytes.len() >= 1 << 20;
        Self {
            bytes: Arc::new(DropWithoutGil::new(bytes, is_large)),
            next: 0,
        }
    }
}

#[pymethods]
impl Chunks {
    /// Total number of bytes in all chunks.
    fn __len__(&self) -> usize {
        self.length
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        // The lock is released before an object is created, which may run Python code that asks for the next chunk.
        let (bytes, range) = {
            let mut left = self.left();
            let start = left.next;
            left.next = left.bytes.len().min(start + CHUNK_BYTES);
            (Arc::clone(&left.bytes), start..left.next)
        };
        let chunk = &bytes[range];
        (!chunk.is_empty()).then(|| PyBytes::new(py, chunk))
    }

    /// End the iteration and free the memory. Freeing a large exposition takes milliseconds, so the GIL is
    /// released meanwhile.
    fn close(&self) {
        let left = std::mem::replace(&mut *self.left(), Left::of(Vec::new()));
        drop(left);
    }
}
