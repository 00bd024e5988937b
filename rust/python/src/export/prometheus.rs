//! Encodes Prometheus expositions with the GIL released.

use std::{
    borrow::Cow,
    sync::{Arc, MutexGuard},
};

use nanospan_fallible::{TryCollect, string};
use nanospan_format::prometheus::{
    Family, Format, Head, Kind, Options, Sample, Series, Source, Value, encode, samples,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyBytes, PyList, PyString},
};

use crate::{
    arguments::sequence,
    error::{self, Fallible},
    gil::DropWithoutGil,
    hot::objects,
    messages::shorten,
    monitor_snapshot::MonitorSnapshot,
    snapshot::Snapshot,
    sync::Mutex,
};

/// Pairs of label name and label value.
type Labels = Vec<(String, String)>;

/// A metric family passed from Python: name, help, unit, kind, and a sequence of the labels and value of each series.
type GivenFamily<'py> = (
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyString>,
    Bound<'py, PyAny>,
);

/// A snapshot passed from Python, and the labels that distinguish it from other snapshots.
type GivenSource<'py> = (Bound<'py, MonitorSnapshot>, Labels);

/// Encodes Prometheus expositions; use ``nanospan.export.prometheus.Exposition`` instead.
#[pyclass(frozen, module = "nanospan._core")]
pub struct PrometheusEncoder(Options);

#[pymethods]
impl PrometheusEncoder {
    #[new]
    fn new(bounds: &Bound<'_, PyAny>, max_native_buckets: usize) -> Fallible<Self> {
        let bounds = sequence(bounds, |bound| Ok(bound.extract::<f64>()?))?;
        match Options::new(&bounds, max_native_buckets) {
            Ok(options) => Ok(Self(options)),
            Err(refused) => Err(error::of_options("buckets", refused).into()),
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
        sources: &Bound<'py, PyAny>,
        families: &Bound<'py, PyAny>,
    ) -> Fallible<Chunks> {
        let format = match format {
            "text" => Format::Text,
            "openmetrics" => Format::OpenMetrics,
            "protobuf" => Format::Protobuf,
            other => {
                return Err(PyValueError::new_err(format!(
                    "format must be text, openmetrics or protobuf, got {}",
                    shorten(&format!("{other:?}"))
                ))
                .into());
            }
        };
        let families = sequence(families, family)?;
        let given = sequence(sources, given_source)?;
        let sources = given.iter().map(source).try_vec()?;
        Ok(Chunks::new(
            py.detach(|| encode(&sources, &families, format, &self.0))?,
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
        sources: &Bound<'py, PyAny>,
        families: &Bound<'py, PyAny>,
    ) -> Fallible<Bound<'py, PyList>> {
        let families = sequence(families, family)?;
        let given = sequence(sources, given_source)?;
        let sources = given.iter().map(source).try_vec()?;
        let all = py.detach(|| samples(&sources, &families, &self.0))?;
        let text = |text: &str| objects::text(py, text).map(Bound::into_any);
        let sample = |sample: Sample| {
            let labels = objects::dict(py)?;
            for (name, value) in &sample.labels {
                labels.set_item(text(name)?, text(value)?)?;
            }
            let value = objects::float(py, sample.value)?.into_any();
            objects::tuple(py, [text(sample.suffix)?, labels.into_any(), value])
        };
        let family = |(head, samples): (Head, Vec<Sample>)| -> PyResult<_> {
            let fields = [
                text(&head.name)?,
                text(&head.help)?,
                text(&head.unit)?,
                text(kind_name(head.kind))?,
                objects::list(py, samples.into_iter().map(sample))?.into_any(),
            ];
            objects::tuple(py, fields)
        };
        Ok(objects::list(py, all.into_iter().map(family))?)
    }
}

fn given_labels(given: &Bound<'_, PyAny>) -> Fallible<Labels> {
    sequence(given, |label| {
        let (name, value): (Bound<'_, PyString>, Bound<'_, PyString>) = label.extract()?;
        Ok((string(name.to_str()?)?, string(value.to_str()?)?))
    })
}

fn given_source(given: Bound<'_, PyAny>) -> Fallible<GivenSource<'_>> {
    let (snapshot, labels): (Bound<'_, MonitorSnapshot>, Bound<'_, PyAny>) = given.extract()?;
    Ok((snapshot, given_labels(&labels)?))
}

fn source<'a>((snapshot, labels): &'a GivenSource<'_>) -> Source<'a> {
    Source {
        snapshot: snapshot.get().core(),
        labels,
    }
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

fn family(given: Bound<'_, PyAny>) -> Fallible<Family> {
    let (name, help, unit, kind, series): GivenFamily<'_> = given.extract()?;
    let kind = kind.to_str()?;
    let found = KINDS.into_iter().find(|&(known, _)| known == kind);
    let Some((_, kind)) = found else {
        return Err(PyValueError::new_err(format!(
            "a family's kind must be counter, gauge, info or histogram, got {}",
            shorten(&format!("{kind:?}"))
        ))
        .into());
    };
    let owned =
        |text: &Bound<'_, PyString>| -> Fallible<_> { Ok(Cow::Owned(string(text.to_str()?)?)) };
    Ok(Family {
        head: Head {
            name: owned(&name)?,
            help: owned(&help)?,
            unit: owned(&unit)?,
            kind,
        },
        series: sequence(&series, one_series)?,
    })
}

fn one_series(given: Bound<'_, PyAny>) -> Fallible<Series> {
    let (labels, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = given.extract()?;
    Ok(Series {
        labels: given_labels(&labels)?,
        value: match value.cast::<Snapshot>() {
            Ok(histogram) => Value::Histogram(histogram.get().core().try_clone()?),
            Err(_) => Value::Number(value.extract()?),
        },
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

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        // The lock is released before an object is created, which may run Python code that asks for the next chunk.
        let (bytes, start, end) = {
            let mut left = self.left();
            let start = left.next;
            left.next = left.bytes.len().min(start + CHUNK_BYTES);
            (Arc::clone(&left.bytes), start, left.next)
        };
        if start == end {
            return Ok(None);
        }
        objects::bytes(py, &bytes[start..end])
            .map(Some)
            .inspect_err(|_| {
                // The chunk is not lost: the next call returns it.
                let mut left = self.left();
                left.next = left.next.min(start);
            })
    }

    /// End the iteration and free the memory. Freeing a large exposition takes milliseconds, so the GIL is
    /// released meanwhile.
    fn close(&self) {
        let left = std::mem::replace(&mut *self.left(), Left::of(Vec::new()));
        drop(left);
    }
}
