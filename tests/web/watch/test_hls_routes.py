"""``/live/ID.m3u8``: playlist and segments of an open audience, and nothing of any other."""

import asyncio
import io
import re
import time
from collections.abc import Iterator

import av
import httpx
import pytest

from longlive.audience.audience import Audience
from longlive.audience.hls import HlsPlaylist
from longlive.web.watch import hls_routes
from longlive.web.watch.hls_routes import _HlsServer
from tests.support.event_loop import run_in_thread
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.run_reader import wait_for
from tests.support.settled_runs import SettledRun

CLIENT = httpx.Client(timeout=30)
MEADOW = "a red ball stands on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.02), disconnect_timeout_s=60, heartbeat_timeout_s=60) as served:
        yield served


@pytest.fixture
def audience(served: Served) -> Iterator[Audience]:
    run = served.engine.start("ada", MEADOW, seed=7)
    yield served.page.endpoints.audiences.open(run)
    served.page.endpoints.audiences.close(run)
    run.stop("user")


def get(served: Served, path: str, **query: str) -> httpx.Response:
    return CLIENT.get(f"{served.url}{path}", params=query)


def listed(answer: httpx.Response) -> list[str]:
    return re.findall("^[^#].+$", answer.text, re.MULTILINE)


def sequence(answer: httpx.Response) -> int:
    return int(re.findall(r"MEDIA-SEQUENCE:(\d+)", answer.text)[0])


def test_a_player_elsewhere_gets_playlist_and_segments_and_waits_for_the_next(
    served: Served, audience: Audience
) -> None:
    path = f"live/{audience.id}.m3u8"
    wait_for(lambda: bool(listed(get(served, path))))
    answer = get(served, path)
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["cache-control"] == "no-cache"
    segment = get(served, f"live/{listed(answer)[0]}", ignored="query")
    assert segment.headers["content-type"] == "video/mp2t"
    assert segment.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert {one.headers["access-control-allow-origin"] for one in (answer, segment)} == {"*"}
    with av.open(io.BytesIO(segment.content), format="mpegts") as video:
        assert next(video.decode(video=0)).width > 0
    number = sequence(answer) + len(listed(answer))
    later = get(served, path, _HLS_msn=str(number))
    assert sequence(later) + len(listed(later)) > number
    assert get(served, path, _HLS_msn=str(number + 1000)).status_code == 400
    assert get(served, path, _HLS_msn="-1").status_code == 400


def test_no_other_id_and_no_other_segment_is_found(served: Served, audience: Audience) -> None:
    for id in ("room", "0", "", "..", "%2e%2e", "%00", "a b", "<b>", "x" * 64, "x" * 500, "\N{FISH}"):
        for path in (f"live/{id}.m3u8", f"live/{id}/0-0123456789abcdef.ts"):
            assert get(served, path).status_code == 404
    for name in ("0-0123456789abcdef", "0", "..%2f0", "0-0123456789abcdeg", "%00", "x" * 500):
        assert get(served, f"live/{audience.id}/{name}.ts").status_code == 404


def test_what_is_closed_cannot_be_told_from_what_never_was(served: Served, audience: Audience) -> None:
    path = f"live/{audience.id}"
    wait_for(lambda: bool(listed(get(served, f"{path}.m3u8"))))
    segment = f"live/{listed(get(served, f'{path}.m3u8'))[0]}"
    token = get(served, f"live/{audience.run.token}.m3u8")
    assert served.page.endpoints.audiences.close(audience.run)
    unknown = get(served, f"live/{'x' * 22}.m3u8")
    closed = [
        get(served, f"{path}.m3u8"),
        get(served, f"{path}.m3u8", _HLS_msn="1"),
        get(served, segment),
        token,
    ]
    for answer in closed:
        assert (answer.status_code, answer.content) == (404, unknown.content)
        assert answer.headers["cache-control"] == "no-store"


def test_only_reading_is_allowed(served: Served, audience: Audience) -> None:
    assert httpx.post(f"{served.url}live/{audience.id}.m3u8", json={}).status_code == 405


def test_those_who_wait_share_the_updates_and_are_answered_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hls_routes, "WAIT_S", 0.2)
    monkeypatch.setattr(hls_routes, "MAX_WAITING", 30)
    run = SettledRun()
    run.make(2)
    playlist, server, calls = HlsPlaylist(run.audience()), _HlsServer(), []
    playlist.update()
    update = playlist.update
    monkeypatch.setattr(playlist, "update", lambda: calls.append(time.monotonic()) or update())

    async def wait() -> None:
        waits = [server._wait_for(playlist, playlist.next_number) for _ in range(60)]
        await asyncio.gather(*waits)
        await asyncio.gather(*server._updates.values())
        assert not server._updates and not server._num_waiting

    run_in_thread(wait())
    assert 0 < len(calls) < 60


def test_those_who_wait_wake_when_the_next_segment_comes() -> None:
    run = SettledRun()
    run.make(2)
    playlist, server = HlsPlaylist(run.audience()), _HlsServer()
    playlist.update()
    number = playlist.next_number

    async def wait() -> None:
        waiting = asyncio.gather(*(server._wait_for(playlist, number) for _ in range(10)))
        await asyncio.sleep(0)
        run.position = 0.8
        await waiting

    run_in_thread(wait())
    assert playlist.next_number == number + 1


def test_all_players_count_as_one_who_watches_for_as_long_as_they_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hls_routes, "LEAVE_S", 0.02)
    audience, server = SettledRun().audience(), _HlsServer()

    async def ask() -> None:
        server._join(audience)
        server._join(audience)
        await asyncio.sleep(0)
        assert audience.count == 1
        await server._joined[audience]
        assert audience.count == 0 and not server._joined and not server._asked_at
        server._join(audience)
        await asyncio.sleep(0)
        assert audience.count == 1

    run_in_thread(ask())
