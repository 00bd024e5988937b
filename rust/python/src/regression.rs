//! The Python functions that compare samples and detect changes; see `nanospan.regression`.

use nanospan_fallible::{TryCollect, TryGrow, joined, probe};
use nanospan_stats::{
    self as maths, ALPHA, FALSE_DISCOVERY_RATE, HistorySettings, MIN_EFFECT, OnlineSettings,
    Settings, TAIL_MIN_EFFECT, Verdict,
};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyDict, PyList},
};

use crate::{
    arguments::type_name,
    bindings,
    error::{self, Failure, Fallible, memory_error},
    hot::{exclusive::Exclusive, objects},
    messages::shorten,
    values::Values,
};

/// Compare an earlier and a later set of an operation's durations, each in the order in which they were measured.
///
/// The GIL is released during the comparison, and the same values always give the same result.
///
/// Args:
///     baseline: The earlier durations, in seconds or any other unit. A buffer of doubles (``array.array("d")``, a
///         NumPy array) is read in place; any other sequence of numbers is converted.
///     current: The later durations, in the same unit.
///     alpha: The accepted probability of reporting a change when nothing changed, between 0 and 1.
///     min_effect: The smallest change to report in the typical value, as a fraction of that value.
///     tail_min_effect: The smallest change to report in a tail quantile, as a fraction of that quantile.
///
/// Returns:
///     The comparison, including its verdict.
///
/// Raises:
///     TypeError: If ``baseline`` or ``current`` is not a sequence of numbers.
///     ValueError: If a value is NaN or infinite, or a setting is out of range.
#[pyfunction]
#[pyo3(signature = (baseline, current, *, alpha=ALPHA, min_effect=MIN_EFFECT, tail_min_effect=TAIL_MIN_EFFECT),
    text_signature = "(baseline, current, *, alpha=0.01, min_effect=0.03, tail_min_effect=0.1)")]
pub fn compare<'py>(
    py: Python<'py>,
    baseline: &Bound<'py, PyAny>,
    current: &Bound<'py, PyAny>,
    alpha: f64,
    min_effect: f64,
    tail_min_effect: f64,
) -> Fallible<Bound<'py, PyAny>> {
    let settings = Settings {
        alpha: share("alpha", alpha)?,
        min_effect: effect("min_effect", min_effect)?,
        tail_min_effect: effect("tail_min_effect", tail_min_effect)?,
    };
    let baseline = Values::take("baseline", baseline)?;
    let current = Values::take("current", current)?;
    let compared = py.detach(|| {
        let (x, y) = (
            gathered("baseline", &baseline)?,
            gathered("current", &current)?,
        );
        Ok::<_, Failure>(maths::compare(&x, &y, &settings)?)
    })?;
    Ok(comparison(py, &compared)?)
}

fn gathered(name: &str, values: &Values) -> Fallible<maths::Values> {
    values
        .gather()
        .map_err(|refused| error::of_values(name, refused))
}

fn share(name: &str, value: f64) -> PyResult<f64> {
    if 0.0 < value && value < 1.0 {
        Ok(value)
    } else {
        Err(PyValueError::new_err(format!(
            "{name} must be greater than 0 and less than 1, got {value}"
        )))
    }
}

fn effect(name: &str, value: f64) -> PyResult<f64> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(PyValueError::new_err(format!(
            "{name} must be finite and at least 0, got {value}"
        )))
    }
}

/// Returns the name that Python code uses for a verdict.
pub const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "regressed",
        Verdict::Improved => "improved",
        Verdict::Unchanged => "unchanged",
        Verdict::Insufficient => "insufficient",
    }
}

fn comparison<'py>(py: Python<'py>, compared: &maths::Comparison) -> PyResult<Bound<'py, PyAny>> {
    let bindings = bindings::get(py)?;
    let change = bindings.quantile_change.bind(py);
    let quantiles = objects::dict(py)?;
    let float = |value| objects::float(py, value).map(Bound::into_any);
    for tail in &compared.quantiles {
        let fields = objects::tuple(py, [float(tail.change)?, float(tail.p_value)?])?;
        quantiles.set_item(float(tail.q)?, change.call1(fields)?)?;
    }
    let count = |value: usize| objects::int(py, value as u64).map(Bound::into_any);
    let counts = [count(compared.counts.0)?, count(compared.counts.1)?];
    let fields = [
        objects::text(py, verdict_name(compared.verdict))?.into_any(),
        float(compared.p_value)?,
        float(compared.shift)?,
        interval(py, compared.shift_ci)?,
        quantiles.into_any(),
        float(compared.effective_n)?,
        objects::tuple(py, counts)?.into_any(),
    ];
    let fields = objects::tuple(py, fields)?;
    bindings.comparison.bind(py).call1(fields)
}

/// Converts the two ends of a confidence interval.
fn interval(py: Python<'_>, (low, high): (f64, f64)) -> PyResult<Bound<'_, PyAny>> {
    let ends = [objects::float(py, low)?, objects::float(py, high)?];
    Ok(objects::tuple(py, ends.map(Bound::into_any))?.into_any())
}

/// Compare many operations at once, limiting the expected share of false positives among the reported changes.
///
/// The share is limited by the method of Benjamini and Hochberg, "Controlling the false discovery rate", Journal of the
/// Royal Statistical Society B 57, 1995. The GIL is released during the comparison.
///
/// Args:
///     samples: A mapping from each operation to a pair of its baseline and current values, in any form that
///         ``compare`` accepts.
///     fdr: The maximum expected share of false positives among the operations reported as regressed or improved,
///         between 0 and 1.
///     min_effect: The smallest change to report in the typical value, as a fraction of that value.
///     tail_min_effect: The smallest change to report in a tail quantile, as a fraction of that quantile.
///
/// Returns:
///     The comparisons keyed by operation, in the order of ``samples``. The confidence interval of each shift has
///     the confidence level 1 - ``fdr``.
///
/// Raises:
///     TypeError: If an operation's value is not a pair of sequences of numbers.
///     ValueError: If a value is NaN or infinite, or a setting is out of range.
#[pyfunction]
#[pyo3(signature = (samples, *, fdr=FALSE_DISCOVERY_RATE, min_effect=MIN_EFFECT, tail_min_effect=TAIL_MIN_EFFECT),
    text_signature = "(samples, *, fdr=0.05, min_effect=0.03, tail_min_effect=0.1)")]
pub fn compare_many<'py>(
    py: Python<'py>,
    samples: &Bound<'py, PyAny>,
    fdr: f64,
    min_effect: f64,
    tail_min_effect: f64,
) -> Fallible<Bound<'py, PyDict>> {
    let settings = Settings {
        alpha: share("fdr", fdr)?,
        min_effect: effect("min_effect", min_effect)?,
        tail_min_effect: effect("tail_min_effect", tail_min_effect)?,
    };
    let mut operations = Vec::new();
    let mut pairs = Vec::new();
    for item in samples.call_method0("items")?.try_iter()? {
        let (operation, pair): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
        let name = shorten(&operation.to_string());
        let (baseline, current): (Bound<'py, PyAny>, Bound<'py, PyAny>) =
            pair.extract().map_err(|_| {
                PyTypeError::new_err(format!(
                    "the value of operation {name} must be a pair of baseline and current values, got {}",
                    type_name(&pair)
                ))
            })?;
        // For the name and the small values that each pair needs.
        probe::<[u8; 4096]>()?;
        let before = joined(&[&name, ": baseline"])?;
        let now = joined(&[&name, ": current"])?;
        let baseline = Values::take(&before, &baseline)?;
        let current = Values::take(&now, &current)?;
        pairs.try_push((before, baseline, now, current))?;
        operations.try_push(operation)?;
    }
    let compared = py.detach(|| {
        let gathered = pairs.iter().map(|(before, baseline, now, current)| {
            Ok((gathered(before, baseline)?, gathered(now, current)?))
        });
        let gathered = gathered.try_vec_of::<_, Failure>()?;
        Ok::<_, Failure>(maths::compare_many(&gathered, &settings)?)
    })?;
    let results = objects::dict(py)?;
    for (operation, compared) in operations.iter().zip(&compared) {
        results.set_item(operation, comparison(py, compared)?)?;
    }
    Ok(results)
}

/// Find the points where the level of a series changed, for example in a benchmark's results from commit to commit.
///
/// The GIL is released during the search, and the same values always give the same result.
///
/// Args:
///     values: The values in chronological order, in any form that ``compare`` accepts.
///     penalty: The cost of each additional change point; the higher it is, the fewer change points are found.
///     min_size: The minimum number of values between two change points, at least 1.
///     z: The minimum standardised difference (z-score) between neighbouring levels.
///
/// Returns:
///     The change points in chronological order.
///
/// Raises:
///     TypeError: If ``values`` is not a sequence of numbers.
///     ValueError: If a value is NaN or infinite, or a setting is out of range.
#[pyfunction]
#[pyo3(signature = (values, *, penalty=3.0, min_size=3, z=2.8))]
pub fn change_points<'py>(
    py: Python<'py>,
    values: &Bound<'py, PyAny>,
    penalty: f64,
    min_size: usize,
    z: f64,
) -> Fallible<Bound<'py, PyList>> {
    if min_size == 0 {
        return Err(PyValueError::new_err("min_size must be at least 1, got 0").into());
    }
    let settings = HistorySettings {
        penalty: effect("penalty", penalty)?,
        min_size,
        z: effect("z", z)?,
    };
    let values = Values::take("values", values)?;
    let found = py.detach(|| {
        let history = gathered("values", &values)?;
        Ok::<_, Failure>(maths::change_points(&history, &settings)?)
    })?;
    let bindings = bindings::get(py)?;
    let class = bindings.change_point.bind(py);
    let float = |value| objects::float(py, value).map(Bound::into_any);
    let points = found.into_iter().map(|point| -> PyResult<_> {
        let fields = [
            objects::int(py, point.index as u64)?.into_any(),
            float(point.before)?,
            float(point.after)?,
            float(point.ratio)?,
            interval(py, point.ci)?,
            float(point.p_value)?,
        ];
        class.call1(objects::tuple(py, fields)?)
    });
    Ok(objects::list(py, points)?)
}

/// Detects changes in the level of a stream of values.
///
/// It first learns the level from ``warmup`` values, then raises an alarm when the level changes and learns the new
/// level. Its memory use is fixed. Concurrent calls from several threads are processed one after another.
///
/// Args:
///     warmup: The number of values to learn the level from, at least 8 * ``batch``.
///     batch: The number of consecutive values to average; the averages are compared with the learned level.
///     k: The deviation from the learned level that is always tolerated, in standard deviations of a batch's mean. The
///         standard error of the learned level is tolerated in addition.
///     h: The alarm threshold: the accumulated deviation in excess of what is tolerated, in the same unit as ``k``.
///
/// Raises:
///     ValueError: If a setting is out of range.
#[pyclass(frozen, module = "nanospan.regression")]
pub struct OnlineDetector(Exclusive<maths::OnlineDetector>);

#[pymethods]
impl OnlineDetector {
    #[new]
    #[pyo3(signature = (warmup=400, batch=10, k=0.3, h=13.0))]
    fn new(warmup: usize, batch: usize, k: f64, h: f64) -> PyResult<Self> {
        if batch == 0 {
            return Err(PyValueError::new_err("batch must be at least 1, got 0"));
        }
        if warmup / batch < 8 {
            return Err(PyValueError::new_err(format!(
                "warmup must be at least 8 * batch = {}, got {warmup}",
                batch.saturating_mul(8)
            )));
        }
        let settings = OnlineSettings {
            warmup,
            batch,
            k: effect("k", k)?,
            h: effect("h", h)?,
        };
        let detector = maths::OnlineDetector::new(settings).map_err(memory_error)?;
        Ok(Self(Exclusive::new(detector)))
    }

    /// Process the next value; return an Alarm if the level changed, else None.
    ///
    /// Raises:
    ///     ValueError: If ``value`` is NaN or infinite; the detector then ignores it.
    fn update<'py>(&self, py: Python<'py>, value: f64) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !value.is_finite() {
            return Err(PyValueError::new_err(format!(
                "value must be finite, got {}",
                value
            )));
        }
        let updated = self.0.with(py, |detector| detector.update(value));
        let Some(alarm) = updated.map_err(memory_error)? else {
            return Ok(None);
        };
        let bindings = bindings::get(py)?;
        let class = bindings.alarm.bind(py);
        let (index, since) = (alarm.index, alarm.since);
        class
            .call1((index, since, alarm.before, alarm.after, alarm.ratio))
            .map(Some)
    }
}
