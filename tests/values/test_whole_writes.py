"""Tests for writing everything to unbuffered files."""

import io
import resource
import socket

import pytest

from nanospan.export.report import write_report
from nanospan.export.write import write
from nanospan.values.whole_writes import whole_writes


class Reluctant(io.RawIOBase):
    """A raw file that takes at most seven bytes at a time."""

    def __init__(self):
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        self.taken += bytes(data[:7])
        return min(len(data), 7)


def test_a_raw_file_gets_all_of_the_data():
    """The part that a raw file did not take is written again, and the file stays open."""
    raw = Reluctant()
    with whole_writes(raw) as file:
        assert file.write(b"x" * 100) == 100
        file.writelines([b"y" * 50, b"z" * 50])
    file.close()
    assert raw.taken == b"x" * 100 + b"y" * 50 + b"z" * 50
    assert not raw.closed


def test_other_files_are_used_as_they_are():
    """A buffered file, which takes everything, is not wrapped."""
    buffered = io.BytesIO()
    with whole_writes(buffered) as file:
        assert file is buffered


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "trace", "report"])
def test_exports_to_raw_files_are_whole(monitor, kind):
    """Every format is written completely to an unbuffered file."""
    monitor.record_metric("query", 0.25)
    raw, buffered = Reluctant(), io.BytesIO()
    for file in (raw, buffered):
        if kind == "report":
            write_report(monitor.snapshot(), file)
        else:
            write(monitor, file, kind)
    assert len(raw.taken) == len(buffered.getvalue())


def test_a_full_disk_is_an_error(tmp_path, monitor):
    """If the disk has room for a part of an unbuffered file only, that is an error."""
    monitor.record_metric("query", 0.25)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        with (tmp_path / "out").open("wb", buffering=0) as file, pytest.raises(OSError, match="27"):
            write(monitor, file, "jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_would_block_is_an_error():
    """A non-blocking socket without room raises BlockingIOError, which counts what it took."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        with near.makefile("wb", buffering=0) as raw, whole_writes(raw) as file:
            with pytest.raises(BlockingIOError) as raised:
                file.write(b"x" * 50_000_000)
            assert 0 < raised.value.characters_written < 50_000_000
