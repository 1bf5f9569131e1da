"""Where a request comes from, for limits per address."""

import ipaddress
from collections.abc import Mapping
from typing import Any

IPV6_HOME = 64  # bits that a household shares; what is behind them it chooses as it likes


def address_of(request: Any, *, behind_proxy: bool = False) -> str:
    """The address that a request counts for; an IPv6 one by its network.

    Nothing that a viewer writes is trusted. Without a proxy that is the address at the other end of the
    connection, and ``X-Forwarded-For`` is not read: anybody can send one.

    Behind a proxy (a Space's, one's own nginx) all connections come from the proxy. Each proxy adds on the
    right of ``X-Forwarded-For`` whom it was called by, so what stands further to the left may be invented.
    Counted is the rightmost address that is not a private one: those are the proxy's own machines. The server
    must then be reachable through the proxy alone, or whoever gets round it may pretend to be anybody.

    Args:
        request: with ``client.host`` and ``headers``, such as gr.Request.
        behind_proxy: whether all viewers come through a proxy.
    """
    peer = request.client.host if request.client else ""
    if behind_proxy:
        for told in reversed(_forwarded(request.headers).split(",")):
            address = _read(told)
            if address is None:
                break  # what stands to the left of what no proxy writes is not to be believed
            if not address.is_private:
                return _network(address)
    address = _read(peer)
    return peer if address is None else _network(address)


def _forwarded(headers: Mapping[str, str]) -> str:
    """All lines of the header as one; Starlette's headers can hold several, a plain mapping has one."""
    lines = headers.getlist("x-forwarded-for") if hasattr(headers, "getlist") else None
    return ",".join(lines) if lines is not None else headers.get("x-forwarded-for", "")


def _read(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, its port left out; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].split("]")[0]
    elif text.count(":") == 1:
        text = text.split(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address), IPV6_HOME), strict=False))
