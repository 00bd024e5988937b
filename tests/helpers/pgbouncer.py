"""A real PgBouncer in front of an embedded server."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from servers import STARTING, free_port, server_path

from nanospan.demo.folders import UNPRIVILEGED_USER

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


class PgBouncer:
    """Forwards connections to a PostgreSQL server on the loopback interface; a context manager.

    All clients share one server connection, so that any state that one of them leaves in the
    session meets the next one.

    Args:
        mode: PgBouncer's ``pool_mode``.
        port: The server's port.
        folder: An empty folder for the configuration and the log.
        tracks: Whether it tracks prepared statements, as 1.21 and later versions can. psycopg needs
            1.22; with an older one, the test is skipped.
        settings: Further settings of the section ``pgbouncer``.
    """

    def __init__(
        self, mode: str, port: int, folder: Path, *, tracks: bool = False, **settings: object
    ) -> None:
        self._program = server_path("pgbouncer")
        version = _version(self._program)
        if tracks and version < (1, 22):
            pytest.skip(f"needs PgBouncer 1.22 on PATH, got {version[0]}.{version[1]}")
        if version >= (1, 21):
            settings["max_prepared_statements"] = 100 if tracks else 0
        self._port = free_port()
        self._configuration = folder / "pgbouncer.ini"
        self._log = folder / "pgbouncer.log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": 1,
            **settings,
        }
        lines = ["[databases]", f"* = host=127.0.0.1 port={port} user=postgres", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        self._configuration.write_text("\n".join(lines))

    def url(self, url: str) -> str:
        """Return the URL of the database that the server has at ``url``."""
        return f"postgresql://postgres@127.0.0.1:{self._port}{urlsplit(url).path}"

    def start(self) -> None:
        """Start PgBouncer, which refuses to run as root, and wait until it accepts connections."""
        command = [self._program, str(self._configuration)]
        if os.geteuid() == 0:
            command += ["--user", UNPRIVILEGED_USER]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + STARTING
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PgBouncer did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.005)

    def stop(self) -> None:
        """End PgBouncer and its connections at once; newer versions let clients delay a SIGTERM."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False


@lru_cache
def _version(program: str) -> tuple[int, int]:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    major, minor = re.findall(r"\d+", answer.stdout)[:2]
    return int(major), int(minor)
