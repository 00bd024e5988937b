"""Settings that may contain secrets, such as URLs and headers, and that are never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from nanospan.alerts.fields import RuleError

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
    """Check a URL; return it as a secret that shows only the scheme, host and port.

    Its user, path and query are never shown, because they may grant access.

    Args:
        name: The setting's name, for error messages.
        value: An ``http`` or ``https`` URL; ``env:NAME`` in it stands for an environment variable.
        origin: Where the setting comes from.

    Raises:
        RuleError: (a ``ValueError``) If ``value`` is not such a URL, or one of its variables is not
            set; the message does not reveal the URL.
    """
    if not isinstance(value, str):
        raise RuleError(name, HIDDEN, "must be a string")
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
        raise RuleError(name, _show_template(value), "must be a URL with http:// or https://")
    rest = "/" + HIDDEN if (parts.path.strip("/") or parts.query) else ""
    return Secret(value, f"{parts.scheme}://{parts.hostname}{port}{rest}")


def secret_headers(name: str, value: object, origin: Origin) -> dict[str, Secret]:
    """Check HTTP headers; return them with values that are never shown.

    Args:
        name: The setting's name, for error messages.
        value: Maps header names to values; ``env:NAME`` in a value stands for an environment
            variable.
        origin: Where the setting comes from; in a file, secrets must be given as ``env:NAME``.

    Raises:
        RuleError: (a ``ValueError``) If ``value`` is not such a mapping, a variable is not set, or
            a file contains what may be a secret; the message does not reveal the values.
    """
    if not isinstance(value, Mapping):
        raise RuleError(name, HIDDEN, "must be a table of strings")
    headers = {}
    for header, text in value.items():
        if not isinstance(header, str) or not _HEADER_NAME.fullmatch(header):
            raise RuleError(name, header, "must be a valid name of an HTTP header")
        if not isinstance(text, str):
            raise RuleError(f"{name}.{header}", HIDDEN, "must be a string")
        secret = Secret(text)
        if origin != "program" and is_secret_header(header) and not secret.variables:
            advice = 'may be a secret: put it into the environment and write "env:NAME" here'
            raise RuleError(f"{name}.{header}", HIDDEN, advice)
        if origin != "unchecked file":
            _check_set(f"{name}.{header}", secret.unset())
            if not secret.reveal().isprintable():
                raise RuleError(f"{name}.{header}", HIDDEN, "contains a control character")
        headers[header] = secret
    return headers


def _check_set(name: str, variables: list[str]) -> None:
    if variables:
        shown = ", ".join(f"env:{variable}" for variable in variables)
        raise RuleError(name, shown, "the environment variable is not set")


def _show_template(value: str) -> str:
    """Return a text to show in place of an unusable URL: only the names of its variables."""
    variables = _VARIABLE.findall(value)
    return ", ".join(f"env:{name}" for name in variables) or HIDDEN
