"""A TCP proxy that simulates a slow, silent or broken network."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

CHUNK = 65536


class SlowProxy:
    """Forwards connections to a local port, in a separate thread; used as a context manager.

    Args:
        port: The port to forward connections to.
        round_trip: Delay to add to each round trip, in seconds.
        listen: The address and port to listen on; port 0 for any.

    Attributes:
        port: The port that the proxy listens on.
    """

    def __init__(
        self, port: int, round_trip: float = 0.0, listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.port = 0
        self._listen = listen
        self._target = port
        self._one_way = round_trip / 2
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the proxy did not start listening")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)

    def move(self, port: int) -> None:
        """Forward new connections to another port; those that are open stay where they are."""
        self._target = port

    def silence(self) -> None:
        """Keep accepting connections, but hold back all data until ``resume()`` is called."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """Forward the data held back by ``silence()`` and everything after it."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut(self) -> None:
        """Abort every connection, and wait until all have ended."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def _cut(self) -> None:
        writers = list(self._writers)
        for writer in writers:
            writer.transport.abort()
        for writer in writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        listener = await asyncio.start_server(self._accept, *self._listen, backlog=1024)
        self.port = listener.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        listener.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._target)
            ends.add(ours)
            self._writers |= ends
            await asyncio.gather(self._forward(reader, ours), self._forward(theirs, writer))
        except OSError:
            pass  # the target port is closed; the client sees its connection end
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward each chunk of data, and then the end of the stream, after the delay."""
        arrived: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def receive() -> None:
            data = b"?"
            while data:
                try:
                    data = await reader.read(CHUNK)
                except OSError:
                    data = b""
                arrived.put_nowait((self._loop.time() + self._one_way, data))

        receiving = asyncio.ensure_future(receive())
        try:
            while True:
                due, data = await arrived.get()
                await asyncio.sleep(max(due - self._loop.time(), 0))
                await self._flowing.wait()
                if not data:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                with suppress(OSError):
                    writer.write(data)
                    await writer.drain()
        finally:
            receiving.cancel()
