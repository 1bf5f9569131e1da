"""The address to listen on is checked; this machine is reached without the proxy, and others through it."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from longlive.errors import ConfigError
from longlive.network import check_address, direct_connections, url_host


class Answer(BaseHTTPRequestHandler):
    """Answers every request with the host that was asked for."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a server on 127.0.0.1, which is also good as a proxy: it answers for any host."""
    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_free_address_passes_and_stays_free(host: str) -> None:
    number = free_port()
    check_address(host, number)
    check_address(host, number)


@pytest.mark.parametrize(
    ("host", "number", "words"),
    [
        ("127.0.0.1", 0, "--port is 0, but it must be from 1 to 65535"),
        ("127.0.0.1", 70_000, "--port is 70000, but it must be from 1"),
        ("127.0.0.1", -1, "--port is -1"),
        ("192.0.2.7", 7860, "--host is '192.0.2.7', but this machine cannot listen there"),
        ("no.such.invalid", 7860, "--host is 'no.such.invalid', but this machine cannot"),
        ("", 7860, "--host is ''"),
        ("a b", 7860, "--host is 'a b'"),
        ("x" * 300, 7860, "--host is"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(host: str, number: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_address(host, number)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.0.0.2"])
def test_a_port_that_another_program_has_is_named(port: int, host: str) -> None:
    with pytest.raises(ConfigError, match=f"--port is {port}, but another program.*End it, or choose"):
        check_address(host, port)


def test_hosts_are_written_as_urls_have_them() -> None:
    assert [url_host(host) for host in ("::1", "[::1]", "localhost")] == ["[::1]", "[::1]", "localhost"]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "Http_Proxy"])
@pytest.mark.parametrize("excepted", [{}, {"no_proxy": "example.org"}, {"NO_PROXY": "example.org"}])
def test_this_machine_is_reached_directly_and_others_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, port: int, name: str, excepted: dict[str, str]
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    for variable, value in (excepted | {name: dead}).items():
        monkeypatch.setenv(variable, value)
    before = dict(os.environ)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
    with direct_connections():
        for host in ("127.0.0.1", "localhost"):
            assert httpx.get(f"http://{host}:{port}/").text == "/"
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://hub.invalid/")
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        assert httpx.get("http://hub.invalid/").text == "http://hub.invalid/", "the user's proxy is used"
        assert ("example.org" in os.environ["no_proxy"]) is bool(excepted)
        monkeypatch.setenv(name, dead)
    assert dict(os.environ) == before


def test_an_environment_without_proxies_at_all_is_left_so(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with direct_connections():
        assert os.environ["no_proxy"] == "*" and httpx.get(f"http://127.0.0.1:{port}/").text == "/"


@pytest.mark.parametrize("proxy", ["socks://127.0.0.1:9", "socks4://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_that_the_http_library_cannot_use_does_not_stop_connections_to_this_machine(
    monkeypatch: pytest.MonkeyPatch, port: int, proxy: str
) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    with contextlib.suppress(ImportError), pytest.raises(ValueError, match="scheme"):
        httpx.get(f"http://127.0.0.1:{port}/")
    with direct_connections():
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "/"
    assert dict(os.environ).get("all_proxy") == proxy
