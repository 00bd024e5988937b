"""Tests for reading regular files only."""

import logging
import os
import threading
from pathlib import Path

import pytest

from nanospan import PerformanceMonitor
from nanospan.alerts import load
from nanospan.export.prometheus.saved import SavedExposition
from nanospan.export.recording_files import read_recording
from nanospan.export.sample_files import read_histories, read_samples
from nanospan.values import inputs
from nanospan.values.baselines import Baseline
from nanospan.values.inputs import open_input

READERS = [
    Baseline.load,
    load,
    read_recording,
    read_samples,
    lambda path: read_histories([path]),
    lambda path: SavedExposition([path]),
    open_input,
]
"""The functions that read a file whose path they are given."""


@pytest.fixture(params=["pipe", "device", "link", "socket"])
def special(request, tmp_path):
    """Return the path of a file that is not regular."""
    path = tmp_path / "special"
    if request.param == "device":
        return Path("/dev/zero")
    if request.param == "socket":
        os.mknod(path, 0o140600)
        return path
    os.mkfifo(path)
    if request.param == "link":
        link = tmp_path / "link"
        link.symlink_to(path)
        return link
    return path


@pytest.mark.parametrize("read", READERS)
def test_only_regular_files_are_read(read, special):
    """A named pipe, which would block, and a device, which may have no end, are rejected."""
    with pytest.raises(OSError, match=r"must be a regular file, got|No such device"):
        read(special)


@pytest.mark.parametrize("read", READERS)
def test_a_folder_is_not_a_file(read, tmp_path):
    """A folder is an error that says so."""
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read(tmp_path)


def test_an_alerts_file_in_the_environment_that_is_a_pipe_is_logged(tmp_path, monkeypatch, caplog):
    """If ``NANOSPAN_ALERTS`` names a pipe, that is logged in one line, and the monitor works."""
    path = tmp_path / "alerts.toml"
    os.mkfifo(path)
    monkeypatch.setenv("NANOSPAN_ALERTS", str(path))
    monitor = PerformanceMonitor()
    with caplog.at_level(logging.ERROR, "nanospan"):
        monitor._became_process_recorder()
    [record] = caplog.records
    assert "got a pipe" in record.getMessage()
    assert record.getMessage().count("\n") == 0
    assert not monitor.alerts.rules()


def test_a_pipe_that_was_asked_for_is_read(tmp_path):
    """With ``pipes=True``, a named pipe is read once there is a writer; devices are not."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text("[1, 2, 3]"))
    writer.start()
    assert list(read_samples(path, pipes=True).operations["values"]) == [1, 2, 3]
    writer.join()
    with pytest.raises(OSError, match="must be a regular file or a pipe, got a device"):
        read_samples("/dev/zero", pipes=True)


def test_a_pipe_is_read_even_if_its_writer_closes_it_at_once(tmp_path, monkeypatch):
    """A writer that is done before the pipe's kind was checked is not waited for again."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text("1"))
    results = []

    def check_late(*args, **keywords):
        writer.join()
        check(*args, **keywords)

    def read():
        with open_input(path, pipes=True) as file:
            results.append(file.read())

    check = inputs._check_kind
    monkeypatch.setattr(inputs, "_check_kind", check_late)
    reader = threading.Thread(target=read, daemon=True)
    writer.start()
    reader.start()
    reader.join(60)
    assert results == [b"1"]
