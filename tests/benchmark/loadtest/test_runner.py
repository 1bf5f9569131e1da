"""The load test before a page of test cards: what it counts is what was played."""

import json

import pytest

from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import table
from longlive.benchmark.loadtest.runner import load
from longlive.cli.main import main
from longlive.errors import EndpointError
from tests.support.fakes import FakeModels, serve_page

SHORT = {"disconnect_timeout_s": 0.5, "retention_s": 0.5}


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
    assert [one["viewer"] for one in result["watched"]] == ["viewer 1", "viewer 2", "later 1"]
    assert (result["got_in"], result["failed"], result["pictures_lost"]) == (3, 0, 0)
    assert [one["prompts"] for one in result["watched"]] == [1, 1, 0]
    assert all(0.1 < delay < 3 for one in result["watched"] for delay in one["prompt_to_screen_s"])
    assert result["watched"][0]["pictures"] >= 3 * 16 and result["watched"][0]["seconds"] == pytest.approx(
        3, abs=0.2
    )
    assert all(
        one["end"].startswith("The story has ended") and not one["refusals"] for one in result["watched"]
    )
    later = result["watched"][2]
    assert later["told"][0][1] == 1 and later["told"][0][2] > 3 and result["false_positions"] == 0
    assert later["first_picture_s"] > 1, "the house was full until the others left"
    assert (result["model"], result["executor"], result["health"]) == ("test cards", "thread", ["ok"])
    assert result["pictures_read"] == 0, "test cards are no picture book"
    assert (
        {"gradio_client", "torch"} <= set(result["versions"])
        and result["git_revision"]
        and result["processor"]
    )


def test_a_story_that_breaks_is_told_in_words() -> None:
    with serve_page(FakeModels(chunk_s=0.02, break_at=2)) as page:
        result = load(page.url, Plan(viewers=1, seconds=5))
    (one,) = result.watched
    assert result.failed == 1 and "the weights fell over" in one.end and one.pictures == 21
    assert "viewer 1 ended: The model broke" in table(result)


def test_no_viewer_outstays_the_patience_of_the_load() -> None:
    with serve_page(FakeModels(chunk_s=0.02)) as page:
        result = load(page.url, Plan(viewers=1, seconds=60, patience_s=1.0))
    assert result.seconds < 3 and result.failed == 1 and result.watched[0].pictures > 0


def test_visitors_who_come_and_go_do_not_touch_the_viewers() -> None:
    with serve_page(FakeModels(chunk_s=0.02), no_player_timeout_s=1.0, **SHORT) as page:
        result = load(page.url, Plan(viewers=1, seconds=4, drops=4))
        page.wait_until_empty()
    assert (result.drops, result.drops_refused) == (4, 0)
    assert (result.got_in, result.failed, result.pictures_lost, result.stalls) == (1, 0, 0, 0)


def test_no_app_at_the_address_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EndpointError, match=r"python app\.py"):
        load("http://127.0.0.1:9/", Plan(viewers=1))
    assert main(["loadtest", "http://127.0.0.1:9/"]) == 2
    opening, error = capsys.readouterr().err.splitlines()
    assert opening.startswith("opening") and "no LongLive app answers" in error
