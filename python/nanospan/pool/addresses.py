"""Look up the names of a connection string's hosts, within a time limit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ipaddress
import os
import socket
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from nanospan.reentrant import start_thread
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from nanospan.pool.conninfo import Target

__all__ = ["Addresses", "find_addresses", "find_addresses_async"]


class Addresses(NamedTuple):
    """Where psycopg tries to connect.

    Attributes:
        tries: How many times it tries, if no host accepts the connection.
        parameters: The parameters ``host``, ``hostaddr`` and ``port`` to connect with, which
            contain an entry for each address of each name; empty if no name was looked up.
    """

    tries: int
    parameters: dict[str, str]


class _Place(NamedTuple):
    host: str
    address: str
    port: str


def find_addresses(target: Target, seconds: float) -> Addresses:
    """Look up the names of the target's hosts; see ``find_addresses_async``."""
    search = _Search(target)
    if search.lookups:
        concurrent.futures.wait(search.lookups, search.limit(seconds))
    return search.result()


async def find_addresses_async(target: Target, seconds: float) -> Addresses:
    """Look up the names of the target's hosts, all at once, without blocking the event loop.

    psycopg would look them up without a time limit, in the event loop's threads, and would not say
    how many addresses it found. A look-up cannot be interrupted. One that takes too long goes on in
    its thread, and the next connection to that name waits for it instead of beginning another.

    Args:
        target: The parsed connection string.
        seconds: Time limit. If there are several names, half of it is left for connecting to those
            that were found.

    Raises:
        psycopg.OperationalError: If no name has an address, or none was found in time.
    """
    search = _Search(target)
    if search.lookups:
        waits = [asyncio.wrap_future(lookup) for lookup in search.lookups]
        try:
            await asyncio.wait(waits, timeout=search.limit(seconds))
        finally:
            for wait in waits:
                # Retrieve the exception, so that asyncio does not log it.
                if not wait.cancel() and not wait.cancelled():
                    wait.exception()
    return search.result()


class _Search:
    """The look-ups of one target's names."""

    def __init__(self, target: Target) -> None:
        self._places = _places(target)
        standby = target.effective.get("target_session_attrs") == "prefer-standby"
        self._rounds = 2 if standby else 1  # psycopg tries all as standbys first
        self.lookups = [_look_up(each) for each in self._places if _is_name(each)]
        self._seconds = 0.0

    def limit(self, seconds: float) -> float:
        """Return how long to wait for the look-ups, of ``seconds`` for the whole connection."""
        self._seconds = seconds if len(self.lookups) == 1 else seconds / 2
        return self._seconds

    def result(self) -> Addresses:
        """Return the addresses found so far."""
        if not self.lookups:
            return Addresses(max(len(self._places), 1) * self._rounds, {})
        found: list[_Place] = []
        problem = ""
        lookups = iter(self.lookups)
        for place in self._places:
            if not _is_name(place):
                found.append(place)
                continue
            lookup = next(lookups)
            error = lookup.exception() if lookup.done() else None
            if lookup.done() and error is None:
                found += [place._replace(address=address) for address in lookup.result()]
                continue
            # Python cannot encode names with empty or long parts.
            if error is not None and not isinstance(error, (OSError, UnicodeError)):
                raise type(error)(*error.args)  # a copy, as several callers may raise it
            reason = f"no answer within {self._seconds:.3g} s" if error is None else error
            problem = f"failed to resolve host {shown(place.host)}: {reason}"
        if not found:
            raise psycopg.OperationalError(problem)
        hosts, addresses, ports = (",".join(values) for values in zip(*found, strict=True))
        parameters = {"host": hosts, "hostaddr": addresses, "port": ports}
        return Addresses(len(found) * self._rounds, parameters)


def _places(target: Target) -> list[_Place]:
    """Return the target's hosts; none if only libpq knows them, or will refuse them."""
    values = target.effective
    hosts, addresses, ports = (
        values[name].split(",") if values.get(name) else [] for name in ("host", "hostaddr", "port")
    )
    count = max(len(hosts), len(addresses))
    mismatch = (hosts and addresses and len(hosts) != len(addresses)) or 1 < len(ports) != count
    if "service" in target.params or mismatch:
        return []
    hosts, addresses = hosts or [""] * count, addresses or [""] * count
    ports = ports if len(ports) == count else (ports or [""]) * count
    return [_Place(*values) for values in zip(hosts, addresses, ports, strict=True)]


def _is_name(place: _Place) -> bool:
    """Return True if psycopg would look the host up, rather than a path or an address."""
    host = place.host
    if place.address or not host or host.startswith("/") or host[1:2] == ":":
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


_lookups: dict[tuple[str, str], Future[list[str]]] = {}
"""The look-ups in progress, by host and port."""
os.register_at_fork(after_in_child=_lookups.clear)  # their threads stay with the parent


def _look_up(place: _Place) -> Future[list[str]]:
    """Join the look-up of a host's addresses that is in progress, or begin one."""
    key = (place.host, place.port)
    if (lookup := _lookups.get(key)) is not None:
        return lookup
    ours: Future[list[str]] = Future()
    ours.set_running_or_notify_cancel()  # otherwise, a caller that is cancelled would cancel it
    thread = threading.Thread(
        target=_join_or_ask, args=(key, ours), name="nanospan-resolver", daemon=True
    )
    try:
        start_thread(thread)
    except RuntimeError:  # the interpreter is ending, or there are too many threads
        _ask_resolver(key, ours)
    return ours


def _join_or_ask(key: tuple[str, str], ours: Future[list[str]]) -> None:
    """Look a host's addresses up, unless another thread does so already.

    This thread registers the look-up. If the one that starts it did so, a signal handler that
    interrupts that one would wait for a look-up that cannot begin.
    """
    lookup = _lookups.setdefault(key, ours)
    if lookup is not ours:
        lookup.add_done_callback(partial(_copy, ours))
        return
    try:
        _ask_resolver(key, ours)
    finally:
        _lookups.pop(key, None)


def _ask_resolver(key: tuple[str, str], lookup: Future[list[str]]) -> None:
    try:
        found = socket.getaddrinfo(*key, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
    except BaseException as exc:  # noqa: BLE001 - raised where the result is needed
        lookup.set_exception(exc)
    else:
        lookup.set_result([str(item[4][0]) for item in found])


def _copy(ours: Future[list[str]], lookup: Future[list[str]]) -> None:
    if (error := lookup.exception()) is not None:
        ours.set_exception(error)
    else:
        ours.set_result(lookup.result())
