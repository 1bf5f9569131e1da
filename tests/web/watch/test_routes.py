"""``/watch/ID`` and what lies below it, by HTTP."""

from collections.abc import Iterator

import httpx
import pytest

from longlive.audience import audience as audience_module
from longlive.audience.audience import ROOM, Audience
from longlive.serving.runs.run import Run
from longlive.web.watch.routes import UNKNOWN
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.live_frames import frames, live, read_until
from tests.support.page_client import cards_of
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"
STRANGE = ["nothing", "x" * 64, "-", "assets", "AAAAAAAAAAAAAAAAAAAAAA"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(
        FakeModels(chunk_s=0.05), disconnect_timeout_s=600, no_player_timeout_s=600, buffer_ahead_s=3
    ) as served:
        yield served


@pytest.fixture
def run(served: Served) -> Iterator[Run]:
    """A run that has begun, and ends after the test."""
    run = served.engine.start("ada", MEADOW, seed=7)
    wait_for(lambda: run.num_chunks >= 4)
    yield run
    run.stop("user")


@pytest.fixture
def audience(served: Served, run: Run) -> Iterator[Audience]:
    audiences = served.page.endpoints.audiences
    yield audiences.open(run)
    audiences.close(run)


def url(served: Served, audience: Audience, route: str = "") -> str:
    return f"{served.url}watch/{audience.id}{route}"


def test_two_who_watch_see_the_same_pictures(served: Served, audience: Audience) -> None:
    shown = []
    with (
        live(url(served, audience, "/live"), chunk=0) as first,
        live(url(served, audience, "/live")) as second,
    ):
        for read in (first, second):
            read_until(read, "hello")
            cards = []
            while not cards or cards[-1][0] < 90:
                message, data = read_until(read, "segment")
                cards += cards_of(data)
                assert cards[-1][0] == message["first_frame"] + message["num_frames"] - 1
            shown.append(cards)
        assert audience.count == 2
    wait_for(lambda: audience.count == 0)
    assert shown[0][shown[0].index(shown[1][0]) :] == shown[1][: len(shown[0]) - shown[0].index(shown[1][0])]
    assert [frame for frame, _ in shown[0]] == list(range(len(shown[0])))


def test_nothing_that_opens_the_run_leaves_the_server(served: Served, run: Run, audience: Audience) -> None:
    audience.takes_proposals = True
    secrets = [run.token, run.key, run.viewer, str(run.store.folder.name)]
    seen = b""
    with httpx.stream("GET", url(served, audience, "/live"), params={"chunk": 0}) as answer:
        for part in answer.iter_bytes():
            seen += part
            if len(seen) > 20_000:
                break
        seen += str(answer.headers).encode()
    for route in ("", "/segments?chunk=0", "/thumbnails?first=0"):
        answer = httpx.get(url(served, audience, route))
        assert answer.status_code == 200
        seen += answer.content + str(answer.headers).encode()
    answer = httpx.post(url(served, audience, "/propose"), json={"text": JUMP})
    seen += answer.content
    assert answer.status_code == 200
    assert [one for one in secrets if one.encode() in seen] == []
    message, _ = next(frames(iter([_first_frame(seen)])))
    assert message is not None and message["kind"] == "hello", "it has been looked at as it was sent"


def _first_frame(content: bytes) -> bytes:
    size = 8 + int.from_bytes(content[:4], "big") + int.from_bytes(content[4:8], "big")
    return content[:size]


def test_a_watcher_who_was_cut_off_goes_on_with_the_chunk_that_is_missing(
    served: Served, run: Run, audience: Audience
) -> None:
    with live(url(served, audience, "/live"), chunk=0) as read:
        read_until(read, "segment", chunk=2, ends_chunk=True)
    wait_for(lambda: run.num_chunks >= 6)
    with live(url(served, audience, "/live"), chunk=3, take=run.name) as read:
        hello, _ = read_until(read, "hello")
        assert (hello["chunk"], hello["take"], hello["second"]) == (3, run.name, 33 / 16)
        message, data = read_until(read, "segment")
        assert message["first_frame"] == 33 and cards_of(data)[0] == (33, 0)


def test_one_can_look_back_as_far_as_the_owner_has_seen(served: Served, run: Run, audience: Audience) -> None:
    run.playhead(1.0, False)  # in chunk 1
    wait_for(lambda: run.num_chunks >= 5)
    answer = httpx.get(url(served, audience, "/segments?chunk=1"))
    (message, data), *_ = frames(iter([answer.content]))
    assert message is not None and message["chunk"] == 1 and cards_of(data)[0] == (9, 0)
    refused = httpx.get(url(served, audience, "/segments?chunk=2"))
    assert refused.status_code == 404
    assert refused.json()["detail"] == "Chunk 2 was not shown yet: chunks 0 to 1 were."
    page = httpx.get(url(served, audience, "/thumbnails?first=0")).json()
    assert page["num_chunks"] == 2 and [one["chunk"] for one in page["chunks"]] == [0, 1]
    assert httpx.get(url(served, audience, "/thumbnails?first=2")).json()["chunks"] == []


def test_a_closed_door_ends_the_streams_and_nothing_can_be_seen_again(
    served: Served, run: Run, audience: Audience
) -> None:
    with live(url(served, audience, "/live")) as read:
        read_until(read, "segment")
        served.page.endpoints.audiences.close(run)
        rest = [one for one, _ in read if one]
    assert rest[-1] == {"kind": "closed"}
    for route in ("/live", "/segments?chunk=0", "/thumbnails?first=0"):
        answer = httpx.get(url(served, audience, route))
        assert (answer.status_code, answer.json()) == (404, {"detail": UNKNOWN})


@pytest.mark.parametrize(
    "route", ["", "/live", "/live?chunk=x", "/segments?chunk=0", "/segments", "/thumbnails"]
)
def test_every_unknown_id_gets_the_same_answer(served: Served, run: Run, route: str) -> None:
    strange = [*STRANGE, run.key, run.name, run.token]
    answers = [httpx.get(f"{served.url}watch/{id}{route}") for id in strange]
    assert {one.status_code for one in answers} == {404}
    assert len({one.content for one in answers}) == 1
    timeless = [{name: value for name, value in one.headers.items() if name != "date"} for one in answers]
    assert all(one == timeless[0] for one in timeless)


def test_a_run_without_an_open_door_is_private(served: Served, run: Run) -> None:
    assert served.page.endpoints.audiences.of_run(run) is None
    assert httpx.get(f"{served.url}room").status_code == 404


@pytest.mark.parametrize("chunk", ["", "-1", "1e3", "٣", "9" * 7, "<b>", "\0", "NaN"])
def test_what_is_no_number_is_refused_in_words(served: Served, audience: Audience, chunk: str) -> None:
    for route, name in (("/live", "chunk"), ("/segments", "chunk"), ("/thumbnails", "first")):
        answer = httpx.get(url(served, audience, route), params={name: chunk})
        assert answer.status_code == 422 and name in answer.json()["detail"]
    answer = httpx.get(url(served, audience, "/live"), params={"chunk": "0", "take": "<b>"})
    assert answer.status_code == 422


def test_when_too_many_watch_the_next_is_told_so(
    served: Served, audience: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience_module, "MAX_WATCHERS", 1)
    with live(url(served, audience, "/live")) as read:
        read_until(read, "hello")
        answer = httpx.get(url(served, audience, "/live"))
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("1 are watching already; that is the limit.")
    wait_for(lambda: audience.count == 0)
    with live(url(served, audience, "/live")) as read:
        read_until(read, "hello")


def test_one_who_asks_for_the_headers_alone_does_not_watch(served: Served, audience: Audience) -> None:
    assert httpx.head(url(served, audience, "/live")).status_code == 200
    assert audience.peak == 0


def test_the_room_is_the_audience_of_that_name(served: Served, run: Run) -> None:
    audiences = served.page.endpoints.audiences
    room = Audience(run, ROOM)
    audiences.add(room)
    try:
        assert httpx.get(f"{served.url}room").status_code == 200
        with live(f"{served.url}watch/room/live") as read:
            assert read_until(read, "hello")[0]["take"] == run.name
    finally:
        audiences.close(run)


@pytest.mark.parametrize("route", ["/propose", "/vote"])
def test_proposals_for_unknown_ids_get_the_same_answer(served: Served, route: str) -> None:
    for id in STRANGE:
        answer = httpx.post(f"{served.url}watch/{id}{route}", json={"text": JUMP, "number": 1})
        assert (answer.status_code, answer.json()) == (404, {"detail": UNKNOWN})
        assert "set-cookie" not in answer.headers


def test_a_form_of_another_page_proposes_nothing(served: Served, audience: Audience) -> None:
    audience.takes_proposals = True
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind}
        answer = httpx.post(url(served, audience, "/propose"), content='{"text": "a"}', headers=headers)
        assert answer.status_code == 415
    assert audience.proposals.open() == ()
