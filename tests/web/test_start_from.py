"""A picture or video that a program sends to begin with: taken, recorded, refused in words if it is bad."""

import base64
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image

from longlive import ModelBundle, Session
from longlive.errors import BusyError, ConfigError, MediaError
from longlive.generation.session_file import SessionRecord
from longlive.serving.engine import Engine
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.web.endpoints import uploads
from longlive.web.endpoints.uploads import read_start_file
from longlive.web.middleware.json_body import MAX_FILE_BYTES
from longlive.web.page import build_page, page_options
from tests.support.page_client import AS_JSON, PageClient
from tests.support.run_reader import unfinished

RED = "a red ball"


@pytest.fixture(scope="module")
def page(tiny_models: ModelBundle) -> Iterator[tuple[str, Engine]]:
    engine = Engine(ThreadExecutor(ModelRunner(tiny_models)))
    page = build_page(engine)
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **page_options())
    yield url, engine
    page.close()
    engine.close()


@pytest.fixture(scope="module")
def client(page: tuple[str, Engine]) -> Iterator[Client]:
    """A program; no test leaves anything of it going on."""
    client = PageClient(page[0])
    yield client
    client.close()


def data_url(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(width: int = 96, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def clip(num_frames: int = 40) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def verified(models: ModelBundle, path: str, folder: Path) -> SessionRecord:
    """The session file, after its video was made again."""
    record = SessionRecord.read(path)
    with Session.load(models, path) as session:
        assert session.digests == record.chunks
    return record


@pytest.mark.parametrize(("content", "chunks"), [(png(), 1), (clip(), 3)], ids=["picture", "video"])
def test_generate_begins_with_a_file(
    client: Client, tiny_models: ModelBundle, tmp_path: Path, content: bytes, chunks: int
) -> None:
    story = {"prompts": [{"at": 0, "text": RED}]}
    _, path, _ = client.predict(story, 3, 7, data_url(content), api_name="/generate")
    record = verified(tiny_models, path, tmp_path)
    expected = Session(tiny_models, RED, seed=7, start=uploads.read_start(content, tiny_models.config))
    made = [expected.next_latents().digest for _ in range(chunks + 1)]
    assert record.chunks[: chunks + 1] == tuple(made) and record.start == expected.record().start


def test_start_begins_with_a_file_and_stop_leaves_its_session_file(
    client: Client, tiny_models: ModelBundle, tmp_path: Path
) -> None:
    job = client.submit(RED, 7, [], data_url(png()), api_name="/start")
    for output in job:
        if output[0]["kind"] == "segment" and output[0]["chunk"] == 2:
            client.predict("a blue ball", "hard", api_name="/prompt")
        if output[0]["kind"] == "segment" and output[0]["chunk"] == 4:
            client.predict(api_name="/stop")
    record = verified(tiny_models, output[4], tmp_path)
    assert record.start is not None and [event.text for event in record.prompts] == [RED, "a blue ball"]


def test_who_leaves_the_file_out_begins_with_the_prompt(page: tuple[str, Engine], client: Client) -> None:
    for more in ((), (None,), ("",)):
        story = {"prompts": [{"at": 0, "text": RED}]}
        _, path, _ = client.predict(story, 1, 7, *more, api_name="/generate")
        assert SessionRecord.read(path).start is None
    with httpx.Client(base_url=page[0], timeout=60) as http:
        call = http.post("gradio_api/call/generate", json={"data": [story, 1, 7]})
        events = http.get(f"gradio_api/call/generate/{call.json()['event_id']}").text
        assert "event: complete" in events


BAD: dict[str, tuple[Any, str]] = {
    "a text": (data_url(b"I am no picture. " * 9), "no picture or video of a known format"),
    "a text called PNG": (data_url(b"<svg onload=alert(1)>", "image/png"), "no picture or video"),
    "nothing": (data_url(b""), "is empty"),
    "cut off": (data_url(png()[:100]), "cannot be read"),
    "no data URL": ("http://169.254.169.254/latest", "must be a data URL"),
    "a path": ("/etc/passwd", "must be a data URL"),
    "a file URL": ("file:///etc/passwd", "must be a data URL"),
    "not base64": ("data:image/png;base64,###", "it is no base64"),
    "not in base64": ("data:text/plain,hello", "must be a data URL"),
    "a number": (7, "must be a data URL"),
    "a list": ([data_url(png())], "must be a data URL"),
    "an object": ({"url": data_url(png())}, "must be a data URL"),
    "a playlist": (data_url(b"#EXTM3U\n/etc/passwd\n", "video/mp4"), "no picture or video"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_in_words_and_nothing_is_started(
    page: tuple[str, Engine], client: Client, name: str
) -> None:
    value, words = BAD[name]
    with pytest.raises(AppError, match=words):
        client.predict({"prompts": [{"at": 0, "text": RED}]}, 1, 7, value, api_name="/generate")
    with pytest.raises(AppError, match=words):
        client.submit(RED, 7, [], value, api_name="/start").result()
    assert not unfinished(page[1])


def test_a_picture_of_200_megapixels_is_told_in_words(tiny_models: ModelBundle) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000 * 60_001), 1)
    parts = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    bomb = data_url(b"\x89PNG\r\n\x1a\n" + parts)
    assert len(bomb) < MAX_FILE_BYTES * 1.4
    with pytest.raises(MediaError, match="more than 50 million pixels"):
        read_start_file(bomb, tiny_models.config)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(page: tuple[str, Engine]) -> None:
    for size, status in ((MAX_FILE_BYTES - 9, 200), (MAX_FILE_BYTES + 300_000, 413)):
        body = {"data": [RED, 7, [], data_url(bytes(size))]}
        answer = httpx.post(f"{page[0]}gradio_api/call/start", json=body, timeout=60)
        assert answer.status_code == status, answer.text
    assert "3,000,000" in answer.json()["detail"]


def test_only_the_file_may_be_large(page: tuple[str, Engine]) -> None:
    large = "x" * 300_000
    bodies: list[Any] = [
        {"data": [large, 7, [], None]},
        {"data": [RED, 7, [], data_url(b"a")], "session_hash": large},
        {"data": [RED, 7, ["[" * 100] * 3000, data_url(bytes(999))]},
        {"data": [RED, 7, [data_url(bytes(200_000))], data_url(bytes(200_000))]},
    ]
    for body in bodies:
        answer = httpx.post(f"{page[0]}gradio_api/call/start", json=body, timeout=60)
        assert answer.status_code == 413, answer.text
    reset = httpx.post(f"{page[0]}gradio_api/reset", json={"event_id": data_url(bytes(300_000))}, timeout=60)
    assert reset.status_code == 413, "other requests carry no file"


def test_only_so_many_files_are_received_at_once(page: tuple[str, Engine]) -> None:
    """Callers who never end their body keep no more than a few places, and only for a while."""
    release, answers = threading.Event(), []

    def endless() -> Iterator[bytes]:
        yield b'{"data": ["' + b"x" * 300_000
        release.wait(20)
        yield b'"]}'

    def call() -> None:
        url = f"{page[0]}gradio_api/call/start"
        answers.append(httpx.post(url, content=endless(), headers=AS_JSON, timeout=60).status_code)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(2)
    body = json.dumps({"data": [RED, 7, [], data_url(bytes(300_000))]})
    full = httpx.post(f"{page[0]}gradio_api/call/start", content=body, headers=AS_JSON, timeout=60)
    small = httpx.get(f"{page[0]}config")
    release.set()
    for caller in callers:
        caller.join()
    assert (full.status_code, small.status_code) == (503, 200) and answers == [413] * 4
    again = httpx.post(f"{page[0]}gradio_api/call/start", content=body, headers=AS_JSON, timeout=60)
    assert again.status_code == 200


def test_who_waits_too_long_for_others_files_is_told(
    tiny_models: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "READING_TIMEOUT_S", 0.05)
    monkeypatch.setattr(uploads, "_reading", threading.BoundedSemaphore(1))
    with uploads._reading, pytest.raises(BusyError, match="Too many files"):
        read_start_file(data_url(png()), tiny_models.config)
    with pytest.raises(ConfigError):
        read_start_file("no file", tiny_models.config)
    assert read_start_file(data_url(png()), tiny_models.config) is not None
