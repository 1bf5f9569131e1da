"""``/live``: a run's messages as binary frames."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from longlive.web.live import PATH
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.live_frames import Frame
from tests.support.live_frames import live as open_live
from tests.support.page_client import PageClient, cards_of
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.05), disconnect_timeout_s=2, retention_s=10) as served:
        yield served


@pytest.fixture
def token(served: Served) -> Iterator[str]:
    """The token of a run that has begun."""
    client = PageClient(served.url)
    job = client.submit(MEADOW, 7, [], api_name="/start")
    yield next(iter(job))[0]["token"]
    client.predict(api_name="/stop")
    job.result()
    client.close()


def live(
    served: Served, token: str, after: int = 0, player: str = "me"
) -> AbstractContextManager[Iterator[Frame]]:
    """The frames of a connection, as they come."""
    headers = {"Authorization": f"Bearer {token}"}
    return open_live(f"{served.url}{PATH[1:]}", headers, after=after, player=player)


def messages(read: Iterator[Frame]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The numbered messages alone."""
    yield from ((one, data) for one, data in read if one and one["kind"] != "page")


def test_all_messages_come_in_order_with_their_pictures_as_they_are(served: Served, token: str) -> None:
    got, seen = [], []
    with live(served, token) as read:
        for message, data in messages(read):
            got.append(message)
            if message["kind"] == "segment":
                seen += cards_of(data)
            if len(seen) > 60:
                break
    assert [one["serial"] for one in got] == list(range(1, len(got) + 1))
    assert seen == [(number, 0) for number in range(len(seen))]
    assert all("data" not in one for one in got)


def test_a_player_that_was_cut_off_goes_on_after_its_last_message(served: Served, token: str) -> None:
    with live(served, token) as read:
        last = next(one for one, _ in messages(read) if one["kind"] == "segment" and one["chunk"] == 2)
    with live(served, token, after=last["serial"]) as read:
        message, data = next(messages(read))
    assert (message["serial"], message["chunk"]) == (last["serial"] + 1, 3)
    assert cards_of(data)[0] == (33, 0)


@pytest.mark.slow
def test_the_page_is_told_what_changes_beside_the_pictures_and_nothing_twice(
    served: Served, token: str
) -> None:
    run = served.engine.find(token)
    assert run is not None
    timelines = []
    with live(served, token) as read:
        for message, _ in read:
            if message and "timeline" in message:
                timelines.append(message["timeline"])
            if message and message.get("chunk") == 2 and not run.prompts.own:
                run.prompt(JUMP)
            if message and message.get("chunk") == 8:
                break
    texts = [
        ([one["text"] for one in line["spans"]], [one["text"] for one in line["waiting"]])
        for line in timelines
    ]
    assert texts[-3:] == [([MEADOW], []), ([MEADOW], [JUMP]), ([MEADOW, JUMP], [])]


def test_where_nothing_is_made_idle_frames_come(served: Served, token: str) -> None:
    served.engine.playhead(token, 0.0, False)
    with live(served, token) as read:
        for _ in range(200):
            kinds = [next(read)[0] for _ in range(4)]
            if kinds == [None] * 4:
                break
        else:
            pytest.fail("no idle frames came")


def test_another_player_takes_over_and_the_first_is_told(served: Served, token: str) -> None:
    with live(served, token, player="first") as first:
        next(messages(first))
        with live(served, token, player="second") as second:
            next(messages(second))
            kinds = [one["kind"] for one, _ in messages(first)]
            assert kinds[-1] == "moved" and "moved" not in kinds[:-1]
            assert next(messages(second))[0]["kind"] == "segment", "the second goes on"


def test_a_player_that_connects_again_ends_its_old_connection_in_silence(served: Served, token: str) -> None:
    with live(served, token) as old:
        next(messages(old))
        with live(served, token) as new:
            next(messages(new))
            assert "moved" not in [one["kind"] for one, _ in messages(old)]


def test_the_last_message_ends_the_connection(served: Served) -> None:
    client = PageClient(served.url)
    job = client.submit(MEADOW, 7, [], api_name="/start")
    token = next(iter(job))[0]["token"]
    with live(served, token) as read:
        next(messages(read))
        client.predict(api_name="/stop")
        got = [one for one, _ in read if one]
    assert got[-1]["kind"] == "end" and got[-1]["has_take"]
    statuses = [one["status"] for one in got if "status" in one]  # the last may come ahead of the end
    assert statuses[-1].startswith("Stopped.")
    client.close()


def test_a_player_that_reads_nothing_does_not_count_as_watching(served: Served) -> None:
    run = served.engine.start("ada", MEADOW, seed=0)
    served.page.endpoints.streams.open("ada", _stream_of(run))
    with live(served, run.token) as read:
        next(messages(read))
        wait_for(lambda: run.presence.unattended_s < 0.5)
    wait_for(lambda: run.status == "suspended")


def _stream_of(run: Any) -> Any:
    from longlive.web.viewer_stream import ViewerStream

    return ViewerStream(run, "live", "")


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ({"after": "0", "player": "me"}, {}, 404),
        ({"after": "0", "player": "me"}, {"Authorization": "Bearer"}, 404),
        ({"after": "0", "player": "me"}, {"Authorization": "Bearer stranger"}, 404),
        ({"after": "0", "player": "me"}, {"Authorization": b"Bearer fr\xe4md"}, 404),
        ({"after": "0", "player": "me"}, {"Authorization": "Basic abc"}, 404),
        ({}, {"Authorization": "Bearer stranger"}, 422),
        ({"after": "-1", "player": "me"}, {}, 422),
        ({"after": "1e9", "player": "me"}, {}, 422),
        ({"after": "9" * 30, "player": "me"}, {}, 422),
        ({"after": "٣", "player": "me"}, {}, 422),
        ({"after": "0", "player": ""}, {}, 422),
        ({"after": "0", "player": "<b>"}, {}, 422),
        ({"after": "0", "player": "x" * 65}, {}, 422),
    ],
)
def test_whatever_is_wrong_is_refused(
    served: Served, query: dict[str, str], headers: dict[str, str], status: int
) -> None:
    answer = httpx.get(f"{served.url}{PATH[1:]}", params=query, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"detail"}


def test_the_connection_can_only_be_read(served: Served) -> None:
    assert httpx.post(f"{served.url}{PATH[1:]}", json={}).status_code == 405
