"""The filter in front of Gradio: only requests that the page and its API need are passed on.

Gradio serves more than this page needs (uploads, a proxy, recordings, an editor, files fetched from any URL)
and reads bodies of any size. Here only the routes of ``allowed_routes`` are open, a body is small, strict
JSON, every answer carries the security headers, and no answer carries a traceback. This is pure ASGI, so
streams are not held.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from longlive.web.middleware.abandoned_calls import AbandonedCalls
from longlive.web.middleware.allowed_routes import (
    API,
    GradioApp,
    body_reader,
    check_read,
    is_call,
    is_call_by_names,
    is_mcp,
    may_have_file,
    path_of,
    stream_of,
)
from longlive.web.middleware.json_body import (
    MAX_DATA_URL_BYTES,
    MAX_FILE_BYTES,
    file_bytes,
    parse_json,
    write_json,
)
from longlive.web.middleware.security_headers import headers_of

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 250_000  # cleaning that much text blocks the event loop for 0.2 s
"""Without a file: what a video begins with, or a session file."""
MAX_LARGE_BODIES = 4
"""Received at once; each takes some 20 MB until it has been handed on."""
BODY_TIMEOUT_S = 30

_SESSION = "longlive.session"


class RequestFilterMiddleware:
    """ASGI middleware that passes on what the page and its API need, and refuses everything else."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """Filter the requests to ``app``."""
        self._app = app
        self._abandoned = AbandonedCalls()
        self._bodies = _BodyReader()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gradio = GradioApp(scope["app"])
        response = _Response(send, headers_of(gradio.blocks))
        try:
            receive = await self._check_request(scope, receive, gradio)
            with self._observe(scope, gradio):
                await self._app(scope, receive, response)
        except HTTPException as error:
            await response.fail(error)
        except Exception as error:
            if is_call_by_names(scope) and isinstance(error, TypeError | KeyError):
                detail = f"These are not the parameters of this function; see {API}/info."
                await response.fail(HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail))
                return
            _log_failure(scope, error, response.has_begun)
            await response.fail(HTTPException(HTTPStatus.INTERNAL_SERVER_ERROR))

    def _observe(self, scope: Message, gradio: GradioApp) -> AbstractContextManager[None]:
        """Tell ``AbandonedCalls`` of a call, or of a stream for as long as it is read."""
        if is_call(scope):
            self._abandoned.on_call(gradio.blocks._queue, scope[_SESSION])
        stream = stream_of(scope)
        return nullcontext() if stream is None else self._abandoned.reading(stream)

    async def _check_request(self, scope: Message, receive: Receive, gradio: GradioApp) -> Receive:
        """Check a request, and return a ``receive`` that gives its checked body.

        Raises:
            HTTPException: if the request is refused.
        """
        method, path = scope["method"], path_of(scope)
        if is_mcp(path, gradio):
            return receive if method != "POST" else await self._check_mcp_message(receive)
        if method in ("GET", "HEAD"):
            check_read(scope, gradio)
            return receive
        if method != "POST":
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)
        read = body_reader(path, gradio)
        kind = dict(scope["headers"]).get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, as application/json.")
        body = parse_json(await self._bodies.read(receive, may_have_file=may_have_file(scope)))
        if not isinstance(body, dict):
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, "Send a JSON object.")
        checked = read(body)
        session = checked.get("session_hash")
        scope[_SESSION] = session if isinstance(session, str) else ""
        content = write_json(checked)
        scope["headers"] = [
            (name, str(len(content)).encode() if name == b"content-length" else value)
            for name, value in scope["headers"]
        ]
        return _replay(content, receive)

    async def _check_mcp_message(self, receive: Receive) -> Receive:
        """Check a message of the Model Context Protocol; its own server reads it."""
        return _replay(write_json(parse_json(await self._bodies.read(receive))), receive)


class _Response:
    """What is sent back: it carries our headers, and ends without details if something breaks."""

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

    async def fail(self, error: HTTPException) -> None:
        """Send the error as JSON, or end a response that has begun."""
        content = b""
        if not self.has_begun:
            content = write_json({"detail": error.detail})
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(content)).encode()),
            ]
            await self({"type": "http.response.start", "status": int(error.status_code), "headers": headers})
        if not self._has_ended:
            await self({"type": "http.response.body", "body": content})


def _log_failure(scope: Message, error: Exception, has_begun: bool) -> None:
    """Log one line; of the path only the route, since the rest may hold a secret."""
    route = re.match(f"(?:{API})?/[a-z_-]{{0,20}}", scope["path"])
    request = f"{scope['method']} {route.group() if route else '?'}"
    if has_begun:
        logger.info("%s broke off: %s", request, type(error).__name__)
        return
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module = frame.tb_frame.f_globals.get("__name__") if frame is not None else "?"
    logger.error("%s failed: %s in %s", request, type(error).__name__, module)


class _BodyReader:
    """Receives bodies of bounded size; only a few at a time that are large, because of a file."""

    def __init__(self) -> None:
        self._num_large = 0

    async def read(self, receive: Receive, *, may_have_file: bool = False) -> bytes:
        """The whole body; HTTPException if it is too large, or does not arrive in time."""
        content, is_large = bytearray(), False
        most = MAX_BODY_BYTES + (MAX_DATA_URL_BYTES if may_have_file else 0)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    content += message.get("body", b"")
                    if len(content) > most:
                        raise _too_large()
                    if len(content) > MAX_BODY_BYTES and not is_large:
                        self._begin_large()
                        is_large = True
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from None
        finally:
            self._num_large -= is_large
        if len(content) - (file_bytes(content) if is_large else 0) > MAX_BODY_BYTES:
            raise _too_large()
        return bytes(content)

    def _begin_large(self) -> None:
        if self._num_large >= MAX_LARGE_BODIES:
            detail = "Too many files are being received. Please try again in a minute."
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        self._num_large += 1


def _too_large() -> HTTPException:
    detail = f"A body may have at most {MAX_BODY_BYTES:,} bytes, and a file {MAX_FILE_BYTES:,} more."
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _replay(content: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body in one piece, then whatever else comes."""
    held: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replay() -> Message:
        return held.pop() if held else await receive()

    return replay
