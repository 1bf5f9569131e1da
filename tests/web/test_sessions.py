"""Session files and share links, as programs and the page send them: opened, verified, shared, refused."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longlive.errors import LongLiveError
from longlive.generation.storyboard import storyboard_of_record
from longlive.web.endpoints.sessions import SessionEndpoint, read_session
from longlive.web.endpoints.share_link import SharedVideo, write_share_link
from longlive.web.endpoints.viewer import Endpoints
from longlive.web.middleware.json_body import MAX_FILE_BYTES
from tests.support.fakes import FakeModels, Served, make_engine, serve_page, tiny_config
from tests.support.hostile_requests import junk
from tests.support.page_client import AS_JSON, PageClient, cards_of
from tests.support.run_reader import is_finished, is_segment, read, unfinished

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.02), disconnect_timeout_s=2, retention_s=30) as page:
        yield page


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    client = PageClient(served.url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def session(served: Served) -> dict[str, Any]:
    """Content of a session file of five chunks, the last of them cut short."""
    client = PageClient(served.url)
    story = {"prompts": [{"at": 0, "text": MEADOW}, {"at": 1.5, "text": JUMP, "switch": "hard"}]}
    _, session_file, _ = client.predict(story, 3, 7, api_name="/generate")
    client.close()
    values: dict[str, Any] = json.loads(Path(session_file).read_text())
    return values


def url_of(content: bytes) -> str:
    return f"data:application/json;base64,{base64.b64encode(content).decode()}"


def component(served: Served, name: str, value: Any) -> httpx.Response:
    """The answer of a function of the panel, as the browser asks for it."""
    parts = httpx.get(f"{served.url}config").json()["components"]
    number = next(one["id"] for one in parts if one["props"].get("elem_id") == "open-session")
    asked = {"data": value, "component_id": number, "fn_name": name, "session_hash": "somebody"}
    return httpx.post(f"{served.url}gradio_api/component_server/", content=json.dumps(asked), headers=AS_JSON)


@pytest.mark.parametrize("form", ["object", "text", "data URL"])
def test_a_session_file_is_made_again_and_each_chunk_compared(
    client: Client, session: dict[str, Any], form: str
) -> None:
    text = json.dumps(session)
    sent = {"object": session, "text": text, "data URL": url_of(text.encode())}[form]
    outputs = list(client.submit(sent, api_name="/verify"))
    assert len(session["chunks"]) == 5
    *_, video, session_file, sums = outputs[-1]
    assert sums == {
        "chunks": 5,
        "made": 5,
        "same": 5,
        "different": 0,
        "first_difference": None,
        "has_left": False,
    }
    ends = [output[0] for output in outputs if output[0].get("ends_chunk")]
    assert [message["matches"] for message in ends] == [True] * 5
    assert json.loads(Path(session_file).read_text()) == session
    cards = cards_of(video["video"] if isinstance(video, dict) else video)
    assert len(cards) == 48 and cards[-1] == (47, 1), "it ends within its last chunk, as it did"


def test_a_changed_digest_is_found_at_its_chunk(client: Client, session: dict[str, Any]) -> None:
    chunks = ["0" * 16 if number == 3 else digest for number, digest in enumerate(session["chunks"])]
    *_, sums = list(client.submit(session | {"chunks": chunks}, api_name="/verify"))[-1]
    assert sums == {
        "chunks": 5,
        "made": 5,
        "same": 4,
        "different": 1,
        "first_difference": 3,
        "has_left": False,
    }


def test_a_share_link_makes_the_same_pictures(client: Client, served: Served) -> None:
    job = client.submit(MEADOW, 11, [{"at": 1, "text": JUMP}], api_name="/start")
    for output in job:
        if output[0].get("chunk") == 3 and output[0]["ends_chunk"]:
            client.predict(api_name="/stop")
    *_, video, session_file = output
    link = client.predict(output[0]["token"], api_name="/share_link")
    assert link.startswith("#video=1.")
    again = list(client.submit(link, api_name="/open_link"))[-1]
    count = len(json.loads(Path(session_file).read_text())["chunks"])
    assert again[-1] == {
        "chunks": count,
        "made": count,
        "same": 0,
        "different": 0,
        "first_difference": None,
        "has_left": False,
    }
    assert (
        json.loads(Path(again[4]).read_text())["chunks"]
        == json.loads(Path(session_file).read_text())["chunks"]
    )
    shown = [one["video"] if isinstance(one, dict) else one for one in (video, again[3])]
    assert cards_of(shown[0]) == cards_of(shown[1])


def test_what_a_file_holds_is_said_before_anything_is_made(served: Served, session: dict[str, Any]) -> None:
    file = url_of(b"\xef\xbb\xbf" + json.dumps(session).encode())
    found = component(served, "describe", {"file": file}).json()
    assert found["prompts"] == [
        {"at": 0, "text": MEADOW, "switch": None},
        {"at": 33 / 16, "text": JUMP, "switch": "hard"},
    ]
    assert (found["seed"], found["chunks"], found["seconds"], found["problem"]) == ("7", 5, 3.0, "")
    assert found["has_digests"] and not found["begins_with_picture"]
    other = url_of(json.dumps(session | {"model": "wan", "model_digest": "ab" * 32}).encode())
    found = component(served, "describe", {"file": other}).json()
    assert found["problem"] == "This video was made with the model wan, but test cards runs here."
    assert not unfinished(served.engine)


def test_the_prompts_of_another_model_are_made_at_their_times(session: dict[str, Any]) -> None:
    record = read_session(session | {"stream": session["stream"] | {"chunk": 6, "window": 12, "sink": 3}})
    scenes, _ = storyboard_of_record(record, tiny_config())
    assert [(scene.at, scene.text) for scene in scenes] == [(0, MEADOW), (69 / 16, JUMP)]


LARGE = 400_000
BAD = {
    "nothing": ({}, "has version None"),
    "a list": ([1], "no session file"),
    "a number": (7, "no session file"),
    "no JSON": ("a red ball", "cannot be read.*not valid"),
    "a picture": (url_of(b"\x89PNG\r\n\x1a\n"), "cannot be read.*not UTF-8"),
    "not base64": ("data:application/json;base64,###", "it is no base64"),
    "no data URL": ("data:text/plain,hello", "must be a data URL"),
    "deep": ("[" * 100_000, "cannot be read"),
    "another version": ({"version": 9}, "has version 9"),
    "without prompts": ({"version": 1, "prompts": []}, "does not make sense"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_words_and_nothing_is_started(
    served: Served, caller: Client, name: str
) -> None:
    value, words = BAD[name]
    with pytest.raises(AppError, match=words):
        caller.submit(value, api_name="/verify").result()
    error = component(served, "describe", {"file": value}).json()["error"]
    assert error and "Traceback" not in error
    assert not unfinished(served.engine)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model_digest": "ab" * 32}, "was made with the model test cards, but test cards runs here"),
    "dtype": ({"dtype": "bfloat16"}, "another dtype"),
    "window": ({"stream": {"chunk": 3, "window": 3 * 10**8, "sink": 3}}, "other options.*window 300000000"),
    "seed": ({"seed": "7"}, "seed is '7'"),
    "start": ({"start": "AAAA"}, "begins with cannot be read"),
    "field": ({"colour": "red"}, "colour"),
    "no chunks": ({"chunks": []}, "no chunks"),
    "markup": ({"prompts": [{"chunk": 0, "text": "\0", "switch": None}]}, "control character"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_cannot_be_made_again_is_told_in_words(
    served: Served, caller: Client, session: dict[str, Any], name: str
) -> None:
    change, words = CHANGES[name]
    with pytest.raises(AppError, match=words):
        caller.submit(session | change, api_name="/verify").result()
    found = component(served, "describe", {"file": url_of(json.dumps(session | change).encode())}).json()
    assert found.get("error") or found["problem"]
    assert not unfinished(served.engine)


def test_a_long_session_file_fits_and_a_huge_one_is_refused(served: Served, session: dict[str, Any]) -> None:
    long = session | {"chunks": ["0123456789abcdef"] * 15_000}
    content = json.dumps(long).encode()
    assert len(content) > 250_000
    assert component(served, "describe", {"file": url_of(content)}).json()["chunks"] == 15_000
    call = f"{served.url}gradio_api/call/verify"
    for data, status in (
        (url_of(bytes(MAX_FILE_BYTES)), 200),
        (url_of(bytes(MAX_FILE_BYTES + 300_000)), 413),
    ):
        assert httpx.post(call, json={"data": [data]}, timeout=60).status_code == status
        asked = component(served, "describe", {"file": data})
        assert asked.status_code == status
    assert component(served, "describe", {"file": "x" * LARGE}).status_code == 413, "only a data URL is large"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("", "cannot be opened"),
        ("#video=1.", "cannot be opened"),
        ("#video=9.abc", "has version '9'"),
        ("x" * 20_000, "it is too long"),
        (7, "cannot be opened"),
    ],
)
def test_a_bad_link_is_told_in_words(served: Served, caller: Client, link: Any, words: str) -> None:
    with pytest.raises(AppError, match=words):
        caller.submit(link, api_name="/open_link").result()
    assert words in component(served, "describe", {"link": link}).json()["error"]


def test_a_link_of_another_model_and_a_cut_one_are_told_in_words(
    caller: Client, session: dict[str, Any]
) -> None:
    link = write_share_link(
        SharedVideo.of(read_session(session | {"model": "wan", "model_digest": "ab" * 32}))
    )
    with pytest.raises(AppError, match="made with the model wan, but test cards runs here"):
        caller.submit(link, api_name="/open_link").result()
    with pytest.raises(AppError, match="a part of it is missing"):
        caller.submit(link[:-9], api_name="/open_link").result()


@pytest.mark.parametrize("token", ["", "unknown", None, 7])
def test_without_a_video_there_is_nothing_to_share(served: Served, caller: Client, token: Any) -> None:
    with pytest.raises(AppError, match="nothing to share yet"):
        caller.predict(token, api_name="/share_link")
    assert "nothing to share" in component(served, "share", {"token": token}).json()["error"]
    assert "no longer kept" in component(served, "describe", {"token": token}).json()["error"]


def test_the_thumbnails_of_a_reload_say_what_was_compared(served: Served, session: dict[str, Any]) -> None:
    chunks = ["0" * 16, *session["chunks"][1:]]
    run = served.engine.replay("bob", read_session(session | {"chunks": chunks}))
    read(run, is_segment(5))
    headers = {"Authorization": f"Bearer {run.token}"}
    found = httpx.get(f"{served.url}thumbnails?first=0", headers=headers).json()["chunks"]
    assert [one["matches"] for one in found[:6]] == [False, True, True, True, True, None]
    run.stop("closed")
    read(run, is_finished)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[SessionEndpoint]:
    engine = make_engine(FakeModels())
    yield SessionEndpoint(Endpoints(engine))
    engine.close()


def parts_of(value: Any) -> st.SearchStrategy[Any]:
    """A session file with some of its fields, or fields of fields, replaced by anything."""
    if isinstance(value, dict):
        fields = {name: st.just(part) | junk | parts_of(part) for name, part in value.items()}
        return st.fixed_dictionaries(fields)
    if isinstance(value, list) and value:
        return st.lists(st.just(value[0]) | junk | parts_of(value[0]), max_size=4)
    return st.just(value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_session_file_is_read_as_editors_save_it(session: dict[str, Any], encoding: str) -> None:
    record = read_session(session)
    assert read_session(url_of(json.dumps(session).encode(encoding))) == record
    assert read_session("\ufeff" + json.dumps(session)) == record


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_file_holds_is_read_or_refused_in_words(
    endpoint: SessionEndpoint, session: dict[str, Any], data: st.DataObject
) -> None:
    values = data.draw(parts_of(session | {"version": 1}))
    for source in ({"file": values}, {"file": json.dumps(values, default=str)}, values):
        answer = endpoint.describe(source)
        assert answer.get("error") or json.dumps(answer)
    try:
        read_session(values)
    except LongLiveError as error:
        assert str(error)
