"""The size of a video's pictures: how programs ask for it; branches, session files and links keep it."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from gradio_client import Client
from gradio_client.client import Job
from gradio_client.exceptions import AppError

from longlive.errors import SessionFileError
from longlive.serving.runs.run import Run
from longlive.web.endpoints.sessions import SessionEndpoint
from longlive.web.endpoints.share_link import SharedVideo, read_share_link, write_share_link
from longlive.web.endpoints.viewer import Endpoints
from tests.support.fakes import PORTRAIT, Served, serve_page, sized_cards, sketches
from tests.support.page_client import PageClient, size_of
from tests.support.share_links import packed, unpacked

RED, BLUE = "a red ball stands on a green meadow", "a blue cube"
STORYBOARD = {"prompts": [{"at": 0, "text": RED}, {"at": 1, "text": BLUE, "switch": "hard"}]}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Two models; the second has one size."""
    limits = {"no_player_timeout_s": 20, "disconnect_timeout_s": 0.5, "retention_s": 1}
    with serve_page(sized_cards(chunk_s=0.02), others=[sketches()], **limits) as page:
        yield page


@pytest.fixture(scope="module")
def portrait(served: Served) -> dict[str, Any]:
    """Content of the session file of a video of upright pictures."""
    client = PageClient(served.url)
    *asked, size = STORYBOARD, 2, 7, None, None, "64x96"
    video, session_file, _ = client.predict(*asked, size, api_name="/generate")
    client.close()
    assert shown(video) == (128, 192), "enlarged to twice their size"
    values: dict[str, Any] = json.loads(Path(session_file).read_text())
    assert (values["width"], values["height"]) == PORTRAIT
    return values


def shown(video: Any) -> tuple[int, int]:
    """The size of a video as the client hands it over."""
    return size_of(video["video"] if isinstance(video, dict) else video)


def begun(served: Served, job: Job, chunk: int = 0) -> tuple[Run, list[int], tuple[int, int]]:
    """The run of a call from its first pictures in a chunk on, the size that it said, and that of these."""
    said: list[int] = []
    for player, *_ in job:
        if player["kind"] == "begin":
            said = player["size"]
        if player["kind"] == "segment" and player["chunk"] >= chunk:
            run = served.engine.find(player["token"])
            assert run is not None
            with av.open(io.BytesIO(base64.b64decode(player["data"]))) as file:
                stream = file.streams.video[0]
                return run, said, (stream.width // 2, stream.height // 2)
    raise AssertionError("no pictures came")


def test_a_program_chooses_a_size_or_gets_the_models_own(served: Served, client: Client) -> None:
    for arguments, size in (
        ((RED, 7, [], None, None, "64x96"), (64, 96)),
        ((RED, 7, [], None, "test cards", "80x80"), (80, 80)),
        ((RED, 7, []), (96, 64)),
        (("a line", 7, [], None, "sketches"), (96, 64)),
        ((RED, 7, [], None, None, ""), (96, 64)),
    ):
        run, said, seen = begun(served, client.submit(*arguments, api_name="/start"))
        client.predict(api_name="/stop")
        assert tuple(said) == seen == run.size == size
    sizes = httpx.get(f"{served.url}health").json()["sizes"]
    assert sizes == {"test cards": ["96x64", "64x96", "80x80"], "sketches": ["96x64"]}


def test_a_branch_has_the_size_of_its_video(served: Served, client: Client) -> None:
    asked = (RED, 7, [], None, None, "64x96")
    parent, _, _ = begun(served, client.submit(*asked, api_name="/start"), chunk=1)
    job = client.submit(parent.token, 1, BLUE, "soft", None, api_name="/branch")
    run, said, seen = begun(served, job)
    client.predict(api_name="/stop")
    assert run is not parent and tuple(said) == seen == run.size == PORTRAIT


def test_a_session_file_and_a_link_are_made_again_in_their_size(
    served: Served, client: Client, portrait: dict[str, Any]
) -> None:
    *_, video, session_file, sums = list(client.submit(portrait, api_name="/verify"))[-1]
    assert sums["same"] == sums["chunks"] == len(portrait["chunks"])
    assert shown(video) == (128, 192)
    again = json.loads(Path(session_file).read_text())
    assert (again["width"], again["height"]) == PORTRAIT
    record, _ = SessionEndpoint(Endpoints(served.engine))._read({"file": portrait})
    link = write_share_link(SharedVideo.of(record))
    assert read_share_link(link).size == PORTRAIT
    *_, video, _, _ = list(client.submit(f"#{link}", api_name="/open_link"))[-1]
    assert shown(video) == (128, 192)


def test_what_a_model_cannot_make_is_told_in_words(
    served: Served, client: Client, portrait: dict[str, Any]
) -> None:
    start = (RED, 7, [], None)
    for model, size, words in (
        (None, "480x832", "the pictures of test cards have 96x64, 64x96 or 80x80 pixels"),
        ("sketches", "64x96", "size is '64x96', but the pictures of sketches have 96x64 pixels"),
        (None, "tall", "size is 'tall', but it must be width x height in pixels"),
        (None, "x" * 9000, "it must be width x height in pixels"),
        (None, 7, "it must be width x height in pixels"),
        (None, [64, 96], "it must be width x height in pixels"),
        (None, {"a": 1}, "it must be width x height in pixels"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(*start, model, size, api_name="/start")
        with pytest.raises(AppError, match=words):
            client.predict(STORYBOARD, 1, 7, None, model, size, api_name="/generate")
    other = portrait | {"width": 832, "height": 480}
    with pytest.raises(AppError, match="have 832x480 pixels, but test cards makes 96x64, 64x96"):
        client.predict(other, api_name="/verify")
    described = SessionEndpoint(Endpoints(served.engine)).describe({"file": other})
    assert described["size"] == "832x480" and "have 832x480 pixels" in described["problem"]


@pytest.mark.parametrize("size", [[64], [64, 96, 3], ["64", 96], [64, 2**40], 7, "64x96", {"a": 1}])
def test_a_link_with_a_hostile_size_is_refused(portrait: dict[str, Any], size: Any) -> None:
    record = SharedVideo.of(SessionEndpoint._read(None, {"file": portrait})[0])  # type: ignore[arg-type]
    with pytest.raises(SessionFileError, match="cannot be opened"):
        read_share_link(packed(unpacked(write_share_link(record)) | {"size": size}))


def test_a_link_of_an_earlier_version_means_the_models_own_size(
    served: Served, portrait: dict[str, Any]
) -> None:
    record, _ = SessionEndpoint(Endpoints(served.engine))._read({"file": portrait})
    values = unpacked(write_share_link(SharedVideo.of(record)))
    del values["size"]
    old = read_share_link(packed(values))
    assert old.size is None and old.record(served.engine.executor.describe()).size == (96, 64)


def test_the_prompts_of_a_recorded_video_are_made_in_its_size_where_the_model_has_it(
    served: Served, portrait: dict[str, Any]
) -> None:
    endpoint = SessionEndpoint(Endpoints(served.engine))
    record, _ = endpoint._read({"file": portrait})
    run = endpoint._start_prompts(record, "ada", "", "live")
    other = endpoint._start_prompts(endpoint._read({"file": portrait | {"width": 832}})[0], "ada", "", "live")
    assert (run.size, other.size) == (PORTRAIT, (96, 64))
    other.stop("closed")
