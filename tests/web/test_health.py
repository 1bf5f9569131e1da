"""/health and /metrics over HTTP, on the page as ``launch`` serves it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from gradio_client import Client

from longlive.audience.publisher import PublisherStatus
from longlive.serving.engine import Engine
from longlive.serving.metrics import FAILURES_IN_A_ROW, Metrics
from longlive.serving.status import EngineStatus
from longlive.web.endpoints.viewer import Endpoints
from longlive.web.health import health_of, routes_of
from longlive.web.page import build_page, page_options
from tests.support.fakes import FakeModels, make_engine, serve_page
from tests.support.metrics_reader import figures
from tests.support.page_client import call_component

QUIET = EngineStatus(running=0, waiting=0, capacity=4, executor="thread", model="test cards", fps=61.0)


@contextmanager
def served(
    ask: Callable[[], EngineStatus] = lambda: QUIET,
    metrics: Metrics | None = None,
    timeout_s: float = 5.0,
    publisher: Any = None,
) -> Iterator[tuple[str, Engine]]:
    """A page over test cards with the two routes; its address and its engine."""
    engine = make_engine()
    page = build_page(engine)
    routes = routes_of(ask, metrics or Metrics(), timeout_s=timeout_s, publisher=publisher)
    _, url, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options(routes)
    )
    try:
        yield url, engine
    finally:
        page.close()
        engine.close()


def test_how_publishing_goes_is_said_and_makes_nothing_fail() -> None:
    class Publisher:
        def status(self) -> PublisherStatus:
            return PublisherStatus("waiting", 2, "Connection refused")

    with served(publisher=Publisher()) as (url, _):
        answer = httpx.get(f"{url}health")
    assert answer.status_code == 200
    assert answer.json()["publishing"] == {
        "state": "waiting",
        "connections": 2,
        "reason": "Connection refused",
    }


def test_a_healthy_server_reports_its_numbers() -> None:
    numbers = {"running": 3, "waiting": 2, "suspended": 1, "capacity": 4}
    sizes = {"test cards": ((96, 64), (64, 96))}
    status = EngineStatus(**numbers, executor="thread", model="test cards", sizes=sizes)
    with served(lambda: status) as (url, _):
        answer = httpx.get(f"{url}health")
        health = answer.json()
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
        assert 0 <= health.pop("uptime_s") < 60
        old_names = {"sessions": 3, "parked": 1, "room": 4, "carrier": "thread"}
        assert health == numbers | old_names | {
            "status": "ok",
            "executor": "thread",
            "model": "test cards",
            "models": ["test cards"],
            "sizes": {"test cards": ["96x64", "64x96"]},
        }
        assert httpx.head(f"{url}health").status_code == 200
        assert httpx.post(f"{url}health").status_code == 405
        page = httpx.get(url)
        assert page.status_code == 200 and "LongLive" in page.text, "the page is where it was"


@pytest.mark.parametrize(
    "change, failures, status, why",
    [
        ({"is_ready": False}, 0, "loading", "loaded"),
        ({"is_alive": False}, 0, "failing", "worker"),
        ({"is_alive": False, "is_ready": False}, 0, "failing", "worker"),
        ({}, FAILURES_IN_A_ROW, "failing", "failed"),
        ({}, FAILURES_IN_A_ROW - 1, "ok", None),
    ],
)
def test_loading_and_failing_have_a_reason(change: dict, failures: int, status: str, why: str) -> None:
    metrics = Metrics()
    for _ in range(failures):
        metrics.count_end("failed")
    health = health_of(EngineStatus(**(QUIET.__dict__ | change)), metrics.keeps_failing)
    assert health["status"] == status and (why is None) == ("why" not in health)
    assert why is None or why in health["why"]


def test_failing_is_a_503() -> None:
    metrics = Metrics()
    with served(metrics=metrics) as (url, _):
        for _ in range(FAILURES_IN_A_ROW):
            metrics.count_end("failed")
        answer = httpx.get(f"{url}health")
        assert answer.status_code == 503 and answer.json()["status"] == "failing"
        metrics.count_end("complete")
        assert httpx.get(f"{url}health").status_code == 200


def test_a_stuck_engine_is_reported_without_waiting_for_it() -> None:
    freed, asked = threading.Event(), []

    def stuck() -> EngineStatus:
        asked.append(threading.get_ident())
        freed.wait(30)
        return QUIET

    with served(stuck, timeout_s=0.2) as (url, _):
        begun = time.monotonic()
        for _ in range(3):
            answer = httpx.get(f"{url}health")
            assert answer.status_code == 503 and "0.2 s" in answer.json()["why"]
        assert time.monotonic() - begun < 10 and len(asked) == 1, (
            "one thread waits, however many requests come"
        )
        assert httpx.get(url).status_code == 200
        freed.set()
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}health").status_code != 200:
            assert time.monotonic() < deadline


def test_an_error_of_the_engine_is_failing_and_its_message_is_not_shown() -> None:
    def broken() -> EngineStatus:
        raise RuntimeError("a secret of the engine")

    with served(broken) as (url, _):
        answer = httpx.get(f"{url}health")
        assert answer.status_code == 503 and "secret" not in answer.text


def test_metrics_are_plain_text_and_change_with_what_happens() -> None:
    metrics = Metrics()
    metrics.watch("sessions", lambda: 3)
    with served(metrics=metrics) as (url, _):
        answer = httpx.get(f"{url}metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (
            "\nlonglive_runs_started_total 0.0\n" in answer.text
            and "\nlonglive_sessions 3.0\n" in answer.text
        )
        metrics.count_start()
        assert "\nlonglive_runs_started_total 1.0\n" in httpx.get(f"{url}metrics").text


def test_both_follow_a_run_and_show_nothing_of_its_viewer() -> None:
    with serve_page(FakeModels(streams=1)) as page:
        client = Client(page.url, verbose=False)
        job = client.submit("a secret wish of mine", 7, [], api_name="/start")
        token = next(iter(job))[0]["token"]
        word = {"token": token, "seconds": 0.5, "playing": True, "stalls": 3}
        assert call_component(page, client, "playhead", word)
        health, metrics = httpx.get(f"{page.url}health"), httpx.get(f"{page.url}metrics").text
        assert health.status_code == 200 and health.json()["running"] == health.json()["capacity"] == 1
        for line in ("longlive_runs_started_total 1.0", "longlive_stalls_total 3.0", "longlive_sessions 1.0"):
            assert f"\n{line}\n" in metrics
        client.predict(api_name="/stop")
        job.result()
        client.close()
        assert '\nlonglive_runs_ended_total{reason="stopped"} 1.0\n' in httpx.get(f"{page.url}metrics").text
    for secret in ("secret", token, client.session_hash):
        assert secret not in health.text + metrics


@pytest.mark.parametrize("stalls", [None, "many", -4, float("nan"), [], 10**30, True])
def test_a_player_s_stalls_may_be_anything(stalls: object) -> None:
    engine = make_engine()
    word = {"token": engine.start("ada", "a red ball", seed=0).token, "seconds": 0, "playing": True}
    assert Endpoints(engine).playhead(word | {"stalls": stalls})
    assert 0 <= figures(engine.metrics)["longlive_stalls_total"] <= 20
    engine.close()


def test_behind_a_path_of_a_proxy_the_routes_are_where_the_page_is() -> None:
    engine = make_engine()
    page = build_page(engine)
    options = page_options(routes_of(lambda: QUIET, Metrics()))
    _, url, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, root_path="/videos", **options
    )
    try:
        assert json.loads(httpx.get(f"{url}health").text)["status"] == "ok"
    finally:
        page.close()
        engine.close()
