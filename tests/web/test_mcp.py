"""What programs find as tools, by a real handshake of the Model Context Protocol."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av
import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

from longlive.web.page import build_page, page_options
from tests.support.event_loop import run_in_thread
from tests.support.fakes import make_engine, read_card

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
STORYBOARD = {
    "prompts": [{"at": 0, "text": "a red ball"}, {"at": 1, "text": "a blue cube", "switch": "hard"}]
}


@contextmanager
def serve(**options: Any) -> Iterator[str]:
    engine = make_engine()
    page = build_page(engine, with_mcp=bool(options))
    _, url, _ = page.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **options, **page_options()
    )
    try:
        yield f"{url}gradio_api/mcp/"
    finally:
        page.close()
        engine.close()


def ask(url: str, question: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    async def shake_hands() -> Any:
        async with (
            streamablehttp_client(url) as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await question(session)

    return run_in_thread(shake_hands())


@pytest.fixture(scope="module")
def mcp() -> Iterator[str]:
    with serve(mcp_server=True) as url:
        yield url


def test_only_the_bounded_endpoint_is_a_tool(mcp: str) -> None:
    tools = ask(mcp, lambda session: session.list_tools()).tools
    assert [tool.name for tool in tools] == ["generate"]
    schema = tools[0].inputSchema
    assert list(schema["properties"]) == ["storyboard", "seconds", "seed", "start_from", "model", "size"]
    assert "prompts" in schema["properties"]["storyboard"]["description"]
    assert [tool["name"] for tool in httpx.get(f"{mcp}schema").json()] == ["generate"]


def test_the_tool_makes_a_video(mcp: str) -> None:
    arguments = {"storyboard": STORYBOARD, "seconds": 2, "seed": 3}
    answer = ask(mcp, lambda session: session.call_tool("generate", arguments))
    words = json.dumps([part.text for part in answer.content])
    assert not answer.isError and "-seed3.mp4" in words and "-seed3.json" in words, words
    url = next(part for part in words.split("'") if part.startswith("http") and part.endswith(".mp4"))
    with av.open(url) as video:
        cards = [read_card(picture.to_ndarray(format="rgb24")) for picture in video.decode(video=0)]
    assert cards == [(number, int(number >= 21)) for number in range(32)]


@pytest.mark.parametrize(
    "name", ["start", "start_compatible", "prompt", "stop", "resume", "leave", "playhead"]
)
def test_what_plays_live_is_no_tool(mcp: str, name: str) -> None:
    answer = ask(mcp, lambda session: session.call_tool(name, {"prompt": "a red ball"}))
    assert answer.isError and "Unknown tool" in answer.content[0].text


def test_a_tool_refuses_in_words_what_it_cannot_do_and_takes_no_files(mcp: str) -> None:
    answer = ask(
        mcp, lambda session: session.call_tool("generate", {"storyboard": {"prompts": [{"text": 7}]}})
    )
    words = " ".join(part.text for part in answer.content)
    assert answer.isError and "must hold a text" in words and "Traceback" not in words
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    call = {"name": "generate", "arguments": {"storyboard": {"prompts": [file]}}}
    refused = httpx.post(mcp, json=INITIALIZE | {"method": "tools/call", "params": call})
    assert (refused.status_code, refused.json()) == (400, {"detail": "Files are not accepted."})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 20_000,
        b'{"jsonrpc": "2.0", "id": NaN}',
        json.dumps(INITIALIZE).encode(),
        json.dumps(INITIALIZE | {"method": "tools/call", "params": {"name": "\ud800"}}).encode(),
        json.dumps(INITIALIZE | {"params": "x" * 300_000}).encode(),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("path", ["", "messages/?session_id=a", "schema", "nothing", "../mcp/"])
def test_broken_messages_break_nothing(mcp: str, path: str, content: bytes, capfd: Any) -> None:
    kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    answer = httpx.post(mcp + path, content=content, headers=kinds)
    assert answer.status_code < 500 and "Traceback" not in answer.text
    assert "Traceback" not in capfd.readouterr().err


def test_without_it_nothing_answers() -> None:
    with serve() as url:
        for path in ("", "schema", "sse", "messages/"):
            assert httpx.get(url + path).status_code == httpx.post(url + path, json={}).status_code == 404
