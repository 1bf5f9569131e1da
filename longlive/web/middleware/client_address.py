"""Where a request comes from, for limits per address."""

import ipaddress
import os
from typing import Any

PRIVATE = "127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,fc00::/7"
IPV6_HOME = 64  # bits that a household shares; what is behind them it chooses as it likes


def address_of(request: Any) -> str:
    """The address that a request counts for; an IPv6 one by its network.

    Nothing that a viewer writes is trusted. The server (uvicorn) tells who is at the other end of the
    connection. Only if that is a proxy whose word counts (``FORWARDED_ALLOW_IPS`` in the environment; this
    machine, if nothing is said; see ``trust_proxies`` for Spaces), it reads ``X-Forwarded-For``: each proxy
    adds on the right whom it was called by, so the rightmost address that is no such proxy counts. What
    stands further to the left may be invented.

    Args:
        request: with ``client.host``, such as gr.Request.
    """
    peer = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address), IPV6_HOME), strict=False))


def trust_proxies() -> None:
    """Where all viewers come through a host's proxies, as on a Space, take the word of every private address.

    ``*`` would not do: of a list uvicorn then takes what stands on the left, which anybody may write. If
    ``FORWARDED_ALLOW_IPS`` is set already, it stays.
    """
    os.environ.setdefault("FORWARDED_ALLOW_IPS", PRIVATE)
