"""Tests for requests to nanospan's HTTP metrics server that are unusual, invalid or slow."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
from servers import fetch

from nanospan.export.prometheus import Exposition, start_http_server
from nanospan.export.prometheus import server as server_module

HOST = b"Host: localhost\r\n"


@pytest.fixture
def server(monitor):
    monitor.record_metric("op", 0.1)
    with start_http_server(0, source=Exposition(monitor)) as server:
        yield server


def exchange(server, *sent, ends=True):
    """Send bytes, and return all that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        with contextlib.suppress(ConnectionError):  # an answer may come before the end
            for part in sent:
                client.sendall(part)
            if ends:
                client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\xff\x00 garbage here\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"400 Bad Request"),  # TLS
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics\r\n", b"400 Bad Request"),  # HTTP/0.9
        (b"GET /metrics HTTP/one\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1 x\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics x HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505 HTTP Version Not Supported"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414 "),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431 "),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n", b"431 "),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400 Bad Request"),  # no Host
        (b"GET /metrics HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"400 Bad Request"),
        (b"GET http://localhost/x HTTP/1.1\r\n" + HOST + b"\r\n", b"404 Not Found"),
        (b"GET http://[/metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"400 Bad Request"),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"404 Not Found"),
        (b"TRACE /metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"405 Method Not Allowed"),
        (b"get /metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"405 Method Not Allowed"),
        (b"\xe9 /metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"405 Method Not Allowed"),
        (b"GET http://localhost/metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"200 OK"),
        (b"\r\nGET /metrics HTTP/1.1\r\n" + HOST + b"\r\n", b"200 OK"),
        (b"GET /metrics HTTP/1.0\n\n", b"200 OK"),
    ],
)
def test_every_request_has_a_clear_answer(server, request_, status, caplog, capfd):
    """Each answer has a status line and a length; refusals are short plain text; nothing is logged.

    The server goes on.
    """
    head, _, body = exchange(server, request_).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.0 " + status)
    assert f"Content-Length: {len(body)}".encode() in lines
    assert (b"Allow: GET, HEAD" in lines) == status.startswith(b"405")
    if status != b"200 OK":
        assert b"Content-Type: text/plain; charset=utf-8" in lines
        assert len(body.decode()) < 500
        assert body.endswith(b"\n")
    assert fetch(server.url)[0] == 200
    assert (caplog.records, capfd.readouterr().err) == ([], "")


def test_one_request_is_answered_per_connection(server):
    """Of pipelined requests, the first is answered, and then the connection is closed."""
    request = b"HEAD /metrics HTTP/1.1\r\n" + HOST + b"\r\n"
    assert exchange(server, request * 3).count(b"HTTP/1.0 200 OK") == 1


def test_an_answer_arrives_although_a_body_is_being_sent(server):
    """A client that sends a body is answered before it has sent all, and can read the answer."""
    head = b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999\r\n" + HOST + b"\r\n"
    assert b"405 Method Not Allowed" in exchange(server, head, *[bytes(65_536)] * 8, ends=False)


def test_a_request_that_is_late_is_a_408(server, monkeypatch):
    """A request that is not complete when its time is up gets a 408, a silent client no answer."""
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT", 0.3)
    assert exchange(server, ends=False) == b""
    for start in (b"G", b"GET /metrics HTTP/1.1\r\nHost: local"):
        assert exchange(server, start, ends=False).startswith(b"HTTP/1.0 408 Request Timeout\r\n")


def test_no_thread_outlives_its_request(server, monkeypatch):
    """The threads of slow, silent and refused clients end without the clients' help."""
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT", 0.2)
    before = set(threading.enumerate())
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"GET", b"GET /metrics HTTP/1.1\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n"):
            address = ("127.0.0.1", server.port)
            stack.enter_context(socket.create_connection(address)).sendall(sent)
        assert fetch(server.url)[0] == 200
        deadline = time.monotonic() + 60
        while left := set(threading.enumerate()) - before:
            assert time.monotonic() < deadline, left
            time.sleep(0.01)
