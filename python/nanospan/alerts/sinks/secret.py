"""Settings such as URLs and headers, whose values may contain secrets that must not be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from nanospan.alerts.fields import RuleError
from nanospan.values.messages import shorten

__all__ = ["HIDDEN", "Origin", "Secret", "is_secret_header", "secret_headers", "secret_url"]

Origin = Literal["program", "file", "unchecked file"]

HIDDEN = "***"

_VARIABLE = re.compile(r"\benv:([A-Za-z_][A-Za-z0-9_]*)")
_SECRET_WORDS = ("auth", "cookie", "token", "key", "secret", "password", "signature")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2


class Secret:
    """A string whose value never appears in ``str`` or ``repr``.

    Args:
        template: The value; ``env:NAME`` in it is replaced by that environment variable's value
            whenever ``reveal()`` is called.
        shown: The text that ``str`` and ``repr`` show instead of the value.
    """

    __slots__ = ("_shown", "_template", "variables")

    def __init__(self, template: str, shown: str = HIDDEN) -> None:
        self._template = template
        self._shown = shown
        self.variables = tuple(_VARIABLE.findall(template))

    def reveal(self) -> str:
        """Return the value, with environment variables filled in.

        Raises:
            KeyError: If an environment variable is not set.
        """
        return _VARIABLE.sub(lambda match: os.environ[match[1]], self._template)

    def unset(self) -> list[str]:
        """Return the names of the environment variables in the value that are unset or empty."""
        return [name for name in self.variables if not os.environ.get(name)]

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"<secret {self._shown}>"


def is_secret_header(name: str) -> bool:
    """Return whether a header's name suggests that its value is a credential."""
    return any(word in name.lower() for word in _SECRET_WORDS)


def secret_url(name: str, value: object, origin: Origin) -> Secret:
    """Validate a URL; return a :class:`Secret` that shows only its scheme, host and port.

    The user, path and query are never shown, because they may contain credentials.

    Args:
        name: The setting's name, for error messages.
        value: An ``http`` or ``https`` URL; ``env:NAME`` in it stands for an environment variable.
        origin: Where the setting comes from; if this is ``unchecked file``, environment variables
            may be unset or empty.

    Raises:
        RuleError: (a ``ValueError``) If ``value`` is not an HTTP URL, or an environment variable is
            unset or empty; the message does not reveal the URL.
    """
    if not isinstance(value, str):
        raise RuleError(name, HIDDEN, f"must be a string, got {type(value).__name__}")
    secret = Secret(value)
    unset = secret.unset()
    if unset and origin == "unchecked file":
        return Secret(value, _show_template(value))
    _check_set(name, unset)
    try:
        parts = urlsplit(secret.reveal())
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        is_usable = False
    if not is_usable:
        raise RuleError(
            name, _show_template(value), "must be a URL that starts with http:// or https://"
        )
    rest = "/" + HIDDEN if (parts.path.strip("/") or parts.query) else ""
    return Secret(value, f"{parts.scheme}://{shorten(parts.hostname)}{port}{rest}")


def secret_headers(name: str, value: object, origin: Origin) -> dict[str, Secret]:
    """Validate HTTP headers; return them as a dict whose values are never shown.

    Args:
        name: The setting's name, for error messages.
        value: A mapping of header names to values; ``env:NAME`` in a value stands for an
            environment variable.
        origin: Where the setting comes from. Unless this is ``program``, secrets must be given as
            ``env:NAME``; if it is ``unchecked file``, environment variables may be unset or empty.

    Raises:
        RuleError: (a ``ValueError``) If ``value`` is not such a mapping, an environment variable is
            unset or empty, or a file spells out a header value that may be a secret; the message
            does not reveal the values.
    """
    if not isinstance(value, Mapping):
        expected = f"must be a mapping of strings to strings, got {type(value).__name__}"
        raise RuleError(name, HIDDEN, expected)
    headers = {}
    for header, text in value.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise RuleError(name, header, "must be a valid HTTP header name")
        if not isinstance(text, str):
            expected = f"must be a string, got {type(text).__name__}"
            raise RuleError(f"{name}.{header}", HIDDEN, expected)
        secret = Secret(text)
        if origin != "program" and is_secret_header(header) and not secret.variables:
            advice = 'may be a secret; set an environment variable and write "env:NAME" here'
            raise RuleError(f"{name}.{header}", HIDDEN, advice)
        if origin != "unchecked file":
            _check_set(f"{name}.{header}", secret.unset())
            if not secret.reveal().isprintable():
                raise RuleError(f"{name}.{header}", HIDDEN, "must not contain control characters")
        headers[header] = secret
    return headers


def _check_set(name: str, variables: list[str]) -> None:
    if variables:
        shown = ", ".join(f"env:{variable}" for variable in variables)
        raise RuleError(
            name, shown, f"the environment variable {shorten(variables[0])} is unset or empty"
        )


def _show_template(value: str) -> str:
    """Return the text to show instead of a URL: its ``env:NAME`` placeholders, or ``***``."""
    variables = _VARIABLE.findall(value)
    return shorten(", ".join(f"env:{name}" for name in variables)) or HIDDEN
