"""Tests for which host names the metrics server answers to."""

from __future__ import annotations

import http.client
import socket

import pytest

from nanospan.export.prometheus import Exposition, start_http_server
from nanospan.export.prometheus.hosts import AllowedHosts, split_target


@pytest.fixture(scope="module")
def server():
    with start_http_server(0, source=Exposition(), allow_hosts=["metrics.internal"]) as server:
        yield server


def _status(server, request):
    """Send the lines of a request to a server; return the status and the body of the response."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall("".join(f"{line}\r\n" for line in (*request, "")).encode("latin-1"))
        answer = http.client.HTTPResponse(client, method=request[0].split()[0])
        answer.begin()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /metrics HTTP/1.1", "Host: localhost:9464"], 200),
        (["GET /metrics HTTP/1.1", "Host: LOCALHOST."], 200),
        (["GET /metrics HTTP/1.1", "Host: 127.0.0.1"], 200),
        (["GET /metrics HTTP/1.1", "Host: 127.9.8.7:80"], 200),
        (["GET /metrics HTTP/1.1", "Host: [::1]:9464"], 200),
        (["GET /metrics HTTP/1.1", "Host: [::ffff:127.0.0.1]"], 200),
        (["GET /metrics HTTP/1.1", "Host: metrics.internal:443"], 200),
        (["GET /metrics HTTP/1.1", "Host: evil.example:9464"], 421),
        (["GET /metrics HTTP/1.1", "Host: localhost.evil.example"], 421),
        (["GET /metrics HTTP/1.1", "Host: 127.0.0.1.evil.example"], 421),
        (["GET /metrics HTTP/1.1", "Host: 192.0.2.1"], 421),
        (["GET /metrics HTTP/1.1", "Host: [2001:db8::1]"], 421),
        (["GET /metrics HTTP/1.1", "Host:"], 421),
        (["GET / HTTP/1.1", "Host: evil.example"], 421),
        (["GET /other HTTP/1.1", "Host: evil.example"], 421),
        (["POST /metrics HTTP/1.1", "Host: evil.example"], 421),
        (["HEAD /metrics HTTP/1.1", "Host: evil.example"], 421),
        (["GET /metrics HTTP/1.0"], 200),
        (["GET /metrics HTTP/1.0", "Host: evil.example"], 421),
        (["GET /metrics HTTP/1.1"], 400),
        (["GET /metrics HTTP/1.1", "Host: localhost", "Host: localhost"], 400),
        (["GET /metrics HTTP/1.1", "Host: user@localhost"], 400),
        (["GET /metrics HTTP/1.1", "Host: localhost:x"], 400),
        (["GET /metrics HTTP/1.1", "Host: a b"], 400),
        (["GET http://localhost:1/metrics HTTP/1.1", "Host: evil.example"], 200),
        (["GET http://evil.example/metrics HTTP/1.1", "Host: localhost"], 421),
        (["GET HTTP://metrics.internal HTTP/1.1", "Host: localhost"], 200),
        (["GET http://evil.example/metrics HTTP/1.0"], 421),
        (["GET http://localhost/metrics HTTP/1.1"], 400),
        (["GET http://localhost/other HTTP/1.1", "Host: localhost"], 404),
    ],
)
def test_only_known_hosts_are_answered(server, lines, status):
    """A server on a loopback address answers loopback names and allowed ones, others get a 421."""
    found, body = _status(server, lines)
    assert found == status
    assert ("nanospan_build_info" in body) is (status == 200)


def test_the_refusal_says_what_to_do(server):
    """The 421 response names the host and the settings that allow it."""
    _, body = _status(server, ["GET /metrics HTTP/1.1", "Host: grafana.example:80"])
    assert body == (
        "This server does not answer to the host name 'grafana.example', only to localhost, "
        "loopback addresses and the names that it was told to allow. To allow this name, use "
        "--allow-host grafana.example or allow_hosts=['grafana.example'].\n"
    )


@pytest.mark.parametrize(
    ("host", "address", "allow_hosts", "name", "is_answered"),
    [
        ("127.0.0.1", "127.0.0.1", (), "example.org", False),
        ("::1", "::1", (), "example.org", False),
        ("myhost", "127.0.1.1", (), "MyHost:9464", True),
        ("127.0.0.1", "127.0.0.1", ["[2001:DB8::1]"], "[2001:db8::1]:9", True),
        ("127.0.0.1", "127.0.0.1", ["2001:db8::1", "a.B."], "A.b", True),
        ("0.0.0.0", "0.0.0.0", (), "example.org", True),
        ("192.0.2.1", "192.0.2.1", (), "example.org", True),
        ("0.0.0.0", "0.0.0.0", ["metrics.internal"], "example.org", False),
        ("0.0.0.0", "0.0.0.0", ["metrics.internal"], "metrics.internal", True),
        ("0.0.0.0", "0.0.0.0", ["metrics.internal"], "localhost", True),
        ("192.0.2.1", "192.0.2.1", ["metrics.internal"], "192.0.2.1:9464", True),
        ("", "0.0.0.0", ["metrics.internal"], "", False),
    ],
)
def test_other_addresses_are_checked_on_request(host, address, allow_hosts, name, is_answered):
    """Loopback addresses are always checked, others only if names to allow are given."""
    refusal = AllowedHosts(host, address, allow_hosts).check(None, [name], "HTTP/1.1")
    assert (refusal is None) is is_answered


@pytest.mark.parametrize(
    "name", ["http://a", "a:80", "a/b", "", "[::1]:80", "a b", "user@a", "*", "süß"]
)
def test_a_wrong_name_to_allow_is_rejected(name):
    """The error says how names to allow are written, before the port is taken."""
    with pytest.raises(ValueError, match="without scheme, port, path and wildcard"):
        start_http_server(0, allow_hosts=[name])


def test_a_single_string_is_rejected():
    """A str in place of several names is a TypeError that says what to write."""
    with pytest.raises(TypeError, match=r"got a str; write \['a\.b'\]"):
        start_http_server(0, allow_hosts="a.b")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/metrics?a=http://b/", (None, "/metrics")),
        ("http://a:1/b?c#d", ("a:1", "/b")),
        ("http://a?b", ("a", "")),
        ("https://", ("", "")),
        ("*", (None, "*")),
    ],
)
def test_a_request_target_is_split(target, expected):
    """A request target is split into authority and path, without query and fragment."""
    assert split_target(target) == expected
