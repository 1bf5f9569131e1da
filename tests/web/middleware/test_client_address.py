"""Whom a request counts for."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from gradio_client import Client
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from longlive.web.middleware.client_address import PRIVATE, address_of, trust_proxies
from tests.support.event_loop import run_in_thread
from tests.support.fakes import serve_page

PROXY, VIEWER = "10.16.3.80", "93.184.216.34"


def request(peer: str | None) -> Any:
    return SimpleNamespace(client=peer and SimpleNamespace(host=peer))


def through_uvicorn(peer: str, *lines: str, trusted: str = PRIVATE) -> str:
    """The address of a request as uvicorn hands it on."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(address_of(request(scope["client"][0])))

    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    scope = {"type": "http", "client": (peer, 1234), "headers": headers, "scheme": "http"}
    run_in_thread(ProxyHeadersMiddleware(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize("trusted", ["127.0.0.1", PRIVATE])
@pytest.mark.parametrize("lines", [(), ("1.2.3.4",), ("127.0.0.1",), ("10.0.0.1, 1.2.3.4",)])
def test_who_comes_without_a_proxy_counts_for_the_connection(trusted: str, lines: tuple[str, ...]) -> None:
    assert through_uvicorn(VIEWER, *lines, trusted=trusted) == VIEWER


@pytest.mark.parametrize(
    "lines, address",
    [
        ([VIEWER], VIEWER),
        ([f"{VIEWER}:50123"], VIEWER),
        ([f"{VIEWER}, 10.0.0.7, 172.16.0.1"], VIEWER),
        ([f"1.1.1.1, {VIEWER}"], VIEWER),
        (["1.1.1.1", VIEWER, "10.0.0.7"], VIEWER),
        (["nonsense, \xff", VIEWER], VIEWER),
        ([], PROXY),
        (["2a00:1450:4001:810::200e"], "2a00:1450:4001:810::/64"),
        (["[2a00:1450:4001:810::200e]:443"], "2a00:1450:4001:810::/64"),
        (["::ffff:93.184.216.34"], VIEWER),
    ],
)
def test_behind_proxies_the_rightmost_address_that_is_none_counts(lines: list[str], address: str) -> None:
    assert through_uvicorn(PROXY, *lines) == address


def test_what_a_viewer_adds_on_the_left_changes_nothing() -> None:
    assert {through_uvicorn(PROXY, f"8.8.{number}.8, {VIEWER}") for number in range(9)} == {VIEWER}
    loose = {through_uvicorn(PROXY, f"8.8.{number}.8, {VIEWER}", trusted="*") for number in range(9)}
    assert len(loose) == 9, "so the asterisk will not do"


def test_a_household_has_one_address_though_it_has_many_of_ipv6() -> None:
    homes = {address_of(request(f"2a00:1450:4001:810::{number:x}")) for number in range(1, 99)}
    assert homes == {"2a00:1450:4001:810::/64"}
    assert address_of(request("2a00:1450:4001:811::1")) not in homes


@pytest.mark.parametrize("peer, address", [(None, ""), ("testclient", "testclient"), ("::1", "::/64")])
def test_whatever_the_server_says_will_do(peer: str | None, address: str) -> None:
    assert address_of(request(peer)) == address


def test_a_setting_of_the_host_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.1")
    trust_proxies()
    assert os.environ["FORWARDED_ALLOW_IPS"] == "10.0.0.1"
    assert through_uvicorn("10.0.0.2", VIEWER, trusted="10.0.0.1") == "10.0.0.2"


@pytest.mark.parametrize("system, trusted", [("spaces", PRIVATE), ("", None)])
def test_proxies_are_trusted_on_a_space_only(
    monkeypatch: pytest.MonkeyPatch, system: str, trusted: str | None
) -> None:
    monkeypatch.setenv("SYSTEM", system)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    trust_proxies()
    assert os.environ.get("FORWARDED_ALLOW_IPS") == trusted


def test_the_engine_learns_the_address_that_a_proxy_saw() -> None:
    with serve_page() as served:
        client = Client(served.url, verbose=False, headers={"X-Forwarded-For": f"1.1.1.1, {VIEWER}"})
        job = client.submit("a red ball", 7, [], api_name="/start")
        next(iter(job))
        assert [run.address for run in served.engine.runs] == [VIEWER]
        client.predict(api_name="/stop")
        client.close()
