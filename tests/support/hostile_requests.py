"""Hostile requests, drawn by hypothesis, and a client that sends them."""

import asyncio
import base64
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import strategies as st

API = "/gradio_api"
MARKUP = '<img src=x onerror="window.hacked=true">'
SCRIPT = "<script>window.hacked=true</script>"
HOST = "evil-host.example"
STRANGERS = tuple(f"stranger{number}" for number in range(6))
STREAMS = ("text/event-stream", "application/octet-stream")
READ_S, READ_BYTES, PATIENCE_S = 0.2, 400_000, 20

PATHS = (
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "....//....//etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "/proc/self/environ",
    "..\\..\\windows\\win.ini",
    "file:///etc/passwd",
    "http://127.0.0.1:9/",
    "http://169.254.169.254/latest/meta-data/",
    "https://example.org/a.mp4",
    "gopher://127.0.0.1:9/_",
    "app.py",
    "longlive/web/middleware/request_filter.py",
    "/dev/zero",
    "C:\\boot.ini",
    "//evil.example/a",
)
NASTY = (
    "",
    " ",
    "\0",
    "a\0b",
    "\x07\x1b[31m",
    "\ud800",
    "a\udfffb",
    "\u202eevil\u2066",
    "\ufeff",
    "a\u0301" * 50,
    "😀" * 300,
    "مرحبا",
    MARKUP,
    SCRIPT,
    f"</p>{SCRIPT}",
    "{{value}}${7*7}",
    "javascript:window.hacked=true",
    "'; DROP TABLE runs; --",
    '" OR 1=1 --',
    "\r\nSet-Cookie: a=b",
    "%s%n%x",
    "$(touch hacked)",
    "`id`",
    "__class__",
    "__proto__",
    "constructor",
    "null",
    "NaN",
    "-1",
    "&lt;script&gt;window.hacked=true&lt;/script&gt;",
    "x" * 2001,
    "x" * 30_000,
    *PATHS,
)

words = st.one_of(st.sampled_from(NASTY), st.text(st.characters(), max_size=30))
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 10**400, 1e308, -0.0, 0.1]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), True, False]),
    st.integers(-5, 60),
)
files = st.builds(
    lambda path, url, kind: {"path": path, "url": url, "meta": {"_type": kind}, "is_stream": True},
    words,
    words,
    st.sampled_from(["gradio.FileData", "", None, 7]),
)
leaves = st.one_of(st.none(), numbers, words, files)
junk = st.recursive(
    leaves,
    lambda parts: st.one_of(st.lists(parts, max_size=4), st.dictionaries(words, parts, max_size=4)),
    max_leaves=6,
)
hashes = st.one_of(st.sampled_from(STRANGERS), st.sampled_from(STRANGERS), words, junk)
FUNCTIONS = ["start", "start_compatible", "prompt", "stop", "generate", "resume", "storyboard"]
FUNCTIONS += ["verify", "open_link", "share_link", "watch_along"]
names = st.sampled_from([*FUNCTIONS, "leave", "lambda", "", "__init__"])
SERVER_FUNCTIONS = ["playhead", "replay_since", "exists", "status", "storyboard", "read_storyboard"]
SERVER_FUNCTIONS += ["describe", "share", "watch_along", "offer"]
scenes = st.fixed_dictionaries(
    {"text": st.one_of(words, junk)},
    optional={"at": st.one_of(numbers, junk), "switch": st.one_of(words, junk)},
)
prompts = st.one_of(st.just("a red ball on a meadow"), words, words, junk)
seconds = st.one_of(numbers, st.integers(0, 70), words)
begun_with = st.one_of(
    st.none(),
    junk,
    words.map(lambda text: f"data:image/png;base64,{text}"),
    st.binary(max_size=200).map(lambda data: f"data:video/mp4;base64,{base64.b64encode(data).decode()}"),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0\0\0\x18ftypmp42", b"#EXTM3U\n/etc/passwd"]).map(
        lambda data: f"data:;base64,{base64.b64encode(data + bytes(60)).decode()}"
    ),
)
sessions = st.one_of(
    junk,
    st.fixed_dictionaries(
        {"version": st.just(1)},
        optional={
            name: junk for name in ("prompts", "chunks", "stream", "seed", "start", "model", "reseeds")
        },
    ),
    st.binary(max_size=60).map(lambda data: f"data:;base64,{base64.b64encode(data).decode()}"),
)
given = {
    "start": st.tuples(prompts, numbers | junk, st.lists(scenes, max_size=3) | junk, begun_with),
    "prompt": st.tuples(prompts, st.sampled_from(["soft", "hard", "keep"]) | junk),
    "resume": st.tuples(words | junk, numbers | junk),
    "branch": st.tuples(words | junk, numbers | junk, prompts, words | junk, numbers | junk),
    "compare": st.tuples(words | junk, numbers | junk, prompts),
    "forget": st.tuples(words | junk),
    "stop": st.just(()),
    "storyboard": st.tuples(st.lists(scenes, max_size=3) | junk),
    "generate": st.tuples(
        st.fixed_dictionaries({"prompts": st.lists(scenes, max_size=3)}) | junk, seconds, numbers, begun_with
    ),
}
links = junk | words | words.map(lambda text: f"#video=1.{text}")
given |= {"verify": st.tuples(sessions), "open_link": st.tuples(links), "share_link": st.tuples(words | junk)}
given["watch_along"] = st.tuples(st.booleans() | junk, st.booleans() | junk, st.booleans() | junk)
given["start_compatible"], given["resume_compatible"] = given["start"], given["resume"]
data = st.one_of(*given.values(), junk, st.lists(junk, max_size=4), st.just(()))


@dataclass(frozen=True)
class Request:
    """A request; after it, the events of session ``follows`` are read for a moment, as a client would."""

    method: str
    path: str
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    follows: str = ""


@dataclass(frozen=True)
class Answer:
    """A response; status 0: the connection was closed without one."""

    status: int
    headers: dict[str, str]
    text: str


def _text(value: Any) -> bytes:
    return json.dumps(value).encode()


def _post(path: str, body: Any, kind: str, cut: int) -> Request:
    content = body if isinstance(body, bytes) else _text(body)
    follows = body.get("session_hash") if isinstance(body, dict) and path.endswith("/queue/join") else None
    if not isinstance(follows, str) or follows not in STRANGERS:
        follows = ""
    content = content[: len(content) - cut] if cut and len(content) > cut else content
    return Request("POST", path, content, {"Content-Type": kind} if kind else {}, follows)


kinds = st.sampled_from(
    ["application/json"] * 12
    + [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "text/xml",
    ]
)
cuts = st.sampled_from([0] * 12 + [1, 5])
raw = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b'"a"',
            b"[" * 20_000,
            b'{"a":' * 5000,
            b"\xff\xfe{\x00",
            b'{"data":[' + b"1," * 9000,
        ]
    ),
    st.sampled_from(
        [
            b'{"data":["' + b"x" * 400_000 + b'"]}',
            b'{"data":[' + b"[" * 500 + b"]" * 500 + b"]}",
            b'{"fn_index":1e999}',
        ]
    ),
)


def posts(functions: dict[str, int], components: list[int]) -> st.SearchStrategy[Request]:
    """Calls with something wrong in them, or only hostile text."""
    numbers_of_functions = st.integers(-2, max(functions.values()) + 2)
    body = st.fixed_dictionaries
    join = body(
        {"fn_index": numbers_of_functions | junk, "data": data, "session_hash": hashes},
        optional={
            **dict.fromkeys(("event_data", "batched", "simple_format", "request", "extra"), junk),
            **dict.fromkeys(("event_id", "oauth_token"), words),
            "trigger_id": numbers,
        },
    )
    good = st.one_of(
        *(
            body(
                {"fn_index": st.just(number), "data": given[name], "session_hash": st.sampled_from(STRANGERS)}
            )
            for name, number in functions.items()
            if name in given
        )
    )
    word = st.fixed_dictionaries(
        {},
        optional={
            "token": words | junk,
            "seconds": numbers | junk,
            "playing": junk,
            "after": numbers | junk,
            "before": numbers | junk,
            "removed": st.just("all") | st.lists(numbers, max_size=3) | junk,
            "prompts": st.lists(scenes, max_size=3) | junk,
            **dict.fromkeys(("is_open", "takes_proposals", "is_listed"), st.booleans() | junk),
            **dict.fromkeys(("send", "dismiss"), numbers | junk),
            "text": words
            | st.builds(json.dumps, st.fixed_dictionaries({"prompts": st.lists(scenes)}))
            | junk,
        },
    )
    component = body(
        {
            "component_id": st.sampled_from(components) | numbers | junk,
            "fn_name": st.sampled_from([*SERVER_FUNCTIONS, "__init__", "preprocess"]) | words,
            "data": word | junk,
            "session_hash": hashes,
        }
    )
    cancel = body({"fn_index": numbers_of_functions | junk, "session_hash": hashes, "event_id": words | junk})
    named = st.builds(
        lambda kind, name: f"{API}/{kind}/{name}", st.sampled_from(["call", "call/v2", "run", "api"]), names
    )
    called = body(
        {"data": data}, optional={"session_hash": hashes, "prompt": junk, "seed": junk, "later": junk}
    )
    upload = st.builds(_form, words, words, st.binary(max_size=40))
    return st.one_of(
        st.builds(_post, st.just(f"{API}/queue/join"), good, st.just("application/json"), st.just(0)),
        st.builds(_post, st.just(f"{API}/queue/join"), join, kinds, cuts),
        st.builds(_post, named, called, kinds, cuts),
        st.builds(_post, st.just(f"{API}/component_server/"), component, kinds, cuts),
        st.builds(_post, st.sampled_from([f"{API}/cancel", f"{API}/reset"]), cancel, kinds, cuts),
        st.builds(_post, st.sampled_from(POSTS), raw | junk, kinds, cuts),
        st.builds(
            lambda path, form: Request("POST", path, form[1], {"Content-Type": form[0]}),
            st.sampled_from(POSTS),
            upload,
        ),
    )


POSTS = tuple(
    f"""
    /login / /config /health /metrics {API}/upload {API}/upload?upload_id=a {API}/queue/join
    {API}/component_server {API}/cancel {API}/reset {API}/call/start {API}/call/v2/generate
    {API}/run/start {API}/process_recording {API}/vibe-edit {API}/vibe-code {API}/undo-vibe-edit
    {API}/run-history/connect {API}/stream/a {API}/stream/a/close {API}/mcp/ {API}/mcp/messages/
    """.split()
)


def _form(name: str, filename: str, content: bytes) -> tuple[str, bytes]:
    def clean(text: str) -> bytes:
        return text.replace("\r", "").replace("\n", "").encode(errors="replace")

    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + clean(filename) + b'"\r\n\r\n'
    other = b'\r\n--b\r\nContent-Disposition: form-data; name="session_hash"\r\n\r\n' + clean(name)
    return "multipart/form-data; boundary=b", head + content + other + b"\r\n--b--\r\n"


def _get(method: str, path: str, tail: str, query: str, headers: dict[str, str]) -> Request:
    place = path.replace("*", quote(tail, safe="/:%.", errors="surrogatepass"))
    return Request(method, f"{place}?{query}" if query else place, b"", headers)


GETS = tuple(
    f"""
    / /config /theme.css /* /static/* /assets/* /svelte/* /docs /monitoring/* /pwa_icon/* /health
    /metrics /favicon.ico /login /logout /.git/config /app.py //* {API}/* {API}/info {API}/openapi.json
    {API}/file=* {API}/file=* {API}/file/* {API}/proxy=* {API}/stream/*/a/6/playlist.m3u8
    {API}/stream/stranger0/*/6/a.ts {API}/stream/stranger1/a/*/playlist-file {API}/heartbeat/*
    {API}/heartbeat/stranger2 {API}/call/start/* {API}/call/*/a {API}/queue/data {API}/queue/status
    {API}/custom_component/*/client/component/index.js {API}/custom_component/a/client/*/*
    {API}/deep_link {API}/mcp/schema {API}/mcp/sse {API}/upload_progress {API}/runs
    {API}/run-history/records {API}/vibe-code {API}/dev/reload {API}/startup-events
    {API}/profiling/traces {API}/theme.css {API}/token
    /live /live?after=0&player=me /live?after=*&player=me /live?after=0&player=*
    /room /watch /watch/ /watch/* /watch/*/live /watch/x/live?chunk=* /watch/x/segments?chunk=*
    /room/video /room/video?take=* /room/session?take=* /room/operator/* /watch/*/voice /watch/room/voice
    /live/room.m3u8 /live/*.m3u8 /live/x.m3u8?_HLS_msn=* /live/x/*.ts /live/*/0-0123456789abcdef.ts
    /watch/x/thumbnails?first=* /watch/assets/* /watch/assets/0123456789abcdef/*
    /segments /segments?chunk=* /segments?chunk=0 /thumbnails /thumbnails?first=* /thumbnails?first=0
    """.split()
)
queries = st.one_of(
    st.just(""),
    st.builds(
        lambda name, value: f"{name}={quote(value, safe='', errors='surrogatepass')}",
        st.sampled_from(
            [
                "session_hash",
                "deep_link",
                "page",
                "all_endpoints",
                "upload_id",
                "__theme",
                "__sign",
                "view",
                "serialize",
            ]
        ),
        st.one_of(st.sampled_from(STRANGERS), words.filter(lambda text: len(text) < 3000)),
    ),
)
short = words.filter(lambda text: len(text) < 3000)
headers = st.dictionaries(
    st.sampled_from(
        [
            "Host",
            "Origin",
            "Range",
            "Cookie",
            "X-Forwarded-For",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Gradio-Server",
            "X-Gradio-User",
            "Authorization",
            "If-None-Match",
            "Accept-Encoding",
            "Referer",
            "X-HTTP-Method-Override",
        ]
    ),
    st.one_of(
        st.sampled_from(
            [
                HOST,
                f"http://{HOST}",
                "null",
                "bytes=0-5",
                "bytes=9-2",
                "bytes=-",
                "https",
                "1.2.3.4, 5.6.7.8",
                "br",
                "gzip;q=9",
            ]
        ),
        short.map(lambda text: "".join(char for char in text if " " <= char < "\x7f").strip()),
    ),
    max_size=2,
)
methods = st.sampled_from(["GET"] * 8 + ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST", "TRACE", "FOO"])
gets = st.builds(_get, methods, st.sampled_from(GETS), short, queries, headers)


def watchers(link: str) -> st.SearchStrategy[Request]:
    """What one may send who has the link to a video that others may watch along."""
    reads = "/ /live /live?chunk=* /live?chunk=0&take=* /segments?chunk=* /segments?chunk=0 /* /propose /vote"
    paths = [f"/{link}{one.rstrip('/')}" for one in [*reads.split(), "/thumbnails?first=*"]]
    calls = [
        f"/watch/{id}/{call}" for id in (link.split("/")[1], "room", "x") for call in ("propose", "vote")
    ]
    calls += [f"/room/operator/{action}" for action in ("pause", "skip", "mute", "x")]
    proposal = st.fixed_dictionaries({"text": words | junk, "number": numbers | junk})
    return st.one_of(
        st.builds(_get, methods, st.sampled_from(paths), short, queries, headers),
        st.builds(_post, st.sampled_from(calls), proposal, st.just("application/json"), st.just(0)),
        st.builds(_post, st.sampled_from(calls), raw | junk, kinds, cuts),
    )


JOIN = f"POST {API}/queue/join HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n".encode()
LINES = (
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET /gradio_api/file=/etc/passwd\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /gradio_api/../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    JOIN + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    JOIN + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
    JOIN + b"Content-Length: 900\r\n\r\n{",
    b"POST /gradio_api/cancel HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
)
lines = st.builds(
    lambda content: Request("RAW", "", content), st.one_of(st.sampled_from(LINES), st.binary(max_size=60))
)


def requests(functions: dict[str, int], components: list[int]) -> st.SearchStrategy[Request]:
    """Any request that an attacker may send.

    Args:
        functions: their numbers by their names.
        components: numbers of the components with functions for the browser.
    """
    return st.one_of(*[posts(functions, components)] * 5, *[gets] * 4, lines)


class Sender:
    """Sends requests, and reads the responses for a moment; streams are cut off."""

    def __init__(self, url: str) -> None:
        self.url = httpx.URL(url)
        limits = httpx.Limits(max_connections=64)
        self._client = httpx.AsyncClient(
            base_url=url, timeout=PATIENCE_S, limits=limits, follow_redirects=False
        )

    async def send(self, request: Request) -> list[Answer]:
        if request.method == "RAW":
            return [await self._send_bytes(request.content)]
        answers = [await self._send(request)]
        if request.follows and answers[0].status == 200:
            events = Request("GET", f"{API}/queue/data?session_hash={request.follows}")
            answers.append(await self._send(events))
        return answers

    async def _send(self, request: Request) -> Answer:
        asked = request.method, request.path
        async with self._client.stream(*asked, content=request.content, headers=request.headers) as answer:
            headers, text = dict(answer.headers), bytearray()
            is_stream = headers.get("content-type", "").startswith(STREAMS)
            try:
                async with asyncio.timeout(READ_S if is_stream else PATIENCE_S):
                    async for part in answer.aiter_bytes():
                        text += part
                        if len(text) > READ_BYTES:
                            break
            except TimeoutError:
                assert is_stream, f"{request} is not answered"
        return Answer(answer.status_code, headers, text.decode(errors="replace"))

    async def _send_bytes(self, content: bytes) -> Answer:
        reader, writer = await asyncio.open_connection(self.url.host, self.url.port)
        text = b""
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(content)
            await writer.drain()
            async with asyncio.timeout(READ_S):
                text = await reader.read(READ_BYTES)
        writer.close()
        head = text.decode(errors="replace")
        status = head.split(" ")[1] if head.startswith("HTTP/") else "0"
        headers = dict(
            line.lower().split(": ", 1)
            for line in head.split("\r\n\r\n")[0].split("\r\n")[1:]
            if ": " in line
        )
        return Answer(int(status), headers, head)

    async def close(self) -> None:
        await self._client.aclose()
