"""The address that a request counts for, for limits per address."""

import ipaddress
import os
from typing import Any

PRIVATE = "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,fc00::/7"
IPV6_PREFIX = 64  # bits that one household shares; it chooses the rest freely


def address_of(request: Any) -> str:
    """The address that a request counts for; of an IPv6 address, its /64 network.

    ``request.client.host`` is set by the server (uvicorn) to the peer of the connection. Only if that peer
    is a trusted proxy (``FORWARDED_ALLOW_IPS`` in the environment, by default this machine; see
    ``trust_proxies``) does uvicorn read ``X-Forwarded-For``. Each proxy appends the address that called it,
    so the rightmost one that is not a trusted proxy counts. A client can invent everything to the left of
    it.

    Args:
        request: with ``client.host``, such as gr.Request.

    Returns:
        the address; the peer's name unchanged if it is not an IP address; empty if it is unknown.
    """
    peer = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))


def trust_proxies() -> None:
    """Trust private addresses as proxies on a Space, where every request comes through the host's proxies.

    ``FORWARDED_ALLOW_IPS=*`` would be wrong: uvicorn then takes the leftmost address, which a client can
    invent. A value that is already set stays.
    """
    if os.environ.get("SYSTEM") == "spaces":
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE)
