"""The load test of a page of test cards: it counts what was played."""

import json

import pytest

from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import table
from longlive.benchmark.loadtest.runner import run_load_test
from longlive.cli import main
from longlive.errors import EndpointError
from tests.support.fakes import FakeModels, serve_page

SHORT = {"disconnect_timeout_s": 2.0, "retention_s": 1.0}


@pytest.mark.slow
def test_viewers_watch_prompt_wait_and_leave(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_page(FakeModels(chunk_s=0.02, streams=2), **SHORT) as page:
        options = [
            "--viewers",
            "2",
            "--waiting",
            "1",
            "--seconds",
            "3",
            "--waiting-seconds",
            "1",
            "--switch-every",
            "1.5",
        ]
        assert main(["loadtest", page.url, *options, "--json"]) == 0
        page.wait_until_empty()
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["viewer"] for one in result["viewers"]] == ["viewer 1", "viewer 2", "later 1"]
    assert (result["served"], result["failed"], result["lost_pictures"]) == (3, 0, 0)
    assert [one["prompts"] for one in result["viewers"]] == [1, 1, 0]
    assert all(0.1 < delay < 3 for one in result["viewers"] for delay in one["prompt_to_screen_s"])
    assert result["viewers"][0]["pictures"] >= 3 * 16 and result["viewers"][0]["seconds"] == pytest.approx(
        3, abs=0.2
    )
    assert all(one["end"].startswith("Stopped.") and not one["refusals"] for one in result["viewers"])
    later = result["viewers"][2]
    assert (
        later["queue_updates"][0][1] == 1
        and later["queue_updates"][0][2] > 3
        and result["wrong_positions"] == 0
    )
    assert later["first_picture_s"] > 1, "all slots were taken until the others left"
    assert (result["model"], result["executor"], result["health"]) == ("test cards", "thread", ["ok"])
    assert result["read_pictures"] == 0, "test cards are not of the storybook"
    assert (
        {"gradio_client", "torch"} <= set(result["versions"])
        and result["git_revision"]
        and result["processor"]
    )


def test_a_proxy_of_the_network_is_not_asked_for_an_app_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve_page(FakeModels(chunk_s=0.02), **SHORT) as page:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, "socks5://127.0.0.1:9" if name == "all_proxy" else "http://127.0.0.1:9")
        result = run_load_test(page.url, Plan(viewers=1, seconds=1))
        page.wait_until_empty()
    assert (result.served, result.failed) == (1, 0) and result.viewers[0].pictures > 0


def test_a_run_that_breaks_is_reported_with_its_reason() -> None:
    with serve_page(FakeModels(chunk_s=0.02, break_at=2)) as page:
        result = run_load_test(page.url, Plan(viewers=1, seconds=5))
    (one,) = result.viewers
    assert result.failed == 1 and "the weights fell over" in one.end and one.pictures == 21
    assert "viewer 1 ended: Something went wrong" in table(result)


@pytest.mark.slow
def test_no_viewer_stays_longer_than_the_timeout() -> None:
    with serve_page(FakeModels(chunk_s=0.02)) as page:
        result = run_load_test(page.url, Plan(viewers=1, seconds=60, timeout_s=1.0))
    assert result.seconds < 3 and result.failed == 1 and result.viewers[0].pictures > 0


@pytest.mark.slow
def test_abandoning_clients_do_not_disturb_the_viewers() -> None:
    with serve_page(FakeModels(chunk_s=0.02), no_player_timeout_s=1.0, **SHORT) as page:
        result = run_load_test(page.url, Plan(viewers=1, seconds=4, drops=4))
        page.wait_until_empty()
    assert (result.drops, result.refused_drops) == (4, 0)
    assert (result.served, result.failed, result.lost_pictures, result.stalls) == (1, 0, 0, 0)


def test_no_app_at_the_address_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EndpointError, match=r"python app\.py"):
        run_load_test("http://127.0.0.1:9/", Plan(viewers=1))
    assert main(["loadtest", "http://127.0.0.1:9/"]) == 2
    opening, error = capsys.readouterr().err.splitlines()
    assert opening.startswith("opening") and "no LongLive app answers" in error
