"""Tests for replacing files atomically."""

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from nanospan.values import temporary_files
from nanospan.values.files import replacing, write_atomically


def temporaries(folder):
    """Return the status of each file that this process has open in ``folder``."""
    return [
        link.stat()
        for link in list(Path("/proc/self/fd").iterdir())
        if os.path.lexists(link) and str(link.readlink()).startswith(f"{folder}/")
    ]


def names(folder):
    """Return the names of all files in ``folder``."""
    return {path.name for path in folder.iterdir()}


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


def test_the_temporary_file_has_the_goals_permissions_from_the_start(tmp_path, kind):
    """While it is written, the content of a private file can be read only by the file's owner."""
    path = tmp_path / "secret"
    path.touch()
    path.chmod(0o600)
    before = os.umask(0)
    try:
        with replacing(path) as file:
            file.write(b"secret")
            file.flush()
            [status] = temporaries(tmp_path)
            assert (status.st_size, stat.S_IMODE(status.st_mode)) == (6, 0o600)
            assert len(names(tmp_path)) == (1 if kind == "unnamed" else 2)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_permissions_that_change_during_a_write_are_adopted(tmp_path, kind):
    """If the file is made private, or created, during the write, the new file is private, too."""
    path = tmp_path / "out"
    with replacing(path):
        path.touch()
        path.chmod(0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with replacing(path):
        path.chmod(0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("at", ["write", "rename"])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, kind, at):
    """After SIGKILL in the middle of a write, the next write leaves only the file itself."""
    path = tmp_path / "out"
    path.write_text("before")
    if (child := os.fork()) == 0:
        try:
            if at == "rename":
                Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            with replacing(path) as file:
                file.write(b"half")
                file.flush()
                if at == "write":
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    left = len(names(tmp_path)) - 1
    assert left == (0 if (kind, at) == ("unnamed", "write") else 1)
    assert path.read_text() == "before"
    write_atomically(path, "after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_living_writers_and_of_others_stay(tmp_path, kind):
    """Only abandoned temporary files are removed, and no file that is similar or is not ours."""
    for name in (
        ".nanospan-0123456789abcdef",
        ".nanospan-x.tmp",
        "a.nanospan-0123456789abcdef",
    ):
        (tmp_path / name).touch()
    (tmp_path / ".nanospan-00000000000000aa.tmp").symlink_to(tmp_path / "target")
    (tmp_path / ".nanospan-00000000000000bb.tmp").mkdir()
    os.mkfifo(tmp_path / ".nanospan-00000000000000cc.tmp")
    (tmp_path / "target").touch()
    if os.geteuid() == 0:
        (tmp_path / ".nanospan-00000000000000dd.tmp").touch()
        os.chown(tmp_path / ".nanospan-00000000000000dd.tmp", 12345, -1)
    (tmp_path / ".nanospan-00000000000000ee.tmp").touch()
    before = names(tmp_path) - {".nanospan-00000000000000ee.tmp"}
    with replacing(tmp_path / "first") as file:
        file.write(b"first")
        write_atomically(tmp_path / "second", "second")
    assert names(tmp_path) == before | {"first", "second"}
    assert (tmp_path / "first").read_text() == "first"


def test_a_file_that_was_taken_for_abandoned_is_created_again(tmp_path, monkeypatch):
    """A writer notices that its new file was removed, or locked for that, before it locked it."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT | os.O_EXCL)
    lock, calls = temporary_files._lock, []

    def late(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            temporary_files.remove_abandoned(tmp_path, {os.geteuid()})
        return len(calls) != 2 and lock(descriptor)

    monkeypatch.setattr(temporary_files, "_lock", late)
    write_atomically(tmp_path / "out", "x")
    assert len(calls) == 3
    write_atomically(tmp_path / "out", "y")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_sandbox_that_forbids_links_is_no_obstacle(tmp_path, monkeypatch):  # words: allow
    """If the unnamed file cannot be linked, its content and permissions are copied."""

    def denied(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", denied)
    path = tmp_path / "out"
    path.touch()
    path.chmod(0o640)
    content = os.urandom(3 << 20)
    write_atomically(path, content)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_an_open_file_is_written_to_where_it_stands(tmp_path, name):
    """A path of an open file, such as ``/dev/stdout``, stands for the open file itself."""
    log = tmp_path / "log"
    with log.open("ab") as file:
        file.write(b"before\n")
        file.flush()
        write_atomically(name.format(file.fileno()), "after\n")
    assert log.read_text() == "before\nafter\n"
    reader, writer = os.pipe()
    write_atomically(name.format(writer), "x")
    os.close(writer)
    assert os.read(reader, 10) == b"x"
    os.close(reader)


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
    assert str(caught.value).endswith("absent/file'")


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
