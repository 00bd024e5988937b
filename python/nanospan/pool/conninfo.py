"""Parse, compare and mask connection strings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote

from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo

from nanospan.pool.conninfo_faults import SCHEMES, explain
from nanospan.pool.errors import ConninfoError
from nanospan.reentrant import LazyProperty

__all__ = [
    "FROM_FUNCTION",
    "HIDDEN",
    "UNREADABLE",
    "Conninfo",
    "Target",
    "check_kwargs",
    "default_conninfo",
    "mask_conninfo",
    "with_parameters",
]

Conninfo: TypeAlias = str | Callable[[], Any]
"""A connection string, or a function that returns one for each new connection. In asynchronous
pools, what the function returns may have to be awaited."""

HIDDEN = "***"
UNREADABLE = "<unreadable connection string>"
FROM_FUNCTION = "<connection string from a function>"

# libpq marks options whose values should be hidden with "*". It does not mark the options in the
# first set, although SCRAM keys are credentials and the two files contain passwords or keys.
_SECRET = frozenset(
    {"passfile", "scram_client_key", "scram_server_key", "sslkeylogfile"}
    | {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*"}
)
_IDENTITY = ("service", "host", "hostaddr", "port", "dbname", "user")
_KEYWORDS = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())

# With a random key, passwords cannot be guessed from the digests outside this process.
_DIGEST_KEY = os.urandom(16)


@dataclass(frozen=True)
class Target:
    """A parsed connection string.

    Immutable and safe to share between threads. ``repr`` shows only the masked form.

    Attributes:
        conninfo: The connection string as given, including its secrets.
        params: The string's parameters, including secrets, keyed by libpq parameter name.
        masked: The connection string without its secrets.
        rotates: Whether a function returned the string, so that the secrets may change.
    """

    conninfo: str = field(repr=False)
    params: dict[str, str] = field(repr=False, compare=False, hash=False)
    masked: str
    rotates: bool = False

    @classmethod
    def parse(cls, conninfo: str) -> Target:
        """Parse a connection string.

        Args:
            conninfo: A URL or ``key=value`` pairs, as libpq accepts them.

        Returns:
            The parsed connection string.

        Raises:
            TypeError: If ``conninfo`` is not a ``str``.
            ConninfoError: If libpq cannot parse ``conninfo``, or if a URL's password contains
                reserved characters that make libpq mistake part of the password for a host name.
        """
        if not isinstance(conninfo, str):
            msg = f"a connection string must be a str, got {type(conninfo).__name__}"  # type: ignore[unreachable]
            raise TypeError(msg)
        return _parse(conninfo)

    def rotating(self) -> Target:
        """Return the same target, with a ``key`` that does not depend on the secrets."""
        return replace(self, rotates=True)

    @LazyProperty
    def key(self) -> str:
        """A digest of all parameters, independent of their order and notation in the string.

        Missing parameters are first filled in from libpq's environment variables and defaults, so
        writing a default explicitly, such as ``port=5432``, does not change the digest.
        """
        values = {**self.effective, "": str(self.rotates)}
        if self.rotates:
            values = {name: value for name, value in values.items() if name not in _SECRET}
        canonical = "\0".join(f"{name}={value}" for name, value in sorted(values.items()))
        return hashlib.blake2b(canonical.encode(), key=_DIGEST_KEY, digest_size=16).hexdigest()

    @LazyProperty
    def database(self) -> tuple[str, ...]:
        """The values of the parameters that identify the server, database and role.

        Missing values are filled in from libpq's environment variables and defaults.
        """
        values = self.effective
        return tuple(values.get(name, "") for name in _IDENTITY)

    @LazyProperty
    def session_attrs(self) -> str | None:
        """The value of ``target_session_attrs``, unless every server meets it."""
        value = self.effective.get("target_session_attrs")
        return None if value in (None, "any", "prefer-standby") else value

    @LazyProperty
    def effective(self) -> dict[str, str]:
        """The parameters, with libpq's environment variables and defaults filled in."""
        values = {
            option.keyword.decode(): option.val.decode()
            for option in pq.Conninfo.get_defaults()
            if option.val is not None
        }
        values.update(self.params)
        values.setdefault("dbname", values.get("user", ""))
        return values

    def redact(self, text: str) -> str:
        """Replace this target's secrets in ``text`` with ``***``.

        A secret that also occurs in the value of a non-secret parameter is left in place, because
        masking it there would reveal which part of that value is the secret.
        """
        visible = [value for name, value in self.params.items() if name not in _SECRET]
        for name in _SECRET & self.params.keys():
            secret = self.params[name]
            if secret and not any(secret in value for value in visible):
                text = text.replace(secret, HIDDEN)
        return text


def with_parameters(conninfo: str, kwargs: Mapping[str, Any]) -> Target:
    """Return the target of a connection string and further arguments for psycopg's ``connect``.

    Args:
        conninfo: A connection string.
        kwargs: Arguments, of which libpq's parameters take precedence over the string's.
    """
    target = Target.parse(conninfo)
    given = {name: value for name, value in kwargs.items() if name in _KEYWORDS}
    return Target.parse(make_conninfo(**{**target.params, **given})) if given else target


def check_kwargs(kwargs: object) -> None:
    """Raise ValueError if a shared pool's ``kwargs`` say where to connect, or as whom."""
    given = kwargs.keys() if isinstance(kwargs, Mapping) else ()
    if misplaced := sorted((_SECRET | set(_IDENTITY)) & set(given)):
        raise ValueError(
            f"kwargs of a shared pool must not contain {', '.join(misplaced)}; write it into the "
            "connection string, by which pools are shared"
        )


def mask_conninfo(conninfo: Conninfo) -> str:
    """Return a connection string with passwords, keys and the paths of secret files masked.

    Args:
        conninfo: A URL or ``key=value`` pairs, or a function that returns one of them.

    Returns:
        The masked form, or ``<unreadable connection string>`` if ``conninfo`` is invalid. A
        function is not called: ``<connection string from a function>``.
    """
    if callable(conninfo):
        return FROM_FUNCTION
    try:
        return Target.parse(conninfo).masked
    except ConninfoError:
        return UNREADABLE


def default_conninfo() -> str | None:
    """Return the connection string of the database that the environment names, if any.

    Looks at ``DATABASE_URL``, if it is a PostgreSQL URL; then at ``POSTGRES_DB`` with
    ``POSTGRES_HOST``, ``_PORT``, ``_USER`` and ``_PASSWORD``; then at libpq's ``PGSERVICE`` and
    ``PGDATABASE``, where libpq itself reads the other variables.
    """
    env = os.environ
    if (url := env.get("DATABASE_URL", "")).startswith(SCHEMES):
        return url
    if database := env.get("POSTGRES_DB"):
        return make_conninfo(
            host=env.get("POSTGRES_HOST") or "localhost",
            port=env.get("POSTGRES_PORT") or "5432",
            dbname=database,
            user=env.get("POSTGRES_USER") or "postgres",
            password=env.get("POSTGRES_PASSWORD") or None,
        )
    given = {"service": env.get("PGSERVICE"), "dbname": env.get("PGDATABASE")}
    return make_conninfo(**given) or None  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _parse(conninfo: str) -> Target:
    is_url = conninfo.startswith(SCHEMES)
    params: dict[str, str] | None
    try:
        options = pq.Conninfo.parse(conninfo.encode())
        params = {o.keyword.decode(): o.val.decode() for o in options if o.val is not None}
    except (OperationalError, UnicodeError):
        params = None
    if params is None:
        # Raised outside the handler to keep libpq's message out of the exception's context.
        raise ConninfoError(explain(conninfo, _KEYWORDS, _SECRET))
    # libpq ends the credentials at the first "@" or "/". It would treat the rest of the password
    # as a host, port or database name, look that name up and show it in error messages.
    if is_url and _is_misread(conninfo, params):
        msg = (
            "the URL has an unescaped '@' or '/' in its password, or a port that is not a number "
            "(not shown because it may be part of the password); write '@' as %40 and '/' as %2F"
        )
        raise ConninfoError(msg)
    return Target(conninfo, params, _mask_url(conninfo) if is_url else _mask_pairs(params))


def _is_misread(url: str, params: dict[str, str]) -> bool:
    """Return True if libpq split a URL in the wrong place.

    In that case, it mistakes part of the password for an address, or the query for credentials.
    """
    _, credentials, address, _ = _split_url(url)
    query = credentials.partition("?")[2].split("&")
    swallowed = any(unquote(pair.partition("=")[0]) in _KEYWORDS for pair in query if "=" in pair)
    return "@" in address or swallowed or not _is_port(params.get("port", ""))


def _is_port(port: str) -> bool:
    return all(part.isdecimal() or not part for part in port.split(","))


def _split_url(url: str) -> tuple[str, str, str, str]:
    """Split a URL, as libpq does, into scheme, credentials, address and query.

    The credentials include the "@" after them, and the query includes the "?" before it.
    """
    scheme, rest = url.split("://", 1)
    credentials, at, remainder = rest.partition("@")
    if not at or "/" in credentials:
        credentials, at, remainder = "", "", rest
    address, has_query, query = remainder.partition("?")
    return scheme, credentials + at, address, has_query + query


def _mask_url(url: str) -> str:
    scheme, credentials, address, query = _split_url(url)
    user, colon, _ = credentials.partition(":")
    if colon:
        credentials = f"{user}:{HIDDEN}@"
    pairs = (pair.partition("=") for pair in query[1:].split("&"))
    shown = "&".join(
        f"{name}{eq}{HIDDEN if unquote(name) in _SECRET else value}" for name, eq, value in pairs
    )
    return f"{scheme}://{credentials}{address}{query[:1]}{shown}"


def _mask_pairs(params: dict[str, str]) -> str:
    # A value that is a URL (libpq accepts one as dbname) may contain further credentials.
    return " ".join(
        f"{name}={HIDDEN if name in _SECRET or '://' in value else _quoted(value)}"
        for name, value in sorted(params.items())
    )


def _quoted(value: str) -> str:
    if value and not any(character.isspace() or character in "'\\" for character in value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
