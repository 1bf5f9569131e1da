"""A small server that speaks the protocol of chat completions, well or badly, for the tests."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, str, dict[str, str]]


class ChatServer:
    """Answers each request by ``reply``; keeps what was asked.

    Attributes:
        url: the base address.
        asked: (path, headers by lower-case names, body) of each request.
        reply: of the body of a request: status, text, headers.
    """

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.reply = reply
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.path, headers, body))
                status, text, told = outer.reply(body)
                try:
                    self.send_response(status)
                    for name, value in told.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text.encode())
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


@contextmanager
def serving(*replies: Callable[[dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    """A server that gives each reply once, and the last one for ever."""
    left = list(replies)
    lock = threading.Lock()

    def reply(body: dict[str, Any]) -> Reply:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        return chosen(body)

    server = ChatServer(reply)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def says(text: str) -> Callable[[dict[str, Any]], Reply]:
    """A good answer."""
    return lambda body: (
        200,
        json.dumps({"choices": [{"message": {"profile": "assistant", "content": text}}]}),
        {},
    )


def fails(status: int, text: str = "no", **headers: str) -> Callable[[dict[str, Any]], Reply]:
    """An answer of another status."""
    return lambda body: (status, text, {name.replace("_", "-"): value for name, value in headers.items()})


def hangs(body: dict[str, Any]) -> Reply:
    """No answer while anybody could wait for it."""
    time.sleep(30)
    return says("late")(body)
