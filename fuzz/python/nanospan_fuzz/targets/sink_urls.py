"""URLs and headers of sinks, which may contain secrets."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from nanospan.alerts.fields import RuleError
from nanospan.alerts.sinks.secret import Origin, secret_headers, secret_url
from nanospan_fuzz.inputs import SECRET, as_object, check_message

IS_JSON = True
ORIGINS: tuple[Origin, ...] = ("program", "file", "unchecked file")


def target(data: bytes) -> None:
    """Any value gives a RuleError, or a secret; neither reveals a path, query, user or header."""
    given = as_object(data)
    url, headers = given.get("url"), given.get("headers", {})
    for origin in ORIGINS:
        shown = _shown(lambda origin=origin: secret_url("url", url, origin))
        assert SECRET not in shown or _may_be_shown(url), shown
        names = " ".join(headers) if isinstance(headers, dict) else ""
        shown = _shown(lambda origin=origin: secret_headers("headers", headers, origin))
        assert SECRET not in shown or SECRET in names or "env:" in str(headers), shown


def _shown(make: Any) -> str:
    try:
        made = make()
    except RuleError as error:
        check_message(error)
        return str(error)
    return f"{made} {made!r}"


def _may_be_shown(url: object) -> bool:
    """Return whether the mark is in a host's name or in the name of an environment variable."""
    text = str(url)
    try:
        host = urlsplit(text).hostname or ""
    except ValueError:
        host = ""
    return SECRET in host or "env:" in text
