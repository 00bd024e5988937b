"""Tests that hosts which never answer leave the others their share of the time."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hostile_servers as hostile
import pytest
from hostile_servers import HostileServer, stuck_resolver
from pool_checks import LIMIT

from nanospan.pool import (
    ConnectionPoolConfig,
    GlobalConnectionManager,
    PoolExhausted,
    PoolOpenError,
    SyncConnectionManager,
    SyncVectorNullPool,
    SyncVectorPool,
    VectorNullPool,
    VectorPool,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanospan.demo.database import EmbeddedServer

LITTLE = 2.0
"""Seconds of which psycopg, which tries each host for at least 2 s, leaves a second one nothing."""
CONFIG = ConnectionPoolConfig(min_size=0, max_size=1, timeout=LIMIT, connection_timeout=LITTLE)


@contextmanager
def dropping_port() -> Iterator[int]:
    """Yield a port whose system ignores requests to connect, as its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def mute() -> Iterator[HostileServer]:
    """Yield a server that accepts connections and never answers."""
    with HostileServer(hostile.mute) as server:
        yield server


def with_first(url: str, server: EmbeddedServer, port: int, more: str = "") -> str:
    """Return a URL that names another port of this machine before the server's, and more.

    It names the server three times, so that the first host has a small share of the time, and the
    server has another chance if the machine is busy.
    """
    alive = f"127.0.0.1:{server.port}"
    return f"{url.replace(alive, f'127.0.0.1:{port},{alive},{alive},{alive}')}?{more}"


async def shared(url: str, config: ConnectionPoolConfig) -> int:
    """Return the port that an asynchronous lease of a shared pool is connected to."""
    async with GlobalConnectionManager().lease(url, config=config) as connection:
        return connection.info.port


async def shared_sync(url: str, config: ConnectionPoolConfig) -> int:
    """Return the port that a synchronous lease of a shared pool is connected to."""

    def work() -> int:
        with SyncConnectionManager().lease(url, config=config) as connection:
            return connection.info.port

    return await asyncio.to_thread(work)


async def own(kind: type[VectorPool[Any]], url: str, timeout: float, **settings: Any) -> int:
    """Return the port that a lease of a new asynchronous pool is connected to."""
    async with (
        kind(url, min_size=0, max_size=1, **settings) as pool,
        pool.connection(timeout) as connection,
    ):
        return int(connection.info.port)


async def own_sync(
    kind: type[SyncVectorPool[Any]], url: str, timeout: float, **settings: Any
) -> int:
    """Return the port that a lease of a new synchronous pool is connected to."""

    def work() -> int:
        with (
            kind(url, min_size=0, max_size=1, **settings) as pool,
            pool.connection(timeout) as connection,
        ):
            return int(connection.info.port)

    return await asyncio.to_thread(work)


async def test_a_first_host_that_never_answers(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    database: str,
    server: EmbeddedServer,
    mute: HostileServer,
) -> None:
    """Opening a pool and connecting reach the second host, within the `connection_timeout`."""
    url = with_first(database, server, mute.port)
    limit = {"connection_timeout": LITTLE}
    with dropping_port() as port:
        ports = await asyncio.gather(
            shared(url, CONFIG),
            shared_sync(url, CONFIG),
            shared(with_first(database, server, port), CONFIG),
            shared_sync(with_first(database, server, port), CONFIG),
            own(VectorPool, url, LIMIT, **limit),
            own_sync(SyncVectorPool, url, LIMIT, **limit),
            return_exceptions=True,
        )
    assert ports == [server.port] * 6
    await manager.close_all_pools()
    sync_manager.close_all_pools()


async def test_connection_strings_that_say_how_to_choose(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    database: str,
    server: EmbeddedServer,
    mute: HostileServer,
) -> None:
    """Hosts share the time also if a session must have attributes, or a random host is first."""
    read_write, random, prefer_standby, own_limit = (
        with_first(database, server, mute.port, more)
        for more in (
            "target_session_attrs=read-write",
            "load_balance_hosts=random",
            "target_session_attrs=prefer-standby",
            "connect_timeout=2",
        )
    )
    longer = replace(CONFIG, connection_timeout=1.5 * LITTLE)
    *ports, first, second = await asyncio.gather(
        shared(read_write, CONFIG),
        shared_sync(read_write, CONFIG),
        shared(random, CONFIG),
        shared_sync(random, CONFIG),
        shared(prefer_standby, longer),  # which tries each host twice
        shared_sync(prefer_standby, longer),
        manager.get_connection_pool(own_limit, CONFIG),  # whose limit applies to each host
        asyncio.to_thread(sync_manager.get_connection_pool, own_limit, CONFIG),
        return_exceptions=True,
    )
    assert ports == [server.port] * 6
    assert isinstance(first, VectorPool)
    assert isinstance(second, SyncVectorPool)
    await manager.close_all_pools()
    sync_manager.close_all_pools()


async def test_leases_of_null_pools(
    database: str, server: EmbeddedServer, mute: HostileServer
) -> None:
    """In a null pool, the hosts share the time of the lease that waits for the connection."""
    url = with_first(database, server, mute.port)
    own_limit = f"{url}connect_timeout={LIMIT:g}"
    ports = await asyncio.gather(
        own(VectorNullPool, url, LITTLE),
        own_sync(SyncVectorNullPool, url, LITTLE),
        own(VectorNullPool, own_limit, LITTLE),
        own_sync(SyncVectorNullPool, own_limit, LITTLE),
        return_exceptions=True,
    )
    assert ports == [server.port] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
async def test_a_name_with_several_addresses(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    database: str,
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The addresses of one name share the time as hosts do."""
    resolve = socket.getaddrinfo

    def resolve_all(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "database.test":
            return resolve(host, *args, **kwargs)
        every = ("127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")
        return [each for address in every for each in resolve(address, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_all)
    url = database.replace("127.0.0.1", "database.test")
    with HostileServer(hostile.mute, ("127.0.0.2", server.port)):
        ports = await asyncio.gather(
            shared(url, CONFIG), shared_sync(url, CONFIG), return_exceptions=True
        )
    assert ports == [server.port] * 2
    await manager.close_all_pools()
    sync_manager.close_all_pools()


async def test_a_name_that_is_not_resolved(
    manager: GlobalConnectionManager,
    sync_manager: SyncConnectionManager,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look-up that hangs ends each way to connect at its time limit, and says so."""
    with stuck_resolver("database.test", socket.getaddrinfo) as getaddrinfo:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        url = database.replace("127.0.0.1", "database.test")
        config = ConnectionPoolConfig(min_size=0, connection_timeout=0.2)
        *opening, null, null_sync = await asyncio.gather(
            shared(url, config),
            shared_sync(url, config),
            own(VectorNullPool, url, 0.2),
            own_sync(SyncVectorNullPool, url, 0.2),
            return_exceptions=True,
        )
    for error in opening:
        assert isinstance(error, PoolOpenError)
        assert "failed to resolve host 'database.test': no answer within 0.2 s" in str(error)
    assert isinstance(null, PoolOpenError | PoolExhausted)
    assert isinstance(null_sync, PoolOpenError | PoolExhausted)
