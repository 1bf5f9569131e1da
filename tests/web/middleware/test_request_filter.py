"""Which requests reach Gradio, and what the others get."""

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from longlive.web.middleware.request_filter import BODY_TIMEOUT_S, MAX_BODY_BYTES, RequestFilterMiddleware
from tests.support.event_loop import run_in_thread
from tests.support.fakes import FakeModels, Served, serve_page

AS_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(FakeModels()) as page:
        yield page


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "upload_progress?upload_id=a",
        "proxy=https://example.org/",
        "file=https://example.org/",
        "file=http://169.254.169.254/latest/meta-data/",
        "file=/etc/passwd",
        "file=app.py",
        "file=longlive/web/middleware/request_filter.py",
        "file/etc/passwd",
        "deep_link?session_hash=a",
        "custom_component/a/client/component/index.js",
        "dev/reload",
        "user",
        "token",
        "runs",
        "run-history/buckets",
        "vibe-code",
        "stream/a/b/1/playlist-file",
        "mcp/schema",
        "mcp/sse",
        "call/start/../../config",
    ],
)
def test_routes_that_the_page_does_not_need_are_not_found(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/gradio_api/{path}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info"])
def test_there_is_one_page(http: httpx.Client, path: str) -> None:
    assert http.get(path, params={"page": ""}).status_code == 200
    assert http.get(path, params={"page": "stranger"}).status_code == 404


@pytest.mark.parametrize(
    "path", ["upload", "process_recording", "vibe-edit", "run/start", "api/start", "mcp/"]
)
def test_only_the_page_s_own_calls_are_accepted(http: httpx.Client, path: str) -> None:
    for body in ({"json": {"data": []}}, {"files": {"files": ("a.txt", b"a")}}):
        assert http.post(f"/gradio_api/{path}", **body).status_code == 404  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["login", "logout", "monitoring", "docs", "redoc", "openapi.json", "pwa_icon"]
)
def test_gradio_s_other_pages_are_closed(http: httpx.Client, path: str) -> None:
    assert http.get(f"/{path}").status_code == http.post(f"/{path}", json={}).status_code == 404


@pytest.mark.parametrize("name", ["\N{GRINNING FACE}" * 70, "a" * 300, "a\x00b", "%2e%2e/" * 80])
@pytest.mark.parametrize("folder", ["static", "assets", "svelte"])
def test_a_name_that_no_file_can_have_is_not_found(http: httpx.Client, folder: str, name: str) -> None:
    assert http.get(f"/{folder}/{quote(name)}").status_code == 404


@pytest.mark.parametrize(
    "path", ["", "config", "theme.css", "manifest.json", "gradio_api/info", "robots.txt"]
)
def test_the_page_is_open_and_runs_nothing_from_elsewhere(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/{path}")
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    policy = dict(one.strip().split(" ", 1) for one in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["connect-src"] == "'self'" and policy["object-src"] == "'none'"
    assert "http" not in policy["script-src"]
    assert "https://huggingface.co" in policy["frame-ancestors"] and "*;" not in policy["frame-ancestors"]


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Gradio-Server"])
@pytest.mark.parametrize(
    "path", ["", "config", "gradio_api/info", "gradio_api/info/", "gradio_api/openapi.json"]
)
def test_the_host_that_one_client_names_is_not_sent_to_others(
    http: httpx.Client, header: str, path: str
) -> None:
    host = "http://evil.example" if header == "X-Gradio-Server" else "evil.example"
    assert http.get(f"/{path}", headers={header: host}).status_code == 200
    for query in ("", "?all_endpoints=True", "?serialize=False"):
        assert "evil.example" not in http.get(f"/{path}{query}").text


JOIN: dict[str, Any] = {"data": ["a", 7, []], "fn_index": 0, "session_hash": "me"}


@pytest.mark.parametrize(
    "change, status",
    [
        ({"session_hash": None}, 422),
        ({"session_hash": ""}, 422),
        ({"session_hash": "a/../b"}, 422),
        ({"session_hash": "x" * 65}, 422),
        ({"session_hash": ["me"]}, 422),
        ({"fn_index": None}, 404),
        ({"fn_index": True}, 404),
        ({"fn_index": -1}, 404),
        ({"fn_index": "0"}, 404),
        ({"fn_index": 10**6}, 404),
        ({"data": None}, 422),
        ({"data": "abc"}, 422),
        ({"data": []}, 422),
        ({"data": [1] * 50}, 422),
    ],
)
def test_a_call_must_name_a_function_and_give_its_parameters(
    http: httpx.Client, change: Any, status: int
) -> None:
    assert http.post("/gradio_api/queue/join", json=JOIN | change).status_code == status


def test_functions_of_the_browser_and_of_the_server_itself_cannot_be_called(http: httpx.Client) -> None:
    closed = [
        one["id"]
        for one in http.get("/config").json()["dependencies"]
        if not one["backend_fn"] or ("unload" in [event for _, event in one["targets"]])
    ]
    assert len(closed) > 3
    for number in closed:
        for size in range(5):
            body = JOIN | {"fn_index": number, "data": [None] * size}
            assert http.post("/gradio_api/queue/join", json=body).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["__init__", "__class__", "constructor", "preprocess", "postprocess", "change", "", "\0", None, 7, []],
)
def test_only_functions_for_the_browser_can_be_called_on_components(http: httpx.Client, name: Any) -> None:
    for number in (*range(12), -1, 10**9, "1", None, True, {}):
        body = {"data": {}, "component_id": number, "fn_name": name, "session_hash": "me"}
        assert http.post("/gradio_api/component_server/", json=body).status_code == 404


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_must_say_that_it_is_json_so_that_other_sites_cannot_send_one(
    http: httpx.Client, kind: str
) -> None:
    content = json.dumps(JOIN).encode()
    answer = http.post("/gradio_api/queue/join", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_other_methods_are_not_known(http: httpx.Client, method: str) -> None:
    assert http.request(method, "/").status_code == 405


def test_a_body_is_small(http: httpx.Client) -> None:
    content = json.dumps(JOIN | {"data": ["x" * MAX_BODY_BYTES, 7, []]})
    answer = http.post("/gradio_api/queue/join", content=content, headers=AS_JSON)
    assert answer.status_code == 413 and "250,000" in answer.json()["detail"]


def test_unknown_parameters_by_name_are_refused_with_a_reason(http: httpx.Client) -> None:
    for body in ({}, {"prompt": "a", "nothing": 1}):
        answer = http.post("/gradio_api/call/v2/start", json=body)
        assert answer.status_code == 422 and "parameters" in answer.json()["detail"]
    assert http.post("/gradio_api/call/v2/start_compatible", json={}).status_code == 404


async def _ask(app: Any, path: str = "/", *, waits: bool = False) -> list[Any]:
    """The messages that a request to ``app`` behind the filter gets."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if waits:
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    page = SimpleNamespace(space_id=None, share=False, mcp_server=False, fns={}, blocks={})
    gradio = SimpleNamespace(get_blocks=lambda: page, uploaded_file_dir="/nowhere")
    scope = {"type": "http", "method": "POST" if waits else "GET", "path": path, "query_string": b""}
    await RequestFilterMiddleware(app)(
        scope | {"headers": [(b"content-type", b"application/json")], "app": gradio}, receive, send
    )
    return sent


def test_an_error_is_answered_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def break_down(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("secret")

    start, body = run_in_thread(_ask(break_down, "/gradio_api/heartbeat/secret"))
    assert start["status"] == 500 and b"secret" not in body["body"]
    assert (
        "GET /gradio_api/heartbeat failed: KeyError in tests.web.middleware.test_request_filter"
        in caplog.text
    )
    assert "secret" not in caplog.text and "Traceback" not in caplog.text


def test_a_response_that_breaks_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    async def break_down(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise KeyError("secret")

    _, *bodies = run_in_thread(_ask(break_down))
    assert [one["body"] for one in bodies] == [b"so far", b""]
    assert "secret" not in caplog.text


def test_a_body_that_does_not_arrive_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longlive.web.middleware.request_filter.BODY_TIMEOUT_S", 0.01)
    start, _ = run_in_thread(_ask(None, "/gradio_api/reset", waits=True))
    assert start["status"] == 408 and BODY_TIMEOUT_S == 30
