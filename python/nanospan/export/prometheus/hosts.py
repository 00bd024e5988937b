"""Check which host a request is for, so that web pages cannot read a server on this machine.

A web page may make its own name resolve to 127.0.0.1 ("DNS rebinding"). The browser then lets the
page read what a server on the loopback interface answers, but still sends the page's name as
``Host``. A server that answers only to names it knows is therefore safe from such pages.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_AUTHORITY = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII
)
"""Matches a host with an optional port; see RFC 3986, section 3.2."""


class AllowedHosts:
    """The names that a server answers to.

    A server that listens on a loopback address answers to ``localhost``, to loopback addresses, to
    the name that it was told to listen on, and to the names in ``allow_hosts``. A server that
    listens on another address is meant to be reached by names it cannot know, so it answers to all
    names unless ``allow_hosts`` are given. Ports are not compared.

    Args:
        host: The name or address that the server was told to listen on.
        address: The IP address that it listens on.
        allow_hosts: Further names or addresses, without ports.

    Raises:
        TypeError: If ``allow_hosts`` is a single str rather than several.
        ValueError: If one of ``allow_hosts`` is not a host name or address.
    """

    def __init__(self, host: str, address: str, allow_hosts: Iterable[str] = ()) -> None:
        if isinstance(allow_hosts, str):
            raise TypeError(
                "allow_hosts must be an iterable of host names, got a str; "
                f"write [{shown(allow_hosts)}]"
            )
        allowed = [_checked(each) for each in allow_hosts]
        self._checks = bool(allowed) or _is_loopback(address)
        self._names = {*allowed, host.strip("[]").rstrip(".").lower()} - {""}

    def check(
        self, authority: str | None, hosts: Sequence[str], version: str
    ) -> tuple[str, str] | None:
        """Check a request's host.

        Args:
            authority: The authority of a request target in absolute form, which takes precedence
                over ``Host`` (RFC 9112, section 3.2.2), or None for another form.
            hosts: The values of the request's ``Host`` headers.
            version: The request's HTTP version, such as ``HTTP/1.1``. Before 1.1, ``Host`` may be
                missing; browsers always send it.

        Returns:
            None if the server should answer; otherwise the status line and text of the response.
        """
        given = [*hosts] if authority is None else [authority, *hosts]
        if len(hosts) > 1 or (not hosts and version >= "HTTP/1.1"):
            return _BAD_REQUEST, f"A request must have one Host header, got {len(hosts)}.\n"
        names = [_host_of(each) for each in given]
        if None in names:
            return _BAD_REQUEST, "The Host header must be a host name with an optional port.\n"
        if not names or not self._checks:
            return None
        name = names[0] or ""
        if name in self._names or name == "localhost" or _is_loopback(name):
            return None
        return _MISDIRECTED, (
            f"This server does not answer to the host name {shown(name)}, only to localhost, "
            "loopback addresses and the names that it was told to allow. To allow this name, use "
            f"--allow-host {shorten(name)} or allow_hosts=[{shown(name)}].\n"
        )


_BAD_REQUEST = "400 Bad Request"
_MISDIRECTED = "421 Misdirected Request"


def split_target(target: str) -> tuple[str | None, str]:
    """Return the authority and path of a request target (RFC 9112, section 3.2).

    Only a target in absolute form, such as ``http://localhost:9464/metrics``, has an authority.
    """
    authority = None
    if absolute := re.match(r"https?://([^/?#]*)", target, re.IGNORECASE):
        authority, target = absolute[1], target[absolute.end() :]
    return authority, re.split("[?#]", target, maxsplit=1)[0]


def _host_of(authority: str) -> str | None:
    """Return the lower-case host of an authority without brackets or port, or None if invalid."""
    found = _AUTHORITY.fullmatch(authority.strip(" \t"))
    return None if found is None else found["host"].strip("[]").rstrip(".").lower()


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _checked(name: str) -> str:
    """Return a name to allow as :func:`_host_of` would return it."""
    given = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    host = _host_of(given)
    if not host or "*" in host or ":" in given.rpartition("]")[2]:
        raise ValueError(
            "allow_hosts must contain host names or addresses, without scheme, port, path and "
            f"wildcard, such as 'metrics.internal', got {shown(name)}"
        )
    return host
