"""Tests for the limits of data files: their size, and the memory of their values."""

import tracemalloc

import pytest

from nanospan.cli import main
from nanospan.export.prometheus.saved import SavedExposition
from nanospan.export.recording_files import RecordingFileError, read_recording
from nanospan.export.sample_files import read_histories, read_samples
from nanospan.regression import Baseline, DataFileError
from nanospan.values.data_files import open_data_file, size_limit


@pytest.fixture
def path(tmp_path):
    """Return the path of a file with some numbers."""
    path = tmp_path / "samples"
    path.write_text("1\n2\n" * 100)
    return path


def test_the_limit_is_an_argument_a_variable_or_a_default(monkeypatch):
    """An argument takes precedence over the environment variable, which does over the default."""
    monkeypatch.delenv("NANOSPAN_MAX_BYTES", raising=False)
    assert size_limit() == 256 * 1024 * 1024
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", "")
    assert size_limit() == 256 * 1024 * 1024
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", "1000")
    assert size_limit() == 1000
    assert size_limit(2000) == 2000


@pytest.mark.parametrize("limit", ["0", "-1", "1 GB", "1e9", "9" * 5000])
def test_an_invalid_limit_is_an_error_that_names_the_variable(monkeypatch, path, limit, capsys):
    """A limit that is not a whole number of at least 1 is an error, also of commands."""
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", limit)
    with pytest.raises(ValueError, match="NANOSPAN_MAX_BYTES must be a whole number"):
        read_samples(path)
    assert main(["compare", str(path), str(path)]) == 2
    assert "NANOSPAN_MAX_BYTES must be a whole number" in capsys.readouterr().err
    with pytest.raises(ValueError, match="max_bytes must be a whole number of at least 1, got '0'"):
        read_samples(path, max_bytes=0)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_samples(path, max_bytes=399),
        lambda path: read_histories([path], max_bytes=399),
        lambda path: read_histories([path, path], max_bytes=399),
        lambda path: Baseline.load(path, max_bytes=399),
        lambda path: read_recording(path, max_bytes=399),
    ],
)
def test_every_reader_takes_a_limit_and_says_how_to_raise_it(path, read):
    """A file over the limit is rejected by every reader, and the error says how to raise it."""
    with pytest.raises((DataFileError, RecordingFileError), match="must be at most 399 bytes long"):
        read(path)
    with pytest.raises(ValueError, match="--max-bytes, max_bytes or NANOSPAN_MAX_BYTES"):
        read(path)


def test_served_snapshots_have_the_limit_of_the_variable(path, monkeypatch):
    """``nanospan serve`` reads snapshots up to the limit that the variable sets."""
    monkeypatch.setenv("NANOSPAN_MAX_BYTES", "399")
    with pytest.raises(DataFileError, match="must be at most 399 bytes long"):
        SavedExposition([path])


def test_commands_take_a_limit(path, capsys):
    """Commands that read data files have the option ``--max-bytes``."""
    page = str(path.with_suffix(".html"))
    for command in (
        ["compare", str(path), str(path)],
        ["changes", str(path)],
        ["export", "csv", "--from", str(path)],
        ["report", page, "--from", str(path)],
    ):
        assert main([*command, "--max-bytes", "399"]) in {1, 2}
        assert "must be at most 399 bytes long" in capsys.readouterr().err
    assert main(["changes", str(path), "--max-bytes", "400"]) == 0


def test_a_small_file_takes_little_memory(path):
    """Reading a file allocates memory in proportion to the file, and not to the limit."""
    read_samples(path)
    tracemalloc.start()
    try:
        read_samples(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_long_lines_are_rejected(path):
    """A line or string that is longer than a share of the limit is not gathered in memory."""
    for text in ("1" * 300_000, '["' + "x" * 300_000 + '"]', '{"operation": "' + "x" * 300_000):
        path.write_text(text)
        read = read_recording if text[0] == "{" else read_samples
        with pytest.raises(ValueError, match=r"must be at most 65,536 (bytes|characters) long"):
            read(path, max_bytes=1 << 20)


def test_histograms_count_towards_the_limit(tmp_path):
    """Histograms that a few bytes in a file make large are limited, too."""
    path = tmp_path / "baseline.json"
    wide = {f"op{number}": [1e-9, 5e9] for number in range(100)}
    Baseline.from_samples(wide).save(path)
    assert len(Baseline.load(path).operations) == 100
    with pytest.raises(DataFileError, match=r"histogram: the histograms must fit into 1,000,000 b"):
        Baseline.load(path, max_bytes=1_000_000)


def test_files_of_many_small_operations_are_read(tmp_path):
    """Files that the package writes are read, even with 30,000 operations of one sample each."""
    names = [f"service.operation.{number}" for number in range(30_000)]
    baseline, lines = tmp_path / "baseline.json", tmp_path / "samples.jsonl"
    Baseline.from_samples({name: [0.001] for name in names}).save(baseline)
    row = '{"operation":"%s","timestamp":1.5,"duration":0.001,"outcome":"ok","metadata":{"id":7}}\n'
    lines.write_text("".join(row % name for name in names))
    assert len(Baseline.load(baseline).operations) == len(names)
    assert len(read_recording(lines).operations) == len(names)
    problem = r"the operations must fit into 20,000,000 bytes of memory; raise the limit with"
    with pytest.raises(ValueError, match=problem):
        read_recording(lines, max_bytes=20_000_000)


def test_the_position_of_invalid_text_is_exact(tmp_path):
    """Invalid UTF-8 is reported at its byte, wherever in the file it is."""
    path = tmp_path / "text"
    for before in (b"", b"\xef\xbb\xbf", b"x" * 65_535, b"\xef\xbb\xbf" + b"x" * 200_000):
        path.write_bytes(before + b"\xe2\x82")  # the start of a character, and no more
        with (
            pytest.raises(DataFileError, match=f"byte {len(before)}: expected UTF-8 text"),
            open_data_file(path) as file,
        ):
            list(file.text())
