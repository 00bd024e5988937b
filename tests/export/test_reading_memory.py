"""Tests that reading a file takes memory in proportion to the file, whatever it contains."""

import json
import subprocess
import sys

import pytest

from nanospan.regression import Baseline

SIZE = 1_000_000
LIMIT = 16 * SIZE

# A forked child has nothing but the reader in memory, so that its peak is that of reading.
MEASURE = """
import json, os, sys
from pathlib import Path

from nanospan.export.prometheus.saved import SavedExposition
from nanospan.export.recording_files import read_recording
from nanospan.export.sample_files import read_histories, read_samples
from nanospan.regression import Baseline
import nanospan.values.json_stream, platform, statistics
platform.node()
limit = int(sys.argv[1])
readers = {
    "samples": lambda path: read_samples(path, max_bytes=limit),
    "histories": lambda path: read_histories([path, path], max_bytes=limit),
    "baseline": lambda path: Baseline.load(path, max_bytes=limit),
    "recording": lambda path: read_recording(path, max_bytes=limit),
}

def memory(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024

def read(reader, path):
    before = memory("VmRSS:")
    try:
        reader(path)
        told = ""
    except ValueError as exc:
        told = str(exc)
    return [memory("VmHWM:") - before, told]

results = {}
for case in sys.argv[2:]:
    kind, path = case.split("=", 1)
    source, sink = os.pipe()
    if not os.fork():
        os.write(sink, json.dumps(read(readers[kind], Path(path))).encode())
        os._exit(0)
    os.close(sink)
    with os.fdopen(source) as pipe:
        results[path] = json.load(pipe)
    os.wait()
print(json.dumps(results))
"""

BENCHMARK = '{"benchmarks": [{"fullname": "a", "stats": {"data": ['
ROW = '{"operation": "search", "timestamp": 1764403200.123456, "duration": 0.00123, %s}\n'

# The reader; what is before, repeated and after; and whether the file is valid.
CASES = {
    "list": ("samples", "[", "0.0012345, ", "1]", True),
    "short numbers": ("samples", "[", "1, ", "1]", True),
    "column": ("samples", "", "0.0012345\n", "", True),
    "object of lists": ("samples", '{"a": [', "0.0012345, ", "1]}", True),
    "benchmark": ("samples", BENCHMARK, "0.00123456, ", "1]}}]}", True),
    "history": ("histories", "[", "0.0012345, ", "1]", True),
    "rows": ("recording", "", ROW % '"outcome": "ok", "metadata": null', "", True),
    "short rows": ("recording", "", '{"operation":"a","duration":1}\n', "", True),
    "rows with metadata": ("recording", "", ROW % '"metadata": {"size": 7.5, "k": 2}', "", True),
    "spaces": ("samples", "[", " ", "1]", True),
    "blank lines": ("samples", "", "\n", "1", True),
    "lists": ("samples", "[", "[],", "1]", False),
    "objects": ("samples", "[", "{},", "1]", False),
    "strings": ("samples", "[", '"",', "1]", False),
    "shortest numbers": ("samples", "[", "1,", "1]", False),
    "numbers and null": ("samples", "[", "1,", "null]", False),
    "wide characters": ("samples", '{"a": ["', "\U0001f600", '"]}', False),
    "string": ("samples", '["', "x", '"]', False),
    "line": ("samples", "", "1", "", False),
    "lists in a baseline": ("baseline", '{"format": "nanospan-baseline", "a": [', "[],", "", False),
    "lists in metadata": (
        "recording",
        "",
        ROW % f'"metadata": {{"a": [{"[]," * 99}1]}}',
        "",
        False,
    ),
    "lists in a line": ("recording", '{"operation": "a", "metadata": [', "[],", "", False),
    "a line of spaces": ("recording", '{"operation": "a"', " ", "", False),
    "many operations": ("recording", '{"operation": "a%d", "duration": 1}\n', "", "", False),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Return for each case its size, the memory that reading takes, and the error."""
    folder = tmp_path_factory.mktemp("memory")
    arguments = []
    for name, (kind, before, part, after, _) in CASES.items():
        path = folder / name
        if part:
            path.write_text(before + part * (SIZE // len(part.encode())) + after)
        else:
            path.write_text("".join(before % n for n in range(SIZE // len(before))))
        arguments.append(f"{kind}={path}")
    saved = folder / "saved"
    Baseline.from_samples(
        {f"op{n}": [0.0012 + k / 7e6 for k in range(99)] for n in range(900)}
    ).save(saved)
    arguments += [f"baseline={saved}"]
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(LIMIT), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return {
        path.rpartition("/")[2]: (folder.joinpath(path).stat().st_size, *found)
        for path, found in json.loads(result.stdout).items()
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("name", [*CASES, "saved"])
def test_reading_takes_at_most_three_times_the_size_of_the_file(measured, name):
    """Whether a file is read or rejected, its values take at most three times its size."""
    size, memory, told = measured[name]
    # The pieces that are read at a time, and a line or string, take some memory as well.
    assert memory <= 3 * size + 4_000_000
    assert (told == "") is (name == "saved" or CASES[name][4]), told
