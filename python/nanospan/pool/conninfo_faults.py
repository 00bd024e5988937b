"""Explain why libpq cannot parse a connection string, without quoting any part that may be secret.

Only words from the tables below, and parameter names that cannot be part of a password, are shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["explain"]

SCHEMES = ("postgresql://", "postgres://")
NOT_SHOWN = "(not shown because it may contain a password)"
WRITE = "write postgresql:// instead"

_SQLALCHEMY = re.compile(
    r"(postgres(?:ql)?\+(?:asyncpg|psycopg|psycopg2|psycopg_async|psycopg2cffi|pg8000|aiopg))://",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_OWNERS = {
    "jdbc:": "Java's; remove jdbc: before postgresql://",
    "mysql:": "MySQL's, and nanospan.pool connects to PostgreSQL",
    "mariadb:": "MariaDB's, and nanospan.pool connects to PostgreSQL",
    "sqlite:": "SQLite's, and nanospan.pool connects to PostgreSQL",
    "redis:": "Redis's, and nanospan.pool connects to PostgreSQL",
    "mongodb:": "MongoDB's, and nanospan.pool connects to PostgreSQL",
    "asyncpg:": f"the driver's; {WRITE}",
    "psycopg:": f"the driver's; {WRITE}",
    "psycopg2:": f"the driver's; {WRITE}",
    "postgis:": f"Django's; {WRITE}",
    "pgsql:": f"PHP's; {WRITE}",
    "timescaledb:": f"Timescale's; {WRITE}",
    "cockroachdb:": f"CockroachDB's; {WRITE}",
    "prisma:": f"Prisma's; {WRITE}",
}
_CREDENTIAL = re.compile("pass|pwd|secret|token|key|cred|auth", re.IGNORECASE)
_SEARCH_PATH = "write options=-csearch_path%3DNAME"
_POOLING = "pass it as a pool setting, in config"
_UNPREPARED = (
    "remove it, and pass prepare_threshold=None in config if PgBouncer does not track prepared "
    "statements"
)
_REMEDIES = {
    "schema": _SEARCH_PATH,
    "currentSchema": _SEARCH_PATH,
    "search_path": _SEARCH_PATH,
    "ssl": "write sslmode=require or sslmode=disable",
    "statement_timeout": "write options=-cstatement_timeout%3DMILLISECONDS",
    "charset": "write client_encoding",
    "encoding": "write client_encoding",
    "timeout": "write connect_timeout, or pass a pool setting, in config",
    "connection_timeout": "write connect_timeout, or pass it as a pool setting, in config",
    "pool_size": _POOLING,
    "max_overflow": _POOLING,
    "pool_timeout": _POOLING,
    "pool_recycle": _POOLING,
    "pgbouncer": _UNPREPARED,
    "connection_limit": "remove it, and set the pool's max_size",
    "command_timeout": "remove it",
    "prepared_statement_cache_size": _UNPREPARED,
    "statement_cache_size": _UNPREPARED,
    "prepareThreshold": _UNPREPARED,
    "prepare_threshold": _POOLING,
    "database": "write dbname",
    "db": "write dbname",
    "username": "write user",
    "pass": "write password",
    "pwd": "write password",
    "hostname": "write host",
    "server": "write host",
}


def explain(conninfo: str, known: Container[str], secret: Container[str]) -> str:
    """Return what is wrong with a connection string and what to write.

    Args:
        conninfo: A string that libpq refuses.
        known: The names of libpq's parameters.
        secret: Those of them whose values must not be shown.
    """
    if conninfo.startswith(SCHEMES):
        message = _query(conninfo, known, secret) or _syntax(conninfo)
    else:
        message = _scheme(conninfo) or _pairs(conninfo)
    return message or (
        f"libpq cannot parse the connection string {NOT_SHOWN}; percent-encode reserved "
        "characters in a URL, or quote values that contain spaces in key=value pairs"
    )


def _scheme(conninfo: str) -> str | None:
    """Explain a scheme that is not libpq's, or text before one that is."""
    if match := _SQLALCHEMY.match(conninfo):
        return f"the scheme {match[1]}:// is SQLAlchemy's; {WRITE}"
    scheme = _SCHEME.match(conninfo)
    if scheme and (owner := _OWNERS.get(scheme[0].lower())):
        return f"the scheme {scheme[0]} is {owner}"
    if conninfo.lower().startswith(SCHEMES):
        return "a connection URL must begin with postgresql:// in lower case"
    if any(start in conninfo for start in SCHEMES):
        return (
            "a connection URL must begin with postgresql://; remove what is before it, such as "
            "a quote, a space or a command"
        )
    if scheme and conninfo[scheme.end() :].startswith("//"):
        return "a connection URL must begin with postgresql:// or postgres://, got another scheme"
    return None


def _query(url: str, known: Container[str], secret: Container[str]) -> str | None:
    """Explain parameters of a URL that libpq does not know, or that have no value."""
    query = url.partition("?")[2]
    if not query:
        return None
    pairs = [pair.partition("=") for pair in query.split("&")]
    names = [unquote(name) for name, _, _ in pairs]
    unknown = [name for name in names if name not in known]
    safe = _cannot_hold_a_password(url, names, secret) and all(equals for _, equals, _ in pairs)
    shown = [name for name in unknown if safe or name in _REMEDIES]
    if shown and all(re.fullmatch(r"[\w.-]{1,40}", name) for name in shown):
        return _unknown(shown, "URL")
    if any(not equals for _, equals, _ in pairs):
        return "each parameter in the URL's query must be name=value"
    if any("=" in value for *_, value in pairs):
        return "a parameter in the URL's query has a second '='; write '=' in a value as %3D"
    return None


def _cannot_hold_a_password(url: str, names: list[str], secret: Container[str]) -> bool:
    """Return whether no part of a password can have been taken for a parameter's name.

    A password that contains an unescaped "?", "@" or "&" is cut there.
    """
    before, _, query = url.partition("?")
    authority = before.partition("://")[2]
    is_cut = "@" in query or (":" in authority and "@" not in authority)
    return not is_cut and not any(name in secret or _CREDENTIAL.search(name) for name in names)


def _syntax(url: str) -> str | None:
    """Explain characters that a URL must not contain."""
    if re.search(r"%(?![0-9a-fA-F]{2})|%00", url):
        return (
            f"the URL {NOT_SHOWN} has a '%' that is not followed by the two hexadecimal digits "
            "of a character; write '%' as %25"
        )
    if url.count("[") != url.count("]"):
        return f"the URL {NOT_SHOWN} has a '[' without a ']'; put an IPv6 address in both"
    if any(character.isspace() for character in url):
        return f"the URL {NOT_SHOWN} contains a space; write it as %20"
    return None


def _pairs(conninfo: str) -> str | None:
    """Explain keywords that libpq does not know, and text without any."""
    if "=" not in conninfo:
        return (
            f"a connection string {NOT_SHOWN} must be a URL that begins with postgresql://, or "
            "key=value pairs such as host=localhost dbname=memory"
        )
    names = re.findall(r"(?:^|\s)(\w+)\s*=", conninfo)
    if unknown := [name for name in names if name in _REMEDIES]:
        return _unknown(unknown, "connection string")
    return None


def _unknown(names: list[str], where: str) -> str:
    listed = ", ".join(
        f"{shown(name)} ({_REMEDIES.get(name, 'correct or remove it')})"
        for name in dict.fromkeys(names)
    )
    return f"libpq does not know a parameter of the {where}: {listed}"
