"""The doors of the server: what a request may ask for, before Gradio reads it.

Gradio serves more than this page needs (uploads, a proxy, recordings, an editor, files fetched from any URL),
and reads bodies as they come. Here only the page's own routes are open, a body is small, well-formed JSON
that names a function which is there, and no answer carries a traceback. It is pure ASGI: streams flow on.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl

from longlive.web.middleware.abandoned_calls import AbandonedCalls
from longlive.web.middleware.json_body import RefusedRequest, parse
from longlive.web.middleware.security_headers import headers_of

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = dict[str, Any]

LARGEST_BODY = 250_000  # cleaning that much text holds up the others for 0.2 s
BODY_S = 30

_NAME = r"[A-Za-z0-9_-]{1,64}"
_SECRET = re.compile(_NAME)
_SESSION = "longlive.generation.session"
_API = "/gradio_api"
_READ = re.compile(
    "/|/config/?|/theme\\.css|/robots\\.txt|/manifest\\.json|/favicon\\.ico|/health|/metrics"
    f"|/(assets|static|svelte)/.+|{_API}/(info/?|openapi\\.json|theme\\.css|startup-events|app_id|queue/status)"
    f"|{_API}/queue/data|{_API}/heartbeat/{_NAME}|{_API}/call/(v2/)?{_NAME}/{_NAME}"
    f"|{_API}/stream/{_NAME}/{_NAME}/\\d{{1,9}}/(playlist\\.m3u8|{_NAME}\\.ts)"
)
_FILE = re.compile(f"{_API}/file=(?P<folder>.+)/[0-9a-f]{{64}}/[\\w.-]{{1,100}}")
_MCP = re.compile(f"{_API}/mcp(/.*)?")
_CALL = re.compile(f"{_API}/call/({_NAME})/?")
_CALL_BY_NAMES = re.compile(f"{_API}/call/v2/({_NAME})/?")
_CALLED = re.compile(f"{_API}/call/(?:v2/)?{_NAME}/({_NAME})")
_CALLING = re.compile(f"{_API}/(call|queue/join)")
_RUN = re.compile(f"{_API}/(?:run|api)/({_NAME})/?")


@dataclass(frozen=True)
class GradioApp:
    """What stands behind the doors: Gradio's own app and its page."""

    app: Any

    @property
    def blocks(self) -> Any:
        """The page."""
        return self.app.get_blocks()

    def function(self, number: Any) -> Any:
        """The function of this number, if a client may ask for it.

        Raises:
            Refusal: if there is none.
        """
        found = self.blocks.fns.get(number) if type(number) is int else None
        if found is None or found.fn is None or any(event == "unload" for _, event in found.targets):
            raise RefusedRequest(HTTPStatus.NOT_FOUND, "There is no such function.")
        return found

    def named(self, name: str) -> Any:
        """The function of this name, public or undocumented.

        Raises:
            Refusal: if there is none.
        """
        for number, one in self.blocks.fns.items():
            if one.api_name == name and one.api_visibility != "private":
                return self.function(number)
        raise RefusedRequest(HTTPStatus.NOT_FOUND, "There is no such function.")


class RequestFilterMiddleware:
    """ASGI middleware that lets in what the page and its programs need, and nothing else."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """Stand before ``app``."""
        self._app = app
        self._unread = AbandonedCalls()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it at the door."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        house = GradioApp(scope["app"])
        answer = _Answer(send, headers_of(house.blocks))
        try:
            receive = await _admit(scope, receive, house)
            with self._watched(scope, house):
                await self._app(scope, receive, answer)
        except RefusedRequest as refusal:
            await answer.end(refusal.status, str(refusal))
        except Exception as error:
            status, words = _told(scope, error)
            if status is HTTPStatus.INTERNAL_SERVER_ERROR:
                _note(scope, error, answer.has_begun)
            await answer.end(status, words)

    def _watched(self, scope: Message, house: GradioApp) -> AbstractContextManager[None]:
        """While a stream is read; and what is called is looked after."""
        path, query = _path(scope), scope["query_string"].decode("latin-1")
        if scope["method"] == "POST" and _CALLING.match(path):
            self._unread.called(house.blocks._queue, scope[_SESSION])
        if scope["method"] == "GET" and path == f"{_API}/queue/data":
            return self._unread.reading(dict(parse_qsl(query))["session_hash"])
        if scope["method"] == "GET" and (stream := _CALLED.fullmatch(path)):
            return self._unread.reading(stream[1])
        return nullcontext()


class _Answer:
    """What goes out: it carries our headers, and a broken one ends without a word of what broke."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self.has_begun = self._has_ended = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif message["type"] == "http.response.body":
            self._has_ended = not message.get("more_body", False)
        await self._send(message)

    async def end(self, status: HTTPStatus, words: str) -> None:
        """Answer with words, or break off what has begun."""
        content = b""
        if not self.has_begun:
            content = json.dumps({"detail": words}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ]
            await self({"type": "http.response.start", "status": status.value, "headers": headers})
        if not self._has_ended:
            await self({"type": "http.response.body", "body": content})


def _note(scope: Message, error: Exception, has_begun: bool) -> None:
    """One line of the log; of the path only the route, since the rest may hold a secret."""
    route = re.match(f"(?:{_API})?/[a-z_-]{{0,20}}", scope["path"])
    place = f"{scope['method']} {route.group() if route else '?'}"
    if has_begun:
        logger.info("%s broke off: %s", place, type(error).__name__)
    else:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = frame.tb_frame.f_globals.get("__name__") if frame is not None else "?"
        logger.error("%s failed: %s in %s", place, type(error).__name__, where)


def _told(scope: Message, error: Exception) -> tuple[HTTPStatus, str]:
    if _CALL_BY_NAMES.fullmatch(_path(scope)) and isinstance(error, TypeError | KeyError):
        words = f"These are not the parameters of this function; {_API}/info tells them."
        return HTTPStatus.UNPROCESSABLE_ENTITY, words
    return HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke here. The log of the server says where."


async def _admit(scope: Message, receive: Receive, house: GradioApp) -> Receive:
    """The body, checked, to be handed on.

    Raises:
        Refusal: if the request may not come in.
    """
    method, path = scope["method"], _path(scope)
    if _MCP.fullmatch(path) and house.blocks.mcp_server:
        return receive if method != "POST" else await _admit_message(receive)
    if method in ("GET", "HEAD"):
        _check_read(path, scope, house)
        return receive
    if method != "POST":
        raise RefusedRequest(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed")
    read = _reader(path, house)
    kind = dict(scope["headers"]).get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        raise RefusedRequest(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, as application/json.")
    body = parse(await _receive_all(receive))
    if not isinstance(body, dict):
        raise RefusedRequest(HTTPStatus.UNPROCESSABLE_ENTITY, "Send a JSON object.")
    checked = read(body, house)
    session = checked.get("session_hash")
    scope[_SESSION] = session if isinstance(session, str) else ""
    content = json.dumps(checked).encode()
    scope["headers"] = [
        (name, str(len(content)).encode() if name == b"content-length" else value)
        for name, value in scope["headers"]
    ]
    return _replay(content, receive)


async def _admit_message(receive: Receive) -> Receive:
    """A message of the Model Context Protocol, which has its own server behind the doors."""
    parse(content := await _receive_all(receive))
    return _replay(content, receive)


def _path(scope: Message) -> str:
    root = scope.get("root_path", "").rstrip("/")
    path: str = scope["path"]
    return path[len(root) :] or "/" if root and path.startswith(root + "/") else path


def _check_read(path: str, scope: Message, house: GradioApp) -> None:
    inside = ".." not in path.split("/") and "\0" not in path
    if inside and (file := _FILE.fullmatch(path)):
        inside = PurePath(file["folder"]) == PurePath(house.app.uploaded_file_dir)
    elif not _READ.fullmatch(path):
        inside = False
    if not inside:
        raise RefusedRequest(HTTPStatus.NOT_FOUND, "Not Found")
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    if path == f"{_API}/queue/data":
        _secret(query, "session_hash")
    elif path.rstrip("/") == f"{_API}/info" and "page" not in query:
        # Of the whole app Gradio would keep the first answer for all, with the host that its asker named.
        scope["query_string"] += b"&page="


def _reader(path: str, house: GradioApp) -> Callable[[Body, GradioApp], Body]:
    """What checks the body of a POST: it gives what may be handed on."""
    if path in _POSTS:
        return _POSTS[path]
    if call := _CALL_BY_NAMES.fullmatch(path):
        house.named(call[1])
        return lambda body, _: body
    if call := _CALL.fullmatch(path):
        return lambda body, house: _read_call(body, house.named(call[1]))
    if (ran := _RUN.fullmatch(path)) and not (function := house.named(ran[1])).queue:
        return lambda body, _: _read_call(body, function) | {"session_hash": _secret(body, "session_hash")}
    status = HTTPStatus.METHOD_NOT_ALLOWED if _READ.fullmatch(path) else HTTPStatus.NOT_FOUND
    raise RefusedRequest(status, "This is only read." if status.value == 405 else "Not Found")


def _read_join(body: Body, house: GradioApp) -> Body:
    function = house.function(body.get("fn_index"))
    trigger = body.get("trigger_id")
    if not function.queue:
        raise RefusedRequest(HTTPStatus.NOT_FOUND, "There is no such function.")
    return {
        "data": _data(body, function),
        "fn_index": function._id,
        "session_hash": _secret(body, "session_hash"),
        "trigger_id": trigger if type(trigger) is int else None,
    }


def _read_call(body: Body, function: Any) -> Body:
    read: Body = {"data": _data(body, function)}
    if body.get("session_hash") is not None:
        read["session_hash"] = _secret(body, "session_hash")
    return read


def _read_cancel(body: Body, house: GradioApp) -> Body:
    number = house.function(body.get("fn_index"))._id
    return {name: _secret(body, name) for name in ("session_hash", "event_id")} | {"fn_index": number}


def _read_reset(body: Body, house: GradioApp) -> Body:
    return {"event_id": _secret(body, "event_id")}


def _read_component(body: Body, house: GradioApp) -> Body:
    number, name = body.get("component_id"), body.get("fn_name")
    block = house.blocks.blocks.get(number) if type(number) is int else None
    if not isinstance(name, str) or not getattr(getattr(block, name, None), "_is_server_fn", False):
        raise RefusedRequest(HTTPStatus.NOT_FOUND, "There is no such function.")
    word = {"data": body.get("data"), "component_id": number, "fn_name": name}
    return word | {"session_hash": _secret(body, "session_hash")}


_POSTS = {
    f"{_API}/queue/join": _read_join,
    f"{_API}/cancel": _read_cancel,
    f"{_API}/reset": _read_reset,
    f"{_API}/reset/": _read_reset,
    f"{_API}/component_server": _read_component,
    f"{_API}/component_server/": _read_component,
}


def _data(body: Body, function: Any) -> list[Any]:
    data = body.get("data")
    lengths = {len(function.inputs), sum(not one.skip_api for one in function.inputs)}
    if not isinstance(data, list) or len(data) not in lengths:
        words = f"data must be a list of {' or '.join(map(str, sorted(lengths)))} values."
        raise RefusedRequest(HTTPStatus.UNPROCESSABLE_ENTITY, words)
    return data


def _secret(body: Body, field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        words = f"{field} must be 1 to 64 letters, digits, _ or -."
        raise RefusedRequest(HTTPStatus.UNPROCESSABLE_ENTITY, words)
    return value


async def _receive_all(receive: Receive) -> bytes:
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                content += message.get("body", b"")
                if len(content) > LARGEST_BODY:
                    words = f"At most {LARGEST_BODY:,} bytes fit."
                    raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
                if not message.get("more_body", False):
                    return bytes(content)
    except TimeoutError:
        raise RefusedRequest(HTTPStatus.REQUEST_TIMEOUT, "The rest of the request did not come.") from None


def _replay(content: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever else comes."""
    held: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return held.pop() if held else await receive()

    return again
