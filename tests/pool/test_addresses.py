"""Tests of how the names of a connection string's hosts are looked up."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import Any

import psycopg
import pytest
from hostile_servers import stuck_resolver
from pool_checks import settles_here

from nanospan.pool.addresses import Addresses, find_addresses, find_addresses_async
from nanospan.pool.conninfo import Target

LIMIT = 60.0
SHORT = 5.0
"""Seconds within which a look-up ends, unless it waits for another that has not begun."""
KNOWN = {"one.test": ["10.0.0.1"], "two.test": ["10.0.0.2", "::2"]}


def resolve(host: Any, port: Any, **_: Any) -> list[Any]:
    """Know two names."""
    if ".." in host:
        host.encode("idna")
    if host not in KNOWN:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(0, 0, 0, "", (address, int(port))) for address in KNOWN[host]]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the resolver."""
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def find(conninfo: str, seconds: float = LIMIT) -> Addresses:
    """Look up a connection string's names in both ways, which find the same."""
    target = Target.parse(conninfo)
    found = find_addresses(target, seconds)
    assert asyncio.run(find_addresses_async(target, seconds)) == found
    return found


@pytest.mark.parametrize(
    ("conninfo", "tries"),
    [
        ("dbname=d", 1),
        ("host=/tmp", 1),
        ("host=10.0.0.1,::1,/tmp", 3),
        ("host=one.test,two.test hostaddr=10.0.0.1,10.0.0.2", 2),
        ("hostaddr=10.0.0.1,10.0.0.2", 2),
        ("host=10.0.0.1 target_session_attrs=prefer-standby", 2),
        ("service=s host=one.test", 1),
        ("host=one.test,two.test port=1,2,3", 1),  # libpq refuses this
    ],
)
def test_nothing_to_look_up(conninfo: str, tries: int) -> None:
    """Addresses, paths and what only libpq knows are left as they are."""
    assert find(conninfo) == Addresses(tries, {})


def test_names_with_several_addresses() -> None:
    """Each address of each name is a place to try, with its host's name and port."""
    assert find("host=two.test,/tmp,one.test port=1,2,3") == Addresses(
        4,
        {
            "host": "two.test,two.test,/tmp,one.test",
            "hostaddr": "10.0.0.2,::2,,10.0.0.1",
            "port": "1,1,2,3",
        },
    )
    assert find("host=two.test target_session_attrs=prefer-standby").tries == 4


def test_psycopg_makes_these_attempts() -> None:
    """Every place that was found is an attempt of psycopg, which looks no name up again."""
    found = find("host=two.test,/tmp,one.test port=1,2,3")
    attempts = psycopg._conninfo_attempts.conninfo_attempts(found.parameters)
    places = [(each["host"], each["hostaddr"], each["port"]) for each in attempts]
    assert places == [
        ("two.test", "10.0.0.2", "1"),
        ("two.test", "::2", "1"),
        ("/tmp", "", "2"),
        ("one.test", "10.0.0.1", "3"),
    ]


def test_unknown_names() -> None:
    """An unknown name is passed over; if no host is left, the error names it."""
    assert find("host=no.test,one.test").parameters["hostaddr"] == "10.0.0.1"
    with pytest.raises(psycopg.OperationalError, match=r"resolve host 'no\.test': .*not known"):
        find("host=no.test")
    assert find("host=no..test,one.test").parameters["hostaddr"] == "10.0.0.1"
    with pytest.raises(psycopg.OperationalError, match=r"resolve host 'no\.\.test': .*label"):
        find("host=no..test")


def test_a_look_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that hangs costs its time limit and one thread; known hosts are tried."""
    before = threading.active_count()
    with stuck_resolver("stuck.test", resolve) as getaddrinfo:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert find("host=stuck.test,one.test", 0.1).parameters["hostaddr"] == "10.0.0.1"
        message = r"resolve host 'stuck\.test': no answer within 0\.05 s"
        with pytest.raises(psycopg.OperationalError, match=message):
            find("host=stuck.test,stuck.test", 0.1)
        assert settles_here(lambda: threading.active_count() == before + 1)
    with pytest.raises(psycopg.OperationalError, match="Temporary failure"):
        find("host=stuck.test")


def test_a_handler_that_interrupts_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler amid the start of a look-up finds the same, and may end it by an error."""
    target, start = Target.parse("host=one.test"), threading.Thread.start
    found: list[Addresses] = []

    def start_late(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        found.append(find_addresses(target, SHORT))
        start(thread)

    def give_up(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", start_late)
    found.append(find_addresses(target, LIMIT))
    monkeypatch.setattr(threading.Thread, "start", give_up)
    with pytest.raises(KeyboardInterrupt):
        find_addresses(target, LIMIT)
    monkeypatch.setattr(threading.Thread, "start", start)
    found.append(find_addresses(target, SHORT))
    assert [each.parameters["hostaddr"] for each in found] == ["10.0.0.1"] * 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_during_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child does not wait for a look-up that was in progress in its parent."""
    with stuck_resolver("stuck.test", resolve) as getaddrinfo:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        target = Target.parse("host=stuck.test,one.test")
        find_addresses(target, 0.02)
        monkeypatch.setitem(KNOWN, "stuck.test", ["10.0.0.3"])
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                found = find_addresses(target, LIMIT).parameters["hostaddr"]
                status = 0 if found == "10.0.0.3,10.0.0.1" else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
