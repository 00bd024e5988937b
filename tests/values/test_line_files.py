"""Tests for appending lines to a file that other processes append to as well."""

import contextlib
import fcntl
import os
import resource
import threading
import time

import pytest

from nanospan.values import line_files
from nanospan.values.line_files import LineFile

LINE = b'{"state": "firing"}\n'


def sleep(seconds):
    """Wait, as a sink that has time left does."""
    time.sleep(seconds)
    return True


def never(_seconds):
    """Pretend that no time is left to wait."""
    return False


@contextlib.contextmanager
def disk_full_at(size):
    """Let no file of this process grow beyond ``size`` bytes, so that writes are cut there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("wait", [sleep, never])
def test_a_line_that_does_not_fit_is_removed(tmp_path, wait):
    """If a disk has room for a part of a line, none of it is kept, and later lines are whole."""
    path = tmp_path / "lines"
    file = LineFile(path)
    file.append(LINE, wait)
    with disk_full_at(len(LINE) + 7), pytest.raises(OSError, match="only 7 of 20 bytes"):
        file.append(LINE, wait)
    assert path.read_bytes() == LINE
    with disk_full_at(len(LINE)), pytest.raises(OSError, match="File too large"):
        file.append(LINE, wait)
    file.append(LINE, wait)
    assert path.read_bytes() == LINE * 2


def test_a_line_starts_anew_after_half_a_line(tmp_path):
    """Half a line that a crash left behind is ended before the next line."""
    path = tmp_path / "lines"
    path.write_bytes(LINE + LINE[:5])
    file = LineFile(path)
    with disk_full_at(len(LINE) + 6), pytest.raises(OSError, match="only 1 of 21 bytes"):
        file.append(LINE, sleep)
    assert path.read_bytes() == LINE + LINE[:5]
    file.append(LINE, sleep)
    file.append(LINE, sleep)
    assert path.read_bytes().split(b"\n") == [LINE[:-1], LINE[:5], LINE[:-1], LINE[:-1], b""]


@pytest.mark.parametrize("is_locked", [True, False])
def test_lines_of_other_programs_are_not_cut(tmp_path, monkeypatch, is_locked):
    """If another line follows the half line, the half line is blanked and the other line kept."""
    path = tmp_path / "lines"
    path.write_bytes(LINE + b"half")
    write = os.write

    def write_half(descriptor, data):
        count = write(descriptor, data[:9])
        with path.open("ab") as other:
            other.write(LINE)
        return count

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="only 9 of 21 bytes"):
        LineFile(path).append(LINE, sleep if is_locked else never)
    assert path.read_bytes() == LINE + b"half\n" + b" " * 7 + b"\n" + LINE


def test_lines_of_many_writers_are_whole(tmp_path):
    """Writers that share a file on a full disk append whole lines, and know how many."""
    path = tmp_path / "lines"
    appended = []

    def append(number):
        line = (str(number) * 20 + "\n").encode()
        file = LineFile(path)
        for _ in range(50):
            with contextlib.suppress(OSError):
                file.append(line, sleep)
                appended.append(line)

    with disk_full_at(21 * 100 + 11):
        writers = [threading.Thread(target=append, args=(number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
    assert len(appended) == 100
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(appended)


def test_another_programs_lock_does_not_hold_a_line_up(tmp_path, monkeypatch):
    """If another program keeps the file locked, the line is appended without the lock."""
    path = tmp_path / "lines"
    waits = []

    def wait(seconds):
        waits.append(seconds)
        return True

    with path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        LineFile(path).append(LINE, wait)
        assert waits == line_files.LOCK_WAITS
        LineFile(path).append(LINE, never)
    assert path.read_bytes() == LINE * 2

    def unsupported(_descriptor, _operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    LineFile(path).append(LINE, wait)
    assert path.read_bytes() == LINE * 3
    assert waits == line_files.LOCK_WAITS


def test_a_file_that_may_only_be_written_is_appended_to(tmp_path, monkeypatch):
    """Lines are appended to a file that may not be read."""
    path = tmp_path / "lines"
    path.write_bytes(b"half")
    opened = os.open

    def write_only(name, flags, *mode):
        if flags & os.O_ACCMODE == os.O_RDONLY:
            raise PermissionError(13, "Permission denied")
        return opened(name, flags, *mode)

    monkeypatch.setattr(os, "open", write_only)
    LineFile(path).append(LINE, sleep)
    assert path.read_bytes() == b"half" + LINE


def test_a_pipe_that_nothing_reads_is_an_error(tmp_path):
    """A named pipe without a reader is reported; it does not block the caller."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = LineFile(path)
    with pytest.raises(OSError, match="No such device or address"):
        file.append(LINE, never)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file.append(LINE, never)
    assert os.read(reader, 100) == LINE
    os.close(reader)


def test_a_pipe_whose_reader_stops_gets_no_glued_lines(tmp_path):
    """After half a line, for which a pipe had no room, the next line starts on a new line."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    file = LineFile(path)
    with pytest.raises(BlockingIOError):
        file.append(b"x" * 5000 + b"\n", never)
    assert os.read(reader, 5000) == b"x" * 4096
    file.append(LINE, never)
    file.append(LINE, never)
    assert os.read(reader, 5000) == b"\n" + LINE + LINE
    os.close(reader)


def test_a_full_device_is_an_error():
    """A device that is full is reported, and nothing is removed from it."""
    with pytest.raises(OSError, match="No space left on device"):
        LineFile("/dev/full").append(LINE, never)
