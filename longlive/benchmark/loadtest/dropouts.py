"""Clients that abandon their run, beside the viewers of a load test: they start a video and are gone."""

import contextlib
import secrets
import time
from collections.abc import Callable

import httpx

HANG_UP_AFTER_S = 2.0


class AbandoningClient:
    """Starts videos as clients that never open their stream, and as clients that cut it, by turns."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        """Use the app at ``url``."""
        self._url, self._http = url, http
        self._start: int | None = None
        self.sent, self.refused = 0, 0

    def visit(self, prompt: str) -> None:
        """Start one video and abandon it; returns when the client is gone."""
        session, number = secrets.token_hex(8), self.sent
        self.sent += 1
        joined = self._try(lambda: self._join(session, prompt))
        if joined and number % 2:
            self._try(lambda: self._watch(session))

    def _join(self, session: str, prompt: str) -> None:
        if self._start is None:
            calls = self._http.get(f"{self._url}config").raise_for_status().json()["dependencies"]
            self._start = next(call["id"] for call in calls if call["api_name"] == "start")
        body = {"data": [prompt, 7, []], "fn_index": self._start, "session_hash": session}
        self._http.post(f"{self._url}gradio_api/queue/join", json=body).raise_for_status()

    def _watch(self, session: str) -> None:
        """Read the stream for a while, then hang up."""
        begun, query = time.monotonic(), {"session_hash": session}
        stream = self._http.stream(
            "GET", f"{self._url}gradio_api/queue/data", params=query, timeout=HANG_UP_AFTER_S
        )
        with contextlib.suppress(httpx.ReadTimeout), stream as response:
            response.raise_for_status()
            for _ in response.iter_raw():
                if time.monotonic() - begun > HANG_UP_AFTER_S:
                    return

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except httpx.HTTPError:
            self.refused += 1
            return False
        return True
