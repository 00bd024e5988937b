"""Helpers that control a headless browser and collect its requests and console messages."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from servers import STARTING, STOPPING
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Page:
    """A browser page controlled through Chromium's DevTools protocol.

    Attributes:
        requests: The URLs that the page has requested.
        complaints: Console messages, uncaught exceptions and blocked requests.
    """

    def __init__(self, socket: Any) -> None:
        """Subscribe to the browser's events."""
        self._socket = socket
        self._numbers = itertools.count(1)
        self._seen: list[str] = []
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a DevTools protocol method and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._message()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def open(self, url: str) -> None:
        """Open ``url`` and wait until it has loaded, discarding the events of earlier pages."""
        self._seen.clear()
        self.requests.clear()
        self.complaints.clear()
        self.command("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._seen:
            self._message()

    def value(self, expression: str) -> Any:
        """Evaluate a JavaScript expression in the page and return its value."""
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def _message(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv(timeout=STARTING))
        method, parameters = message.get("method"), message.get("params", {})
        self._seen.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.complaints.append(json.dumps(parameters))
        return message


@contextlib.contextmanager
def browsing(chromium: str, folder: Path) -> Iterator[Page]:
    """Run Chromium, with its profile in ``folder``, until the block ends; yield a page."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",  # Chromium's sandbox does not work as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder / 'profile'}",
        "about:blank",
    ]
    log = folder / "chromium.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTING
        while not (found := re.search(r"ws://([\d.:]+)/", log.read_text(errors="replace"))):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://{found[1]}/json/list", timeout=STARTING) as answer:
            (target,) = [each for each in json.load(answer) if each["type"] == "page"]
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
