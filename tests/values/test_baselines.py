"""Tests for baselines: taking, saving, loading, comparing, and rejecting damaged files."""

import base64
import json
import platform
import random
import time
from array import array

import pytest

import nanospan
from nanospan import PerformanceMonitor, Snapshot
from nanospan.regression import Baseline, DataFileError, OperationBaseline

TEXT_FIELDS = ["host", "python", "nanospan"]


@pytest.fixture
def document(tmp_path) -> dict:
    """Return a valid baseline file's content as parsed JSON."""
    path = tmp_path / "sound.json"
    Baseline.from_samples({"parse": [0.001, 0.002, 0.003]}, {"commit": "4f2a91c"}).save(path)
    return json.loads(path.read_text())


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a baseline file with the given content."""

    def load(content) -> Baseline:
        path = tmp_path / "file.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return Baseline.load(path)

    return load


def test_a_baseline_holds_windows_and_histograms(monitor):
    """A baseline holds the samples in chronological order, histograms, time, host and labels."""
    monitor = PerformanceMonitor(max_metrics_per_operation=3)
    for duration in (0.5, 0.3, 0.1, 0.2):
        monitor.record_metric("parse", duration)
    monitor.record_metric("store", 0.25, success=False)
    monitor.operation("never")
    before = time.time()
    baseline = monitor.baseline({"commit": "4f2a91c", "branch": "main"})
    assert list(baseline.operations) == ["parse", "store"]
    assert baseline.operations["parse"].samples == array("d", [0.3, 0.1, 0.2])
    assert baseline.operations["parse"].histogram.count == 4
    assert baseline.operations["store"].samples == array("d", [0.25])
    assert before <= baseline.time <= time.time()
    assert baseline.host == platform.node()
    assert baseline.python == f"CPython {platform.python_version()}"
    assert baseline.nanospan == nanospan.__version__
    assert baseline.labels == {"commit": "4f2a91c", "branch": "main"}


def test_a_saved_baseline_can_be_loaded(tmp_path):
    """Samples are read back exactly, even if operation names contain unusual characters."""
    draw = random.Random(1)
    samples = {
        name: [draw.expovariate(1000) for _ in range(50)] + [0.0, 0.1, 5e-324, 1e5]
        for name in ("parse", "检索", 'a "b"\\c', "line\nbreak", "\ud800", "__init__", "x" * 5000)
    }
    baseline = Baseline.from_samples(samples, {"ref": "ä\n"})
    baseline.save(tmp_path / "b.json")
    loaded = Baseline.load(str(tmp_path / "b.json"))
    assert loaded == baseline
    assert loaded.operations["parse"].samples.tobytes() == array("d", samples["parse"]).tobytes()
    assert loaded.samples() == {name: array("d", each) for name, each in samples.items()}


def test_an_empty_baseline_is_saved_and_loaded(tmp_path, monitor):
    """A baseline of a monitor without samples can be saved and loaded."""
    monitor.baseline().save(tmp_path / "b.json")
    assert Baseline.load(tmp_path / "b.json").operations == {}


def test_the_file_is_readable(tmp_path):
    """The file is JSON that names its format and has one line per operation's samples."""
    Baseline.from_samples({"a": [0.1, 0.25], "b": [1.0]}, {"commit": "x"}).save(tmp_path / "b.json")
    lines = (tmp_path / "b.json").read_text().splitlines()
    assert lines[1:3] == ['  "format": "nanospan-baseline",', '  "version": 1,']
    assert '      "samples": [0.1, 0.25],' in lines
    assert '      "samples": [1.0],' in lines


def test_later_versions_may_add_keys(document, load):
    """Unknown keys in a baseline file are ignored."""
    document["cpu"] = {"model": "?"}
    document["operations"]["parse"]["errors"] = 3
    assert load(document).samples() == {"parse": array("d", [0.001, 0.002, 0.003])}


def test_a_baseline_has_no_metadata(tmp_path, monitor):
    """A baseline file does not contain the samples' metadata."""
    monitor.record_metric("login", 0.1, metadata={"password": "hunter2"})
    monitor.baseline().save(tmp_path / "b.json")
    assert "hunter2" not in (tmp_path / "b.json").read_text()


def test_repr_is_short():
    """The repr does not list the samples."""
    baseline = Baseline.from_samples({"a": [0.1] * 1000})
    assert repr(baseline).startswith("<Baseline of 1 operations, 20")
    assert len(repr(baseline)) < 60


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ({"a": [-0.1]}, ValueError, "-0.1"),
        ({"a": [float("nan")]}, ValueError, "NaN"),
        ({"a": [float("inf")]}, ValueError, "inf"),
        ({"": [0.1]}, ValueError, "empty"),
        ({"a": ["fast"]}, TypeError, "str"),
        ({7: [0.1]}, TypeError, "int"),
    ],
)
def test_invalid_samples_are_rejected(samples, error, message):
    """A baseline rejects durations and names that a monitor would reject."""
    with pytest.raises(error, match=message):
        Baseline.from_samples(samples)


def test_labels_must_be_str(monitor):
    """Taking a baseline with a label that is not a str raises an error."""
    with pytest.raises(TypeError, match=r"\('run', 7\)"):
        monitor.baseline({"run": 7})


def test_too_much_to_load_is_not_saved(tmp_path, monkeypatch):
    """Saving a baseline that would be too large to load raises an error."""
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", "100")
    with pytest.raises(ValueError, match="must be at most 100 bytes long, got"):
        Baseline.from_samples({"a": [0.1] * 1000}).save(tmp_path / "b.json")
    assert list(tmp_path.iterdir()) == []


def _changed(document: dict, place: str, value: object) -> dict:
    *parents, last = place.split("/")
    node = document
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return document


SAMPLES = "operations/parse/samples"
HISTOGRAM = "operations/parse/histogram"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", ..., "expected a baseline"),
        ("format", "other-tool", "expected a baseline"),
        ("version", ..., "the key 'version' is missing"),
        ("version", 2, "version: this release of nanospan reads format versions up to 1, got 2"),
        ("version", 0, "version: expected a version from 1 to 1, found 0"),
        ("version", "1", "version: expected a whole number, found a string of 1 characters"),
        ("version", True, "version: expected a whole number, found true"),
        ("version", 1.0, "version: expected a whole number, found 1.0"),
        ("time", ..., "the key 'time' is missing"),
        ("time", -1, "time: expected a Unix time from 1970 to the year 9999, in seconds, found -1"),
        (
            "time",
            1e12,
            "time: expected a Unix time from 1970 to the year 9999, in seconds, found 1",
        ),
        ("time", float("nan"), "time: expected a finite number, found nan"),
        ("time", 10**400, "time: expected a finite number, found 1000"),
        *[(name, None, f"{name}: expected a string, found null") for name in TEXT_FIELDS],
        ("labels", [], "labels: expected an object, found a list of 0"),
        ("labels", {"run": 7}, "labels.run: expected a string, found 7"),
        ("operations", ..., "the key 'operations' is missing"),
        ("operations", [], "operations: expected an object, found a list of 0"),
        ("operations/parse", 3, "operations.parse: expected an object with the key 'samples'"),
        ("operations/", {}, "expected an operation with a name"),
        (SAMPLES, ..., "operations.parse: the key 'samples' is missing"),
        (SAMPLES, [], "operations.parse.samples: expected a list of numbers, found a list of 0"),
        (SAMPLES, "0.1", "operations.parse.samples: expected a list of numbers, found a string"),
        (SAMPLES, [0.1, -0.5], r"samples\[1\]: expected a number of seconds from 0 to .*584 years"),
        (SAMPLES, [0.1, 2e10], r"samples\[1\]: expected a number of seconds from 0 to .*584 years"),
        (SAMPLES, [0.1, None], r"samples\[1\]: expected a finite number, found null"),
        (SAMPLES, [True], r"samples\[0\]: expected a finite number, found true"),
        (SAMPLES, [0.1, float("nan")], r"samples\[1\]: expected a finite number, found nan"),
        (SAMPLES, [0.1, float("inf")], r"samples\[1\]: expected a finite number, found inf"),
        (SAMPLES, [0.1, 10**400], r"samples\[1\]: expected a finite number, found 1000"),
        (SAMPLES, [[0.1]], r"samples\[0\]: expected a finite number, found a list of 1"),
        (HISTOGRAM, ..., "operations.parse: the key 'histogram' is missing"),
        (HISTOGRAM, 12, "operations.parse.histogram: expected a string, found 12"),
        (HISTOGRAM, "?", "operations.parse.histogram: expected a histogram in base64: "),
        (HISTOGRAM, "ÿ", "operations.parse.histogram: expected a histogram in base64: "),
        (HISTOGRAM, base64.b64encode(b"NSH").decode(), "expected a histogram in base64: "),
    ],
)
def test_a_damaged_file_is_an_error_with_the_place(document, load, place, value, message):
    """The error names the damaged file, the location, what was expected and what was found."""
    with pytest.raises(DataFileError, match=r"file\.json: .*" + message):
        load(_changed(document, place, value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file.json: the file is empty"),
        (b" \n\t ", "file.json: the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "file.json: byte 0: expected UTF-8 text"),
        (b"{", "line 1, column 2: expected JSON: .*; is the file complete?"),
        (b"{}x", "line 1, column 3: expected JSON: Extra data"),
        (b"[]", "expected a baseline"),
        (b"null", "expected a baseline"),
        (b"[" * 100_000, "the JSON is nested too deeply"),
        (b'{"a": 1, "a": 2}', "expected unique keys in each object, found 'a' more than once"),
        (b'{"version": ' + b"9" * 5000 + b"}", "4300 digits"),
    ],
)
def test_a_foreign_file_is_rejected(load, content, message):
    """Loading a file that is not a baseline raises a DataFileError."""
    with pytest.raises(DataFileError, match=message):
        load(content)


def test_every_truncated_file_is_rejected(document, load):
    """A file truncated at any position is rejected, and never read as a smaller baseline."""
    whole = json.dumps(document).encode()
    assert load(whole).operations
    for length in range(len(whole)):
        with pytest.raises(DataFileError):
            load(whole[:length])


def test_huge_files_are_not_read(load, document, monkeypatch):
    """A file above the size limit is rejected without being read into memory."""
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", "64")
    with pytest.raises(DataFileError, match="must be at most 64 bytes long"):
        load(document)


def test_control_characters_of_a_foreign_file_do_not_reach_the_terminal(document, load):
    """Names from the file are shown in errors on one line, without control characters."""
    document["operations"] = {"\x1b[31m\n": {}}
    with pytest.raises(DataFileError) as caught:
        load(document)
    assert str(caught.value).isprintable()
    assert caught.value.place == r"operations.\x1b[31m\n"


def test_errors_do_not_repeat_texts(load):
    """Error messages do not quote text values from the file, which may be confidential."""
    with pytest.raises(DataFileError) as caught:
        load({"format": "nanospan-baseline", "version": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_missing_files_and_folders_are_os_errors(tmp_path):
    """A missing file or folder raises the usual OSError."""
    with pytest.raises(FileNotFoundError):
        Baseline.load(tmp_path / "absent.json")
    with pytest.raises(IsADirectoryError):
        Baseline.load(tmp_path)


def test_the_monitor_compares_with_a_baseline(monitor):
    """A monitor compares only operations that it shares with the baseline."""
    draw = random.Random(3)
    before = PerformanceMonitor()
    for _ in range(200):
        before.record_metric("slower", draw.lognormvariate(-6, 0.3))
        before.record_metric("same", draw.lognormvariate(-6, 0.3))
        monitor.record_metric("slower", 1.5 * draw.lognormvariate(-6, 0.3))
        monitor.record_metric("same", draw.lognormvariate(-6, 0.3))
    before.record_metric("gone", 0.1)
    monitor.record_metric("new", 0.1)
    comparisons = monitor.compare(before.baseline())
    assert {name: each.verdict for name, each in comparisons.items()} == {
        "slower": "regressed",
        "same": "unchanged",
    }
    assert 1.3 < comparisons["slower"].shift < 1.7
    unworried = monitor.compare(before.baseline(), min_effect=1.0)
    assert unworried["slower"].verdict == "unchanged"


def test_a_larger_min_effect_also_applies_to_the_tail(monitor):
    """A ``min_effect`` above the default of ``tail_min_effect`` also replaces that default."""
    draw = random.Random(4)
    before = PerformanceMonitor()
    for _ in range(1000):
        before.record_metric("search", draw.lognormvariate(-6, 0.1))
        slow = 1.5 if draw.random() < 0.1 else 1.0
        monitor.record_metric("search", slow * draw.lognormvariate(-6, 0.1))
    baseline = before.baseline()
    assert monitor.compare(baseline)["search"].verdict == "regressed"
    assert monitor.compare(baseline, min_effect=1.0)["search"].verdict == "unchanged"
    worried = monitor.compare(baseline, min_effect=1.0, tail_min_effect=0.1)["search"]
    assert worried.verdict == "regressed"


@pytest.mark.parametrize("other", ["before.json", {"search": None}, None])
def test_only_baselines_are_compared_with(monitor, other):
    """Comparing with a path or statistics raises an error that asks for a Baseline."""
    with pytest.raises(
        TypeError, match=r"must be a Baseline, got \w+; use Baseline\.load\(\) to read"
    ):
        monitor.compare(other)


def test_a_baseline_can_be_constructed():
    """A Baseline constructed directly has defaults that describe this process."""
    histogram = PerformanceMonitor(1).operation("a").snapshot()
    assert isinstance(histogram, Snapshot)
    baseline = Baseline({"a": OperationBaseline(array("d", [0.1]), histogram)})
    assert baseline.host == platform.node()
    assert baseline.labels == {}
