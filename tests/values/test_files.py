"""Tests for replacing files atomically."""

import os
import stat
import threading
from pathlib import Path

import pytest

from nanospan.values.files import replacing, write_atomically


def test_the_file_appears_at_the_end(tmp_path):
    """Readers see the file's previous content until the block ends."""
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with replacing(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path, error):
    """If the block raises an exception, the file and its folder are unchanged."""

    def interrupted():
        with replacing(tmp_path / "out") as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_written_to_directly(tmp_path):
    """A named pipe is written to, and is not replaced by a regular file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_atomically(path, b"x")
    reader.join(60)
    assert read == [b"x"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_text_and_bytes_are_written(tmp_path):
    """Text or bytes are written to a new file, and no other file is left in its folder."""
    write_atomically(tmp_path / "text", "µs\n")
    write_atomically(tmp_path / "bytes", b"\x89PNG\r\n")
    assert (tmp_path / "text").read_bytes() == b"\xc2\xb5s\n"
    assert (tmp_path / "bytes").read_bytes() == b"\x89PNG\r\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]


def test_new_files_have_the_usual_permissions_and_others_keep_theirs(tmp_path):
    """A new file gets its mode from the umask; a replaced file keeps its mode."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o600)
    before = os.umask(0o027)
    try:
        write_atomically(new, "x")
        write_atomically(old, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(new.stat().st_mode) == 0o640
    assert stat.S_IMODE(old.stat().st_mode) == 0o600


def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch):
    """If the disk fails during a write, the existing file is unchanged."""
    path = tmp_path / "file"
    path.write_text("before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_requested_file(tmp_path):
    """An OSError names the requested file, not the temporary one."""
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "absent" / "file", "x")
    assert caught.value.filename == str(tmp_path / "absent" / "file")


def test_links_are_followed(tmp_path):
    """Writing through a symbolic link replaces its target and keeps the link."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to(target)
    write_atomically(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_devices_are_written_to_and_not_replaced():
    """A device is written to directly rather than replaced by a file."""
    write_atomically(Path("/dev/null"), "nothing")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_missing_folder_is_an_error(tmp_path):
    """Writing into a missing folder raises an error and does not create the folder."""
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "absent" / "file", "x")
