"""``/segments`` and ``/thumbnails``: what is stored of a video, for its viewer alone."""

import base64
import io
import json
import struct
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from longlive.errors import MediaError
from longlive.serving.runs.run import Run
from longlive.web import review
from longlive.web.review import MAX_THUMBNAILS
from tests.support.fakes import COLOURS, FakeModels, Served, read_card, serve_page
from tests.support.page_client import cards_of
from tests.support.run_reader import wait_for

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.0), disconnect_timeout_s=60, buffer_ahead_s=45) as served:
        yield served


@pytest.fixture(scope="module")
def run(served: Served) -> Run:
    """A run with 50 chunks and more, the second prompt from chunk 1 on."""
    run = served.engine.start("ada", MEADOW, seed=7)
    run.prompt(JUMP)
    wait_for(lambda: run.store.num_chunks >= 50)
    return run


def get(served: Served, path: str, token: str, **query: Any) -> httpx.Response:
    return httpx.get(f"{served.url}{path}", params=query, headers={"Authorization": f"Bearer {token}"})


def frames(body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    while body:
        header, data = struct.unpack(">II", body[:8])
        yield json.loads(body[8 : 8 + header]), body[8 + header : 8 + header + data]
        body = body[8 + header + data :]


def card_of(url: str) -> tuple[int, int]:
    kind, data = url.split(",")
    assert kind == "data:image/webp;base64"
    return read_card(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))


@pytest.mark.parametrize(("chunk", "first", "end"), [(0, 0, 9), (1, 9, 21), (49, 585, 597)])
def test_the_segments_of_a_chunk_are_its_pictures(
    served: Served, run: Run, chunk: int, first: int, end: int
) -> None:
    answer = get(served, "segments", run.token, chunk=chunk)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    parts = list(frames(answer.content))
    assert [card for _, data in parts for card in cards_of(data)] == [
        (frame, min(chunk, 1)) for frame in range(first, end)
    ]
    for message, _ in parts:
        assert (message["kind"], message["take"], message["chunk"]) == ("segment", run.name, chunk)
        assert message["mime"].startswith("video/mp4") and message["fps"] == 16
    assert [message["ends_chunk"] for message, _ in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[0][0]["first_frame"] == first


def test_thumbnails_come_in_pages_and_show_the_picture_in_the_middle(served: Served, run: Run) -> None:
    page = get(served, "thumbnails", run.token, first=0).json()
    assert page["take"] == run.name and page["num_chunks"] >= 50
    assert [one["chunk"] for one in page["chunks"]] == list(range(MAX_THUMBNAILS))
    for one in page["chunks"][1:]:
        assert card_of(one["thumbnail"]) == (one["first_frame"] + one["num_frames"] // 2, 1)
    first = page["chunks"][0]
    assert (first["first_frame"], first["num_frames"], first["fps"], first["prompt"]) == (0, 9, 16, MEADOW)
    assert card_of(first["thumbnail"])[1] == 0
    later = get(served, "thumbnails", run.token, first=45).json()["chunks"]
    assert [one["chunk"] for one in later[:5]] == list(range(45, 50))


def test_a_thumbnail_has_its_prompt_s_colour(served: Served, run: Run) -> None:
    (one, *_) = get(served, "thumbnails", run.token, first=3).json()["chunks"]
    image = Image.open(io.BytesIO(base64.b64decode(one["thumbnail"].split(",")[1]))).convert("RGB")
    assert np.abs(np.asarray(image)[52:60].astype(int).mean((0, 1)) - COLOURS[1]).max() < 10


def test_beyond_the_end_there_are_no_thumbnails_and_no_segments(served: Served, run: Run) -> None:
    page = get(served, "thumbnails", run.token, first=999_999)
    assert page.status_code == 200 and page.json()["chunks"] == []
    answer = get(served, "segments", run.token, chunk=999_999)
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("There is no chunk 999999: chunks 0 to ")


@pytest.mark.parametrize(("path", "name"), [("segments", "chunk"), ("thumbnails", "first")])
@pytest.mark.parametrize(
    "number",
    ["", "-1", "1e3", "1.0", "٣", "0x1", " 1", "9" * 7, "9" * 4000, "../1", "<b>", "\0", "NaN"],
)
def test_what_is_no_number_is_refused_in_words(
    served: Served, run: Run, path: str, name: str, number: str
) -> None:
    answer = get(served, path, run.token, **{name: number})
    assert answer.status_code == 422
    assert answer.json() == {"detail": f"{name} must be the number of a chunk, from 0 to 999999."}


@pytest.mark.parametrize(("path", "name"), [("segments", "chunk"), ("thumbnails", "first")])
def test_a_request_without_a_number_is_refused(served: Served, run: Run, path: str, name: str) -> None:
    assert get(served, path, run.token).status_code == 422
    assert get(served, path, run.token, number=1).json()["detail"].startswith(name)


@pytest.mark.parametrize("query", ["segments?chunk=0", "thumbnails?first=0"])
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer stranger", "Basic {token}", "{token}", b"Bearer fr\xe4md"],
)
def test_only_the_run_s_token_opens_it(served: Served, run: Run, query: str, header: Any) -> None:
    value = header.replace("{token}", run.token) if isinstance(header, str) else header
    headers = {} if value is None else {"Authorization": value}
    answer = httpx.get(f"{served.url}{query}", headers=headers)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "There is no video with this token."}
    stolen = httpx.get(f"{served.url}{query}", headers={"Authorization": f"Bearer {run.key}"})
    assert stolen.status_code == 404, "the name of a run opens nothing"


@pytest.mark.parametrize("path", ["segments", "thumbnails"])
def test_the_routes_can_only_be_read(served: Served, path: str) -> None:
    assert httpx.post(f"{served.url}{path}", json={}).status_code == 405
    assert httpx.get(f"{served.url}{path}/0").status_code == 404


def test_a_run_that_was_forgotten_is_a_foreign_one(served: Served) -> None:
    run = served.engine.start("bob", MEADOW, seed=7)
    wait_for(lambda: run.store.num_chunks >= 2)
    assert get(served, "segments", run.token, chunk=1).status_code == 200
    run.stop("closed")
    wait_for(lambda: served.engine.find(run.token) is None)
    for path, name in (("segments", "chunk"), ("thumbnails", "first")):
        answer = get(served, path, run.token, **{name: 1})
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no video with this token.")


def test_files_that_are_gone_are_told_in_words(served: Served) -> None:
    run = served.engine.start("eve", MEADOW, seed=7)
    wait_for(lambda: run.store.num_chunks >= 2)
    run.delete()
    answer = get(served, "segments", run.token, chunk=1)
    assert (answer.status_code, answer.json()) == (404, {"detail": "This video is no longer kept."})
    run.stop("closed")


def test_before_the_first_chunk_there_is_nothing(served: Served) -> None:
    served.models.open_s = 1.0
    run = served.engine.start("dan", MEADOW, seed=7)
    served.models.open_s = 0.0
    answer = get(served, "segments", run.token, chunk=0)
    assert (answer.status_code, answer.json()) == (
        404,
        {"detail": "There is no chunk 0: none is stored yet."},
    )
    assert get(served, "thumbnails", run.token, first=0).json()["chunks"] == []
    run.stop("closed")


def test_segments_for_the_compatible_player_are_mpeg_ts(served: Served) -> None:
    run = served.engine.start("cleo", MEADOW, seed=7, container="ts")
    wait_for(lambda: run.store.num_chunks >= 3)
    ((message, data),) = frames(get(served, "segments", run.token, chunk=2).content)
    assert message["mime"] == "video/mp2t" and data[:1] == b"\x47"
    assert card_of(get(served, "thumbnails", run.token, first=2).json()["chunks"][0]["thumbnail"])[1] == 0
    run.stop("closed")


def test_what_is_known_of_each_chunk_is_stored_with_it(served: Served, run: Run) -> None:
    chunks = get(served, "thumbnails", run.token, first=0).json()["chunks"]
    assert chunks[0]["attended"] == {"sink": [], "window": [], "switch": None}
    assert chunks[9]["attended"] == {"sink": [0], "window": [7, 8], "switch": None}
    assert chunks[1]["attended"]["switch"] == "soft"
    assert chunks[0]["similarity"] == 1 > chunks[9]["similarity"], "another prompt has another colour here"
    assert set(chunks[9]["statistics"]) == {"brightness", "saturation", "contrast", "motion"}
    (message, _), *_ = frames(get(served, "segments", run.token, chunk=9).content)
    for name in ("attended", "statistics", "similarity", "fit", "warning"):
        assert message[name] == chunks[9][name]


def test_the_video_so_far_is_a_file_of_what_is_stored(served: Served, run: Run) -> None:
    answer = get(served, "video", run.token)
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    assert 'filename="longlive-a-red-ball-stands' in answer.headers["content-disposition"]
    cards = [frame for frame, _ in cards_of(answer.content)]
    assert cards == list(range(len(cards))) and len(cards) >= 597
    wait_for(lambda: not list(run.store.folder.glob("so-far-*")))
    assert get(served, "video", "nobody's").status_code == 404


def test_only_so_many_videos_are_written_at_once(served: Served, run: Run, monkeypatch) -> None:
    monkeypatch.setattr(review, "_writing", threading.Semaphore(0))
    answer = get(served, "video", run.token)
    assert answer.status_code == 503 and "in a few seconds" in answer.json()["detail"]


def test_a_full_disk_is_told(served: Served, run: Run, monkeypatch) -> None:
    def fail(*_: Any) -> None:
        raise MediaError("the disk is full")

    monkeypatch.setattr(review, "write_video", fail)
    answer = get(served, "video", run.token)
    assert answer.status_code == 503 and "the disk is full" in answer.json()["detail"]
