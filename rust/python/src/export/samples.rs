//! Samples as columns, and their conversion to text and to the pixels of charts, with the GIL released.

use nanospan_fallible::{TryCollect, copied};
use nanospan_format::{
    columns::{Columns, EventRow, Lanes as Placed, Place, TableRow},
    scatter::{Extent, Grid},
};
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::{PyIndexError, PyValueError},
    prelude::*,
    pybacked::PyBackedBytes,
    types::{PyBytes, PyDict, PyList},
};

use crate::{
    arguments::sequence,
    error::{Failure, Fallible},
    export::{
        columns::{bytes, column, must_be, part, within},
        json,
    },
    hot::objects,
};

/// The metadata of each row; empty if no row has metadata.
pub type Metadata = Vec<Option<Py<PyDict>>>;

/// Samples, oldest first, stored as columns of numbers in native byte order.
///
/// ``numpy.frombuffer`` can read the columns. Instances are immutable and may be used from any thread.
///
/// Args:
///     durations: Duration of each sample, as ``float64`` seconds.
///     ends: When each sample ended, as ``uint64`` nanoseconds of Unix time; None if unknown.
///     outcomes: Outcome of each sample, as a ``uint8`` index into ``OUTCOMES``; None if unknown.
///     metadata: Metadata dict of each sample, or None for a sample without metadata; None or empty if no sample has
///         metadata. The dicts are not copied and must not be modified.
///
/// Raises:
///     ValueError: If the columns differ in length, or only one of ``ends`` and ``outcomes`` is given.
#[pyclass(frozen, module = "nanospan._core")]
pub struct Samples {
    // The columns of ends and outcomes are empty if they are unknown.
    columns: Columns,
    timed: bool,
    metadata: Metadata,
}

impl Samples {
    /// Creates samples with known ends and outcomes.
    pub fn timed(columns: Columns, metadata: Metadata) -> Self {
        Self {
            columns,
            timed: true,
            metadata,
        }
    }

    fn ends_and_outcomes(&self) -> PyResult<&Columns> {
        match self.timed {
            true => Ok(&self.columns),
            false => Err(PyValueError::new_err(
                "samples must have ends and outcomes for this call; check `timed` first",
            )),
        }
    }

    fn select<T: Copy>(column: &[T], rows: &[usize]) -> Fallible<Vec<T>> {
        let of_row = |&row: &usize| {
            column.get(row).copied().ok_or_else(|| {
                PyIndexError::new_err(format!("row must be below {}, got {row}", column.len()))
                    .into()
            })
        };
        rows.iter().map(of_row).try_vec_of()
    }
}

#[pymethods]
impl Samples {
    #[new]
    #[pyo3(signature = (durations, ends=None, outcomes=None, metadata=None))]
    fn new(
        durations: &[u8],
        ends: Option<&[u8]>,
        outcomes: Option<&[u8]>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> Fallible<Self> {
        if ends.is_some() != outcomes.is_some() {
            return Err(PyValueError::new_err(
                "ends and outcomes must be passed together, got only one of them",
            )
            .into());
        }
        let metadata: Metadata = match metadata {
            Some(given) => sequence(given, |row| match row.is_none() {
                true => Ok(None),
                false => Ok(Some(row.cast_into().map_err(PyErr::from)?.unbind())),
            })?,
            None => Vec::new(),
        };
        let rows = durations.len() / 8;
        let outcomes = outcomes.unwrap_or_default();
        if ends.is_some() {
            must_be("outcomes", rows, 1, outcomes.len())?;
        }
        if !metadata.is_empty() && metadata.len() != rows {
            return Err(PyValueError::new_err(format!(
                "metadata must be empty or have {rows} rows, got {}",
                metadata.len()
            ))
            .into());
        }
        Ok(Self {
            columns: Columns {
                durations: column("durations", durations, f64::from_ne_bytes, rows)?,
                ends: match ends {
                    Some(ends) => column("ends", ends, u64::from_ne_bytes, rows)?,
                    None => Vec::new(),
                },
                outcomes: copied(outcomes)?,
            },
            timed: ends.is_some(),
            metadata,
        })
    }

    fn __len__(&self) -> usize {
        self.columns.durations.len()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.metadata.iter().try_for_each(|row| visit.call(row))
    }

    /// Whether the samples' ends and outcomes are known.
    #[getter(timed)]
    fn is_timed(&self) -> bool {
        self.timed
    }

    /// Duration of each sample, as bytes of ``float64`` seconds.
    #[getter]
    fn durations<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        bytes(py, &self.columns.durations, f64::to_ne_bytes)
    }

    /// When each sample ended, as bytes of ``uint64`` nanoseconds of Unix time; None if unknown.
    #[getter]
    fn ends<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let ends = self.timed.then_some(&self.columns.ends);
        ends.map(|ends| bytes(py, ends, u64::to_ne_bytes))
            .transpose()
    }

    /// Outcome of each sample, as bytes: ``uint8`` indices into ``OUTCOMES``; None if unknown.
    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let outcomes = self.timed.then_some(&self.columns.outcomes);
        outcomes
            .map(|outcomes| objects::bytes(py, outcomes))
            .transpose()
    }

    /// Metadata dict of each sample, or None for a sample without metadata; empty if no sample has metadata.
    ///
    /// The dicts are not copies and must not be modified.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let rows = self.metadata.iter().map(|row| match row {
            Some(row) => Ok(row.bind(py).clone().into_any()),
            None => Ok(py.None().into_bound(py)),
        });
        objects::list(py, rows)
    }

    /// Return the samples at the given row numbers, in that order.
    ///
    /// Raises:
    ///     IndexError: If a row number is out of range.
    fn take(&self, py: Python<'_>, rows: &Bound<'_, PyAny>) -> Fallible<Self> {
        let rows = sequence(rows, |row| Ok(row.extract::<usize>()?))?;
        let columns = Columns {
            durations: Self::select(&self.columns.durations, &rows)?,
            ends: match self.timed {
                true => Self::select(&self.columns.ends, &rows)?,
                false => Vec::new(),
            },
            outcomes: match self.timed {
                true => Self::select(&self.columns.outcomes, &rows)?,
                false => Vec::new(),
            },
        };
        let metadata = match self.metadata.is_empty() {
            true => Vec::new(),
            false => rows
                .iter()
                .map(|&row| self.metadata[row].as_ref().map(|row| row.clone_ref(py)))
                .try_vec()?,
        };
        Ok(Self {
            columns,
            timed: self.timed,
            metadata,
        })
    }

    /// Return the samples from row ``start`` up to, but excluding, row ``stop``. Rows that do not exist are left out.
    fn slice(&self, py: Python<'_>, start: usize, stop: usize) -> Fallible<Self> {
        Ok(Self {
            columns: part(&self.columns, start, stop)?,
            timed: self.timed,
            metadata: within(&self.metadata, start, stop)
                .iter()
                .map(|row| row.as_ref().map(|row| row.clone_ref(py)))
                .try_vec()?,
        })
    }

    /// Return each sample's metadata as UTF-8 JSON, or None for a sample without metadata.
    ///
    /// The list is empty if no sample has metadata.
    ///
    /// Args:
    ///     fallback: Called with metadata containing values that the native encoder cannot handle, such as dates;
    ///         returns the JSON text as bytes.
    fn metadata_json<'py>(&self, fallback: &Bound<'py, PyAny>) -> Fallible<Bound<'py, PyList>> {
        let py = fallback.py();
        let mut last: Option<(Place, Bound<'py, PyBytes>)> = None;
        let encoded = json::encode(&self.metadata, fallback)?;
        let shared = encoded.rows().map(|row| -> Fallible<_> {
            let Some((place, text)) = row else {
                return Ok(py.None().into_bound(py));
            };
            let bytes = match last.take().filter(|&(before, _)| before == place) {
                Some((_, bytes)) => bytes,
                None => objects::bytes(py, text)?,
            };
            last = Some((place, bytes.clone()));
            Ok(bytes.into_any())
        });
        objects::list(py, shared)
    }

    /// Return the samples as rows of text, one row for each sample.
    ///
    /// Args:
    ///     pieces: The texts to write before the timestamp, before the duration, before the outcome, before the
    ///         metadata, and at the end of each row.
    ///     nothing: The text to write in place of the metadata of a sample that has no metadata.
    ///     quoted: Whether to quote the metadata as in CSV.
    ///     fallback: Called with metadata containing values that the native encoder cannot handle, such as dates;
    ///         returns the JSON text as bytes.
    ///
    /// Raises:
    ///     ValueError: If the samples' ends and outcomes are unknown.
    fn table_rows<'py>(
        &self,
        pieces: [PyBackedBytes; 5],
        nothing: &[u8],
        quoted: bool,
        fallback: &Bound<'py, PyAny>,
    ) -> Fallible<Bound<'py, PyBytes>> {
        let py = fallback.py();
        let columns = self.ends_and_outcomes()?;
        let mut attached = json::encode(&self.metadata, fallback)?;
        let text = py.detach(|| {
            if quoted {
                attached = attached.quoted_as_csv()?;
            }
            let pieces = pieces.each_ref().map(|piece| &**piece);
            TableRow { pieces, nothing }.write(columns, &attached)
        })?;
        Ok(objects::bytes(py, &text)?)
    }

    /// Arrange the samples on a timeline in lanes, so that no two samples in the same lane overlap.
    ///
    /// Raises:
    ///     ValueError: If the samples' ends and outcomes are unknown.
    fn lanes(slf: &Bound<'_, Self>) -> Fallible<Lanes> {
        let columns = slf.get().ends_and_outcomes()?;
        let placed = slf
            .py()
            .detach(|| Placed::of(&columns.ends, &columns.durations))?;
        Ok(Lanes {
            samples: slf.clone().unbind(),
            placed,
        })
    }

    /// Return the ranges of end times and durations, or None if there are no samples or their ends are unknown.
    ///
    /// Returns:
    ///     A pair: the first and last end in nanoseconds of Unix time, and the shortest non-zero and the longest
    ///     duration in seconds.
    fn extent(&self, py: Python<'_>) -> Option<([u64; 2], [f64; 2])> {
        let extent = py.detach(|| Extent::of(&self.columns));
        extent.map(|extent| (extent.ends, extent.durations))
    }

    /// Plot the samples on a grid of pixels: time from left to right, the logarithm of the duration from bottom to top.
    ///
    /// A sample beyond an edge of the grid is placed on that edge.
    ///
    /// Args:
    ///     size: The highest column number and the highest row number; columns and rows are numbered from 0.
    ///     ends: The end times at the left and right edges, in nanoseconds of Unix time.
    ///     durations: The durations at the bottom and top edges, in seconds.
    ///
    /// Returns:
    ///     For each outcome, the pixels that its samples occupy, as (column, row) counted from the bottom left.
    fn pixels<'py>(
        &self,
        py: Python<'py>,
        size: [usize; 2],
        ends: [u64; 2],
        durations: [f64; 2],
    ) -> Fallible<Bound<'py, PyList>> {
        let grid = Grid {
            size,
            ends,
            durations,
        };
        let pixels = py.detach(|| grid.pixels(&self.columns))?;
        let of_outcomes = pixels.iter().map(|pixels| {
            let pixels = pixels.iter().map(|&(column, row)| -> PyResult<_> {
                let place = [
                    objects::int(py, column as u64)?,
                    objects::int(py, row as u64)?,
                ];
                objects::tuple(py, place.map(Bound::into_any))
            });
            objects::list(py, pixels)
        });
        objects::list::<_, Failure>(py, of_outcomes.map(|list| Ok(list?)))
    }

    fn __repr__(&self) -> String {
        let known = if self.timed { "" } else { " without ends" };
        format!("<Samples: {}{known}>", self.__len__())
    }
}

/// Samples arranged on a timeline in lanes, so that no two samples in the same lane overlap.
#[pyclass(frozen, module = "nanospan._core")]
pub struct Lanes {
    samples: Py<Samples>,
    placed: Placed,
}

#[pymethods]
impl Lanes {
    /// Number of samples.
    #[getter]
    fn rows(&self) -> usize {
        self.placed.lanes.len()
    }

    /// Number of lanes.
    #[getter]
    fn count(&self) -> usize {
        let last = self.placed.lanes.iter().max();
        last.map_or(0, |&last| last as usize + 1)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.samples)
    }

    /// When the earliest sample started, in nanoseconds of Unix time; None if there are no samples.
    #[getter]
    fn first_start(&self) -> Option<u64> {
        self.placed.starts.iter().min().copied()
    }

    /// Return a Chrome trace event for each sample from row ``start`` up to, but excluding, row ``stop``, as text.
    ///
    /// Args:
    ///     start: The first row.
    ///     stop: The row after the last one.
    ///     heads: Each outcome has two texts with which its events begin: one for samples within the threshold, one
    ///         for samples over it.
    ///     threshold: The threshold in seconds; infinity if there is none.
    ///     origin: The start of the timeline, in nanoseconds of Unix time.
    ///     thread: The thread number of the first lane; the other lanes are numbered consecutively from there.
    ///     fallback: Called with metadata containing values that the native encoder cannot handle, such as dates;
    ///         returns the JSON text as bytes.
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument for each field of EventRow"
    )]
    fn event_rows<'py>(
        &self,
        start: usize,
        stop: usize,
        heads: [[PyBackedBytes; 2]; 3],
        threshold: f64,
        origin: u64,
        thread: u32,
        fallback: &Bound<'py, PyAny>,
    ) -> Fallible<Bound<'py, PyBytes>> {
        let py = fallback.py();
        let samples = self.samples.bind(py).get();
        let attached = json::encode(within(&samples.metadata, start, stop), fallback)?;
        let text = py.detach(|| {
            let columns = part(&samples.columns, start, stop)?;
            let placed = Placed {
                starts: copied(within(&self.placed.starts, start, stop))?,
                lanes: copied(within(&self.placed.lanes, start, stop))?,
            };
            let heads = heads.each_ref();
            let row = EventRow {
                heads: heads.map(|pair| pair.each_ref().map(|head| &**head)),
                threshold,
                origin,
                thread,
            };
            row.write(&columns, &placed, &attached)
        })?;
        Ok(objects::bytes(py, &text)?)
    }
}
