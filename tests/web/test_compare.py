"""``/compare`` and ``/forget``, as a program calls them: three takes of one chunk, and their end."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from longlive.serving.engine import Engine
from longlive.serving.scheduler import RunStatus
from longlive.web.endpoints.compare import NUM_CHUNKS, CompareEndpoint
from longlive.web.endpoints.viewer import Endpoints
from tests.support.event_loop import run_in_thread
from tests.support.fakes import FakeModels, Served, make_engine, serve_page
from tests.support.page_client import PageClient, cards_of
from tests.support.run_reader import is_segment, read, unfinished, wait_for

MEADOW, CUBE = "a red ball stands on a green meadow", "a blue cube"
LAST = (3 + NUM_CHUNKS) * 12 - 3
"""Pictures of a take that goes on after three chunks."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.02), disconnect_timeout_s=0.5) as page:
        yield page


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    client = PageClient(served.url)
    yield client
    client.close()
    served.clear()


@pytest.fixture
def token(client: Client) -> str:
    """Of a video with four chunks, which goes on."""
    for player, *_ in client.submit(MEADOW, 7, [], api_name="/start"):
        if player.get("chunk") == 3:
            return str(player["token"])
    raise AssertionError("it has ended")


def test_a_prompt_is_tried_in_all_three_ways(served: Served, client: Client, token: str) -> None:
    answers = list(client.submit(token, 3, CUBE, api_name="/compare"))
    assert all(progress["state"] == "making" and files is None for progress, files in answers[:-1])
    made = [[take["made"] for take in progress["takes"]] for progress, _ in answers]
    assert made == sorted(made) and made[-1] == [NUM_CHUNKS] * 3, "one after the other"
    progress, files = answers[-1]
    assert progress["state"] == "done" and progress["chunk"] == 3
    takes = progress["takes"]
    assert [take["name"] for take in takes] == ["Smooth", "Cut", "Drift"]
    parent = {"run": served.engine.find(token).name, "chunk": 3}  # type: ignore[union-attr]
    for take in takes:
        assert take["is_ready"] and take["restored"] == "exact" and take["parent"] == parent
        assert take["num_chunks"] == 3 + NUM_CHUNKS and take["from_s"] == 33 / 16
    films, records = files[::2], [json.loads(Path(one).read_text()) for one in files[1::2]]
    for film, cut in zip(films, (0, 3, 0), strict=True):  # a cut shortens the chunk at which it comes
        assert cards_of(film) == [(frame, int(frame >= 33)) for frame in range(LAST - cut)]
    assert [record["prompts"][1] for record in records] == [
        {"chunk": 3, "text": CUBE, "switch": switch} for switch in ("soft", "hard", "keep")
    ]
    assert served.engine.find(token).status is RunStatus.FINISHED  # type: ignore[union-attr]


def test_it_goes_on_from_the_end_of_a_take(client: Client, token: str) -> None:
    *_, (progress, _) = client.submit(token, 3, CUBE, api_name="/compare")
    drift = progress["takes"][2]
    for player, *_ in client.submit(
        drift["token"], drift["num_chunks"], "", "soft", None, api_name="/branch"
    ):
        if player["kind"] == "segment":
            break
    assert (player["chunk"], player["first_frame"], player["prompt"]) == (3 + NUM_CHUNKS, LAST, CUBE)
    client.predict(api_name="/stop")


def test_what_cannot_be_compared_is_refused_in_words_and_the_video_goes_on(
    served: Served, client: Client, token: str
) -> None:
    for how, message in {
        ("guess", 1, CUBE): "no longer kept",
        (token, 0, CUBE): "chunk is 0, but that video has",
        (token, 9999, CUBE): "chunk is 9999, but that video has",
        (token, 1.5, CUBE): "chunk is 1.5, but it must be a whole number",
        (token, 1, "  "): "Type a prompt first",
        (token, 1, None): "Type a prompt first",
        (token, 1, "x" * 10_000): "characters",
    }.items():
        with pytest.raises(AppError, match=message):
            client.predict(*how, api_name="/compare")
    assert served.engine.find(token).status is RunStatus.RUNNING  # type: ignore[union-attr]
    client.predict(api_name="/stop")


def test_a_caller_has_one_comparison_at_a_time(client: Client, token: str) -> None:
    job = client.submit(token, 1, CUBE, api_name="/compare")
    next(iter(job))
    with pytest.raises(AppError, match="Three takes are being made already"):
        client.predict(token, 1, CUBE, api_name="/compare")
    *_, (progress, _) = job
    assert progress["state"] == "done"


def test_a_caller_who_goes_away_leaves_nothing(served: Served, token: str, client: Client) -> None:
    other = PageClient(served.url)
    job = other.submit(token, 1, CUBE, api_name="/compare")
    next(iter(job))
    job.cancel()
    wait_for(lambda: [run.token for run in served.engine.runs] == [token], timeout=60)
    client.predict(api_name="/stop")
    other.close()


def test_a_take_can_be_forgotten_when_it_has_ended(served: Served, client: Client, token: str) -> None:
    with pytest.raises(AppError, match="still being made"):
        client.predict(token, api_name="/forget")
    client.predict(api_name="/stop")
    wait_for(lambda: served.engine.find(token).status is RunStatus.FINISHED)  # type: ignore[union-attr]
    assert client.predict(token, api_name="/forget") == "The take was deleted."
    assert served.engine.find(token) is None
    for gone in (token, "guess", ""):
        assert "no longer kept" in client.predict(gone, api_name="/forget")
    answer = httpx.get(
        f"{served.url}segments", params={"chunk": 0}, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 404


@pytest.fixture
def engine() -> Iterator[Engine]:
    patience = {"heartbeat_timeout_s": 600, "disconnect_timeout_s": 600}
    engine = make_engine(FakeModels(chunk_s=0.02, streams=1), **patience)
    yield engine
    engine.close()


def interrupted(engine: Engine, interrupt: Callable[[CompareEndpoint, Any], object]) -> dict[str, Any]:
    """What the page is told last when something happens while the second take is made."""
    endpoint = CompareEndpoint(Endpoints(engine))
    parent = engine.start("ada", MEADOW, seed=7)
    read(parent, is_segment(2))
    request: Any = SimpleNamespace(session_hash="ada", request=SimpleNamespace(), client=None, headers={})

    async def follow() -> dict[str, Any]:
        progress: dict[str, Any] = {}
        has_come = False
        async for progress in endpoint.compare_on_page(parent.token, 2, CUBE, request):
            if progress["takes"][1]["made"] and not has_come:
                has_come = True
                interrupt(endpoint, request)
        assert has_come
        return progress

    return run_in_thread(follow())


def ready(progress: dict[str, Any]) -> list[str]:
    return [take["name"] for take in progress["takes"] if take["is_ready"]]


def test_a_comparison_can_be_cancelled_and_what_is_ready_stays(engine: Engine) -> None:
    progress = interrupted(engine, lambda endpoint, request: endpoint.cancel(request))
    assert (progress["state"], ready(progress)) == ("ended", ["Smooth"])
    assert progress["message"] == "Cancelled. The takes that were ready are kept."
    wait_for(lambda: len(list(engine.runs)) == 2 and not unfinished(engine))


def test_another_video_of_the_viewer_ends_a_comparison(engine: Engine) -> None:
    progress = interrupted(engine, lambda *_: engine.start("ada", CUBE, seed=7))
    assert (progress["state"], ready(progress)) == ("ended", ["Smooth"])
    assert progress["message"] == "Another video was started, so no more takes are made."
    assert len(unfinished(engine)) == 1


def test_a_full_queue_ends_a_comparison_and_what_is_ready_stays(engine: Engine) -> None:
    def crowd(*_: object) -> None:
        for viewer in ("bob", "cleo"):
            engine.start(viewer, MEADOW, seed=7)
        engine.limits = replace(engine.limits, max_queue_size=1)

    progress = interrupted(engine, crowd)
    assert (progress["state"], ready(progress)) == ("refused", ["Smooth", "Cut"])
    assert progress["message"].startswith("The queue is full (1 wait).")


def test_a_model_that_breaks_ends_a_comparison_and_says_so(engine: Engine) -> None:
    def fail(*_: object) -> None:
        engine.executor.runner.models.break_at = 8  # type: ignore[attr-defined]

    progress = interrupted(engine, fail)
    assert (progress["state"], ready(progress)) == ("ended", ["Smooth"])
    assert "Something went wrong while making your video" in progress["message"]


def test_who_stops_reading_ends_a_comparison(engine: Engine) -> None:
    endpoint = CompareEndpoint(Endpoints(engine))
    parent = engine.start("ada", MEADOW, seed=7)
    read(parent, is_segment(2))
    request: Any = SimpleNamespace(session_hash="ada", request=SimpleNamespace(), client=None, headers={})

    async def leave() -> None:
        answers = endpoint.compare_on_page(parent.token, 2, CUBE, request)
        while not (await anext(answers))["takes"][0]["made"]:
            pass
        await answers.aclose()  # type: ignore[attr-defined]

    run_in_thread(leave())
    wait_for(lambda: list(engine.runs) == [parent] and not unfinished(engine))
    endpoint.cancel(request)
