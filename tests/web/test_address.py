"""Whom a request counts for."""

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers

from longlive.web.address import address_of

PROXY = "10.16.3.80"


def request(peer: str | None, *lines: str) -> Any:
    raw = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    return SimpleNamespace(client=peer and SimpleNamespace(host=peer), headers=Headers(raw=raw))


@pytest.mark.parametrize("peer", ["127.0.0.1", PROXY, "93.184.216.34"])
def test_without_a_proxy_only_the_connection_counts(peer: str) -> None:
    assert address_of(request(peer, "1.2.3.4")) == peer


@pytest.mark.parametrize(
    "lines, address",
    [
        (["93.184.216.34"], "93.184.216.34"),
        (["93.184.216.34:50123"], "93.184.216.34"),
        (["93.184.216.34, 10.0.0.7, 172.16.0.1"], "93.184.216.34"),
        (["1.1.1.1, 93.184.216.34"], "93.184.216.34"),
        (["1.1.1.1", "93.184.216.34", "10.0.0.7"], "93.184.216.34"),
        (["1.1.1.1, nonsense, 10.0.0.7"], PROXY),
        (["1.1.1.1,"], PROXY),
        (["10.0.0.7"], PROXY),
        (["\xff\x00"], PROXY),
        ([""], PROXY),
        ([], PROXY),
        (["2a00:1450:4001:810::200e"], "2a00:1450:4001:810::/64"),
        (["[2a00:1450:4001:810::200e]:443"], "2a00:1450:4001:810::/64"),
        (["::ffff:93.184.216.34"], "93.184.216.34"),
    ],
)
def test_behind_a_proxy_the_rightmost_public_address_counts(lines: list[str], address: str) -> None:
    assert address_of(request(PROXY, *lines), behind_proxy=True) == address


def test_what_a_viewer_adds_on_the_left_changes_nothing() -> None:
    told = {
        address_of(request(PROXY, f"8.8.{number}.8, 93.184.216.34"), behind_proxy=True) for number in range(9)
    }
    assert told == {"93.184.216.34"}


def test_a_household_has_one_address_though_it_has_many_of_ipv6() -> None:
    homes = {address_of(request(f"2a00:1450:4001:810::{number:x}")) for number in range(1, 99)}
    assert homes == {"2a00:1450:4001:810::/64"}
    assert address_of(request("2a00:1450:4001:811::1")) != homes.pop()


def test_no_connection_and_a_plain_mapping_will_do() -> None:
    assert address_of(request(None)) == ""
    plain = SimpleNamespace(client=None, headers={"x-forwarded-for": "1.1.1.1"})
    assert address_of(plain, behind_proxy=True) == "1.1.1.1"
