"""``/watch_along``, and the owner's panel: who may watch, and what they propose."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from longlive.audience.audience import ROOM, Audience
from longlive.serving.runs.run import Run
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.live_frames import live, read_until
from tests.support.page_client import PageClient, call_component
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.05, streams=1), disconnect_timeout_s=600, retention_s=600) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    client = PageClient(served.url)
    yield client
    client.close()


@pytest.fixture
def run(served: Served, client: Client) -> Iterator[Run]:
    """The client's run, which has begun."""
    job = client.submit(MEADOW, 7, [], api_name="/start")
    token = next(iter(job))[0]["token"]
    run = served.engine.find(token)
    assert run is not None
    yield run
    client.predict(api_name="/stop")
    job.result()
    served.engine.forget(token)


def on_page(served: Served, client: Client, **question: Any) -> dict[str, Any]:
    answer: dict[str, Any] = call_component(served, client, "watch_along", question, "watch-along")
    return answer


def test_nobody_may_watch_until_the_owner_says_so_and_after_it_closed(
    served: Served, client: Client, run: Run
) -> None:
    assert client.predict(api_name="/watch_along") == {"is_open": False}
    opened = client.predict(True, api_name="/watch_along")
    expected = {"is_open": True, "watching": 0, "most": 0, "takes_proposals": False, "is_listed": False}
    assert opened == expected | {"link": opened["link"], "proposals": []}
    with live(f"{served.url}{opened['link']}/live") as read:
        read_until(read, "segment")
        assert client.predict(api_name="/watch_along")["watching"] == 1
        assert client.predict(False, api_name="/watch_along") == {"is_open": False}
        read_until(read, "closed")
    again = client.predict(True, api_name="/watch_along")
    assert again["link"] != opened["link"], "a link that was closed stays so"


def test_the_link_leads_on_to_the_owner_s_next_video(served: Served, client: Client, run: Run) -> None:
    link = client.predict(True, api_name="/watch_along")["link"]
    with live(f"{served.url}{link}/live") as read:
        assert read_until(read, "hello")[0]["take"] == run.name
        job = client.submit(JUMP, 8, [], api_name="/start")
        take = next(iter(job))[0]["take"]
        assert read_until(read, "hello", take=take)[0]["take"] != run.name
        assert read_until(read, "segment")[0]["prompt"] == JUMP
        client.predict(api_name="/stop")
        assert read_until(read, "state", state="ended")
    assert served.page.endpoints.audiences.of_run(run) is None
    job.result()


def test_a_caller_without_a_video_and_with_nonsense_is_told_so(served: Served, client: Client) -> None:
    with pytest.raises(AppError, match="No video is playing"):
        client.predict(True, api_name="/watch_along")
    for token in (None, 7, "stranger", ["a"]):
        answer = on_page(served, client, token=token, is_open=True)
        assert answer["is_open"] is False and "no longer kept" in answer["error"]
    assert call_component(served, client, "watch_along", "text", "watch-along")["is_open"] is False


def test_what_is_neither_yes_nor_no_changes_nothing(served: Served, client: Client, run: Run) -> None:
    for value, name in itertools.product((1, "yes", [], {}), ("is_open", "takes_proposals", "is_listed")):
        answer = on_page(served, client, token=run.token, **{name: value})
        assert answer["is_open"] is False and "true or false" in answer["error"], (name, value)


def test_a_proposal_is_sent_as_the_owner_s_prompt_or_dismissed(
    served: Served, client: Client, run: Run
) -> None:
    on_page(served, client, token=run.token, is_open=True, takes_proposals=True)
    audience = served.page.endpoints.audiences.of_run(run)
    audience.proposals.propose("a", "10.0.0.1", JUMP)
    audience.proposals.propose("b", "10.0.0.2", "a blue cube")
    answer = on_page(served, client, token=run.token, dismiss=2)
    assert [one["text"] for one in answer["proposals"]] == [JUMP]
    answer = on_page(served, client, token=run.token, send=1, switch="sideways")
    assert "switch" in answer["error"] and len(answer["proposals"]) == 1, "what cannot be sent waits on"
    answer = on_page(served, client, token=run.token, send=1, switch="hard")
    assert "error" not in answer and answer["proposals"] == []
    wait_for(lambda: any(span.text == JUMP for span in run.prompts.spans))
    for nonsense in (1, "x", None, 1.5, -1):
        assert "error" in on_page(served, client, token=run.token, send=nonsense)


def test_a_tab_that_cannot_play_is_offered_its_own_video_or_a_public_one(
    served: Served, client: Client, run: Run
) -> None:
    def offer(**question: Any) -> str:
        link: str = call_component(served, client, "offer", question, "watch-along")["link"]
        return link

    assert offer() == offer(token="stranger") == offer(token=None) == ""
    own = offer(token=run.token)
    audience = served.page.endpoints.audiences.of_run(run)
    assert own == f"watch/{audience.id}" and offer() == "", "its link is the owner's alone"
    on_page(served, client, token=run.token, is_listed=True)
    assert offer() == own
    room = Audience(run, ROOM)
    served.page.endpoints.audiences.add(room)
    assert offer() == "room"
    del served.page.endpoints.audiences._by_id[ROOM]


def test_a_video_of_the_compatible_player_cannot_be_watched_along(served: Served, client: Client) -> None:
    run = served.engine.start("bob", MEADOW, seed=1, container="ts")
    answer = on_page(served, client, token=run.token, is_open=True)
    assert answer["is_open"] is False and "Live player" in answer["error"]
    assert call_component(served, client, "offer", {"token": run.token}, "watch-along") == {"link": ""}
    run.stop("closed")


def test_the_audience_goes_with_the_run(served: Served, client: Client) -> None:
    run = served.engine.start("eve", MEADOW, seed=2)
    link = on_page(served, client, token=run.token, is_open=True)["link"]
    wait_for(lambda: run.num_chunks >= 1)
    run.stop("user")
    with live(f"{served.url}{link}/live") as read:
        read_until(read, "state", state="ended")
        assert served.engine.forget(run.token)
        read_until(read, "closed")
