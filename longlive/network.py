"""The address that the app listens on, and connections to this machine where the network has a proxy."""

import contextlib
import errno
import importlib.util
import os
import socket
import urllib.request
from collections.abc import Iterator

from longlive.errors import ConfigError, reason_of

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MAX_PORT = 65_535
# What httpx opens a connection to a proxy with; for socks5 it needs the package socksio.
_PROXY_SCHEMES = ("http", "https")
_SOCKS_SCHEMES = ("socks5", "socks5h")


def check_address(host: str, port: int) -> None:
    """Check that a server can listen at an address; nothing listens there afterwards.

    Args:
        host: a name or an address, IPv6 with or without brackets.
        port: from 1 to 65535. Gradio wants it on 127.0.0.1 as well, whatever the host.

    Raises:
        ConfigError: naming ``--host`` or ``--port``, if there is no such address here, or another program has
            the port.
    """
    if not 1 <= port <= MAX_PORT:
        raise ConfigError("--port", port, f"it must be from 1 to {MAX_PORT}", "Try 7860.")
    try:
        found = socket.getaddrinfo(_bare(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, reason_of(error)) from error
    for family, place in {(family, place) for family, *_, place in found}:
        _bind(host, port, family, place)
    _bind("127.0.0.1", port, socket.AF_INET, ("127.0.0.1", port))


def url_host(host: str) -> str:
    """A host as URLs write it: IPv6 addresses in brackets."""
    return f"[{_bare(host)}]" if ":" in host else host


@contextlib.contextmanager
def direct_connections(host: str = "127.0.0.1") -> Iterator[None]:
    """Connect to this machine and to ``host`` without the proxy that the environment names.

    Other hosts are reached through it, as before. A proxy that the HTTP library cannot use at all, with which
    no connection whatever could be opened, is left out as long as the block runs.
    """
    before = {name: os.environ.get(name) for name in os.environ if name.lower().endswith("_proxy")}
    hosts = urllib.request.getproxies_environment().get("no", "")
    direct = dict.fromkeys((*filter(None, (one.strip() for one in hosts.split(","))), *LOOPBACK, _bare(host)))
    for name, value in before.items():
        if name.lower() == "no_proxy" or (value and not _is_usable(value)):
            del os.environ[name]
    added = {} if hosts.strip() == "*" else {name: ",".join(direct) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(added or {"no_proxy": "*"})
    try:
        yield
    finally:
        for name in ("no_proxy", "NO_PROXY"):
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _bind(host: str, port: int, family: int, place: tuple[object, ...]) -> None:
    """Bind a socket as a server would, and close it; ConfigError if that fails."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            rule = f"another program, perhaps another LongLive, listens there on {host}"
            raise ConfigError("--port", port, rule, "End it, or choose another port.") from error
        if error.errno == errno.EACCES:
            rule = "this user may not listen on it"
            raise ConfigError("--port", port, rule, "Choose one from 1024 on.") from error
        raise _no_address(host, reason_of(error)) from error


def _no_address(host: str, why: str) -> ConfigError:
    rule = f"this machine cannot listen there ({why})"
    return ConfigError("--host", host, rule, "Try 127.0.0.1, or 0.0.0.0 for all addresses.")


def _is_usable(proxy: str) -> bool:
    """Whether the HTTP library can connect through a proxy, which may be written without a scheme."""
    scheme, separator, _ = proxy.partition("://")
    has_socks = scheme.lower() in _SOCKS_SCHEMES and importlib.util.find_spec("socksio") is not None
    return not separator or scheme.lower() in _PROXY_SCHEMES or has_socks
