"""The room's files, its operator, and videos of one's own that begin with it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from longlive.audience.room import Room
from longlive.generation.session_file import SessionRecord
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.page_client import PageClient
from tests.support.room_page import OPTIONS, TOKEN, browser, propose, room_of
from tests.support.run_reader import wait_for


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.05), room=replace(OPTIONS, voices_per_address=50)) as served:
        wait_for(lambda: room_of(served).run.num_chunks > 2, 60)
        yield served


@pytest.fixture(scope="module")
def without() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.05)) as served:
        yield served


def operate(served: Served, action: str, token: str = TOKEN, **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{served.url}room/operator/{action}", json=body, headers=headers, timeout=60)


def test_without_a_room_nothing_of_it_can_be_seen(without: Served) -> None:
    client = httpx.Client(base_url=without.url, timeout=60)
    for path in ("room", "room/video", "room/session", "watch/room/live", "watch/room/voice"):
        assert client.get(path).status_code == 404, path
    assert propose(client, "a star").status_code == 404
    assert operate(without, "pause").status_code == 404
    assert '"room-now"' not in client.get("/").text
    assert "/branch_room" not in client.get("/gradio_api/info").json()["named_endpoints"]


def test_the_operator_is_known_by_the_token_alone(served: Served) -> None:
    for token in ("x", TOKEN[:-1], f"{TOKEN}x", "é", room_of(served).run.token):
        headers = {"Authorization": f"Bearer {token}".encode()}
        answer = httpx.post(f"{served.url}room/operator/pause", json={}, headers=headers)
        assert (answer.status_code, answer.json()) == (401, {"detail": "The operator's token is wrong."})
    assert httpx.post(f"{served.url}room/operator/pause", json={}).status_code == 401
    assert not room_of(served).is_paused
    for action in ("start", "close", "propose", "__init__"):
        assert operate(served, action).status_code == 404
    assert operate(served, "mute", number="x").status_code == 422
    assert operate(served, "mute").json() == {"detail": "number must be that of a proposal."}


def test_nobody_operates_a_room_without_a_token() -> None:
    with serve_page(FakeModels(chunk_s=0.05), room=replace(OPTIONS, operator_token="")) as served:
        for token in ("x", "0"):
            assert operate(served, "pause", token=token).status_code == 404
        assert not room_of(served).is_paused


def test_the_operator_pauses_skips_removes_and_mutes(served: Served) -> None:
    room = room_of(served)
    assert operate(served, "pause").json()["is_paused"] and room.is_paused
    assert not operate(served, "resume").json()["is_paused"]
    before = room.rounds.number
    skipped = operate(served, "skip").json()
    assert skipped["round"]["number"] == before + 1 and skipped["chosen"]["votes"] == 0
    with browser(served) as ada, browser(served) as ben:
        star, box = propose(ada, "a star").json(), propose(ben, "a box").json()
        assert operate(served, "remove", number=star["number"]).json()["proposals"] == [box]
        assert operate(served, "mute", number=box["number"]).json()["proposals"] == []
        assert "from you any more" in propose(ben, "a cat").json()["detail"]
        assert propose(ada, "a cat").status_code == 200
        assert operate(served, "remove", number=star["number"]).status_code == 404


def test_the_video_and_session_file_so_far_can_be_had_by_everybody(served: Served, tmp_path: Any) -> None:
    run = room_of(served).run
    for query in ("", f"?take={run.name}"):
        video = httpx.get(f"{served.url}room/video{query}", timeout=60)
        assert video.status_code == 200 and video.content[4:8] == b"ftyp"
        session = httpx.get(f"{served.url}room/session{query}")
        assert "filename*=utf-8" in session.headers["content-disposition"]
        (tmp_path / "room.json").write_bytes(session.content)
        assert SessionRecord.read(tmp_path / "room.json").seed == run.seed
        assert run.token not in session.text
    for path in ("video", "session"):
        assert httpx.get(f"{served.url}room/{path}?take=0123").status_code == 404


def test_anybody_goes_on_from_a_chunk_that_was_shown(served: Served) -> None:
    room = room_of(served)
    wait_for(lambda: room.run.presence.clock.position(room.run.end_s) > 1.5, 60)
    client = PageClient(served.url)
    token = room.run.token
    job = client.submit(room.run.name, 2, "a box", "hard", None, api_name="/branch_room")
    message = next(iter(job))[0]
    assert message["kind"] == "begin" and message["token"] != token
    mine = served.engine.find(message["token"])
    assert mine is not None and mine.store.facts["parent"] == {"run": room.run.name, "chunk": 2}
    client.predict(api_name="/stop")
    job.result()
    for take, chunk in (("", 0), ("", room.run.num_chunks + 99), ("0123", 1)):
        with pytest.raises(Exception, match=r"chunk|no longer kept"):
            client.submit(take, chunk, "", "soft", None, api_name="/branch_room").result()
    assert room.run.token == token and not room.run.is_leaving, "the room goes on"
    client.close()


def test_no_session_of_a_browser_can_be_that_of_the_room(served: Served) -> None:
    room: Room = room_of(served)
    assert ":" in room.run.viewer, "the filter lets only letters, digits, _ and - through"
