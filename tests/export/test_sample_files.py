"""Tests for reading valid and damaged sample files from nanospan and other programs."""

import contextlib
import json
import random
import subprocess
import sys
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanospan.export.sample_files import read_histories, read_samples
from nanospan.regression import Baseline, DataFileError


def _benchmark(name: str, **stats: object) -> dict:
    return {"name": name, "fullname": f"tests/test_it.py::{name}", "stats": stats}


def _run(*benchmarks: dict, moment: str = "2026-11-25T08:00:00+00:00") -> dict:
    return {
        "machine_info": {"node": "runner-7"},
        "datetime": moment,
        "version": "5.3.1",
        "benchmarks": list(benchmarks),
    }


@pytest.fixture
def put(tmp_path):
    """Return a function that writes a file into a temporary folder and returns its path."""

    def put(content, name="file"):
        path = tmp_path / name
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


def test_a_baseline_is_recognised(tmp_path):
    """A baseline file's operations, time and host are read."""
    baseline = Baseline.from_samples({"parse": [0.1, 0.2], "store": [0.3]})
    baseline.save(tmp_path / "b.txt")
    file = read_samples(tmp_path / "b.txt")
    assert file.kind == "baseline"
    assert file.operations == baseline.samples()
    assert (file.time, file.host) == (baseline.time, baseline.host)


def test_a_run_of_pytest_benchmark_is_recognised(tmp_path):
    """A pytest-benchmark file's rounds are read, keyed by the full name of the benchmark."""
    (tmp_path / "test_sums.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [10, 20])\n"
        "def test_sum(benchmark, n):\n"
        "    assert benchmark.pedantic(sum, ([n] * n,), rounds=25) == n * n\n"
    )
    arguments = ["--benchmark-json=run.json", "-p", "no:cacheprovider", "-p", "no:randomly"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        check=True,
        cwd=tmp_path,
        capture_output=True,
    )
    file = read_samples(tmp_path / "run.json")
    assert file.kind == "pytest-benchmark"
    assert list(file.operations) == ["test_sums.py::test_sum[10]", "test_sums.py::test_sum[20]"]
    written = json.loads((tmp_path / "run.json").read_text())["benchmarks"]
    for benchmark in written:
        rounds = file.operations[benchmark["fullname"]]
        assert rounds.tolist() == benchmark["stats"]["data"]
        assert len(rounds) == 25
    assert file.host
    assert file.time is not None


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2.5, 0]",
        "\ufeff[1,\n2.5,\n0]\n",
        "1\n2.5\n0\n",
        "1\r\n2.5\r\n0",
        "seconds\n1\n2.5\n0\n",
        '"seconds"\n"1"\n"2.5"\n"0"\n',
        "\n\nseconds\n\n 1 \n2.5\n\n0\n\n",
    ],
)
def test_lists_of_numbers_are_one_operation(put, content):
    """JSON lists and CSV columns are read alike, even with a heading, quotes or blank lines."""
    file = read_samples(put(content))
    assert file.kind == "numbers"
    assert file.operations == {"values": array("d", [1, 2.5, 0])}
    assert file.time is None
    assert file.host is None


def test_an_object_of_lists_has_an_operation_for_each(put):
    """The keys of a JSON object of lists are the operation names."""
    file = read_samples(put({"parse": [1, 2], "store": [3.5]}))
    assert file.kind == "numbers"
    assert file.operations == {"parse": array("d", [1, 2]), "store": array("d", [3.5])}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("[]", "expected a list of numbers, found a list of 0"),
        ("{}", "expected a nanospan baseline, .*; found a JSON object of another kind"),
        ({"coverage": {"lines": 3}}, "found a JSON object of another kind"),
        ([1, "2"], r"\[1\]: expected a finite number, found a string of 1 characters"),
        ([1, -2], r"\[1\]: expected a number of seconds, zero or more, found -2"),
        ("[1, NaN]", r"\[1\]: expected a finite number, found nan"),
        ("[1, 1e999]", r"\[1\]: expected a finite number, found inf"),
        ("[1, 2", "line 1, column 6: expected JSON: .*; is the file complete?"),
        ({"a": [1], "b": []}, "b: expected a list of numbers, found a list of 0"),
        ("seconds\n", "expected a nanospan baseline, .*; found no number"),
        ("1\n\nfast\n", "line 3: expected one column of numbers, found text of 4 characters"),
        ("first\nsecond\n1\n", "line 2: expected one column of numbers, found text of 6"),
        ("time,value\n1,2\n", "line 1: expected one column of numbers, found 2 columns"),
        ("value\n1,5\n", "line 2: expected one column of numbers, found 2 columns"),
        ("1\n-2\n", "line 2: expected a finite number, zero or more, found -2"),
        ("1\nnan\n", "line 2: expected a finite number, zero or more, found nan"),
        ("1\n-inf\n", "line 2: expected a finite number, zero or more, found -inf"),
        (b"\xff\xfe1\x00", "byte 0: expected UTF-8 text"),
        ({"benchmarks": []}, "benchmarks: expected at least one benchmark"),
        ({"benchmarks": {}}, "benchmarks: expected a list, found an object"),
        ({"benchmarks": [3]}, r"benchmarks\[0\]: expected an object with the key 'fullname'"),
        ({"benchmarks": [{"fullname": "a"}]}, r"benchmarks\[0\]: the key 'stats' is missing"),
        (_run(_benchmark("a", median=1)), r"benchmarks\[0\].stats: .*--benchmark-json=FILE"),
        (_run(_benchmark("a", data=[-1])), r"stats.data\[0\]: .* found -1"),
        (_run(*[_benchmark("a", data=[1])] * 2), r"benchmarks\[1\].fullname: .*no other benchmark"),
        (_run(_benchmark("a", data=[1]), moment="noon"), "datetime: expected a date and time"),
    ],
)
def test_other_files_are_rejected_with_the_place(put, content, message):
    """The error for an invalid file names the file, the location, and what is expected there."""
    with pytest.raises(DataFileError, match=f"file: .*{message}|file: {message}"):
        read_samples(put(content))


def test_unused_parts_of_a_benchmark_are_ignored(put):
    """Invalid numbers in unused parts of a pytest-benchmark file are ignored."""
    benchmark = {**_benchmark("a", data=[1, 2]), "extra_info": {"loss": float("nan")}}
    file = read_samples(put({"benchmarks": [benchmark]}))
    assert file.operations == {"tests/test_it.py::a": array("d", [1, 2])}
    assert file.time is None
    assert file.host is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
known_keys = st.sampled_from(
    ["format", "version", "benchmarks", "operations", "labels", "fullname", "stats", "datetime"]
)


objects = st.dictionaries(known_keys, json_values, max_size=4)
baselines = objects.map(lambda keys: {"format": "nanospan-baseline", "version": 1, **keys})


@settings(max_examples=60)
@given(st.binary(max_size=40) | objects | baselines | json_values)
def test_any_content_gives_samples_or_a_data_file_error(tmp_path_factory, content):
    """Any file content is either read as samples or rejected with a DataFileError."""
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with contextlib.suppress(DataFileError):
        assert all(min(values) >= 0 for values in read_samples(path).operations.values())


def test_the_history_of_one_file_is_its_values(put):
    """A history read from a single file consists of its values, which may be negative."""
    [(name, history)] = read_histories([put("1\n-2\n3\n")]).items()
    assert name == "values"
    assert history.values == array("d", [1, -2, 3])
    assert not history.in_seconds
    assert history.files == []


def test_the_history_of_several_files_has_a_median_of_each(put):
    """A history has one median per file, by time; files that lack the operation are skipped."""
    late = put(_run(_benchmark("a", data=[5, 7, 6])), "1.json")
    early = put(
        _run(
            _benchmark("a", median=3.5),
            _benchmark("b", median=1),
            moment="2026-11-24T08:00:00+00:00",
        ),
        "2.json",
    )
    histories = read_histories([late, early])
    assert list(histories) == ["tests/test_it.py::a", "tests/test_it.py::b"]
    assert histories["tests/test_it.py::a"].values == array("d", [3.5, 6])
    assert histories["tests/test_it.py::a"].files == [early, late]
    assert histories["tests/test_it.py::b"].values == array("d", [1])
    assert histories["tests/test_it.py::b"].in_seconds


def test_files_without_a_time_keep_the_given_order(put):
    """If any file lacks a time, all files keep the order in which they were passed."""
    draw = random.Random(2)
    levels = [draw.random() for _ in range(5)]
    files = [put([level] * 3, f"{number}.json") for number, level in enumerate(levels)]
    assert read_histories(files)["values"].values.tolist() == levels
