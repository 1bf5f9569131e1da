"""Visitors who do not behave, beside the viewers of a load test: they start a story and are gone."""

import contextlib
import secrets
import time
from collections.abc import Callable

import httpx

LEAVE_AFTER_S = 2.0


class AbandoningClient:
    """Sends visitors who never open their stream, and visitors who cut it in the midst, by turns."""

    def __init__(self, url: str, http: httpx.Client) -> None:
        """Send them to the app at ``url``."""
        self._url, self._http = url, http
        self._start: int | None = None
        self.sent, self.refused = 0, 0

    def send(self, prompt: str) -> None:
        """One more visitor; returns when it is gone."""
        session, number = secrets.token_hex(8), self.sent
        self.sent += 1
        joined = self._try(lambda: self._join(session, prompt))
        if joined and number % 2:
            self._try(lambda: self._watch(session))

    def _join(self, session: str, prompt: str) -> None:
        if self._start is None:
            calls = self._http.get(f"{self._url}config").raise_for_status().json()["dependencies"]
            self._start = next(call["id"] for call in calls if call["api_name"] == "start")
        asked = {"data": [prompt, 7, []], "fn_index": self._start, "session_hash": session}
        self._http.post(f"{self._url}gradio_api/queue/join", json=asked).raise_for_status()

    def _watch(self, session: str) -> None:
        """Read what comes for a while, then hang up without a word."""
        begun, asked = time.monotonic(), {"session_hash": session}
        stream = self._http.stream(
            "GET", f"{self._url}gradio_api/queue/data", params=asked, timeout=LEAVE_AFTER_S
        )
        with contextlib.suppress(httpx.ReadTimeout), stream as response:
            response.raise_for_status()
            for _ in response.iter_raw():
                if time.monotonic() - begun > LEAVE_AFTER_S:
                    return

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except httpx.HTTPError:
            self.refused += 1
            return False
        return True
