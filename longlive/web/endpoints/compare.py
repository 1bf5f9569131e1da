"""What the page and programs call to try a prompt in every way from one chunk: three short takes."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from longlive.chunks import SwitchMode
from longlive.prompts import PromptText, check_prompt
from longlive.serving.executors.events import NoticeEvent
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus
from longlive.web.backpressure import is_behind
from longlive.web.endpoints.arguments import read_chunk, shown_errors
from longlive.web.endpoints.viewer import Endpoints, viewer_of
from longlive.web.file_serving import publish_file
from longlive.web.messages import ALREADY_COMPARING, COMPARED, COMPARISON_ENDED, NO_PROMPT, NOT_KEPT
from longlive.web.middleware.client_address import address_of
from longlive.web.viewer_stream import ViewerStream

TRIED: tuple[tuple[str, SwitchMode], ...] = (("Smooth", "soft"), ("Cut", "hard"), ("Drift", "keep"))
NUM_CHUNKS = 8
"""Chunks that each take has of its own."""
POLL_S, HEARTBEAT_S = 0.1, 2.0

Progress = dict[str, Any]


@dataclass
class _Take:
    """One of the takes; without a stream, its turn has not come."""

    name: str
    switch: SwitchMode
    stream: ViewerStream | None = None

    @property
    def is_ready(self) -> bool:
        finished = self.stream.finished if self.stream else None
        return finished is not None and finished.reason == "complete"

    def progress(self, first: int) -> Progress:
        """What callers are told of it; ``first`` is the first chunk of its own."""
        about: Progress = {"name": self.name, "switch": self.switch, "made": 0, "of": NUM_CHUNKS}
        if self.stream is None:
            return about | {"is_ready": False}
        run, store = self.stream.run, self.stream.run.store
        about |= {"token": run.token, "take": run.name, "parent": store.facts["parent"]}
        about |= {"made": run.num_chunks - first, "num_chunks": run.num_chunks}
        about |= {"from_s": store.chunks[first - 1].end_s, "end_s": run.end_s, "restored": _restored(run)}
        return about | {"is_ready": self.is_ready}


@dataclass
class _Comparison:
    """The takes that a viewer has asked for; ``state`` is ``making``, ``done``, ``ended`` or ``refused``."""

    takes: list[_Take] = field(default_factory=lambda: [_Take(*how) for how in TRIED])
    first: int = 0
    state: str = "making"
    message: str = ""

    def progress(self) -> Progress:
        """What callers are told."""
        takes = [take.progress(self.first) for take in self.takes]
        return {"state": self.state, "message": self.message, "chunk": self.first, "takes": takes}

    def show_turn_of(self, take: _Take) -> None:
        """Say which take is being made, and what it waits for."""
        assert take.stream is not None
        is_waiting = take.stream.run.status is RunStatus.WAITING
        turn = f"Take {self.takes.index(take) + 1} of {len(self.takes)}: {take.name}."
        self.message = f"{turn} {take.stream.status}" if is_waiting else turn

    def end(self, state: str, message: str) -> None:
        """Nothing more is made; what is being made is dropped."""
        self.state, self.message = state, message
        for stream in [take.stream for take in self.takes if take.stream is not None]:
            stream.observe()
            if stream.finished is None:
                stream.run.stop("closed")


class CompareEndpoint:
    """Makes takes of one chunk one after another, each as a run of the viewer's, who has one slot."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Have them made by the engine of ``endpoints``."""
        self._endpoints, self._engine = endpoints, endpoints.engine
        self._comparisons: dict[str, _Comparison] = {}

    async def compare(
        self, token: str, chunk: float, prompt: str, request: gr.Request
    ) -> AsyncIterator[tuple[Progress, list[str] | None]]:
        """Try a prompt in all three ways from one chunk of a video: three takes of about 6 s each.

        They are made one after another, as fast as they can be. Your video that plays ends, as by /stop. Each
        take is kept like a video that has ended: go on with one by /branch, with its ``token`` and its
        ``num_chunks`` as the chunk. Whoever stops reading ends it.

        Args:
            token: Of the video, as in each message to its player.
            chunk: The first chunk that is made anew, from 1 to the number of chunks that it has.
            prompt: What it goes on with.

        Returns:
            what was made so far (state, message, and for each take: name, switch, token, made, of,
            num_chunks, from_s, end_s, restored, is_ready), and at the end video and session file of each.
        """
        async for progress in self._compare(token, chunk, prompt, request):
            if progress["state"] == "refused":
                raise gr.Error(progress["message"], print_exception=False)
            yield progress, self._files(progress) if progress["state"] != "making" else None

    async def compare_on_page(
        self, token: str, chunk: float, prompt: str, request: gr.Request
    ) -> AsyncIterator[Progress]:
        """Like compare, without the files; the panel shows what is wrong."""
        async for progress in self._compare(token, chunk, prompt, request):
            yield progress

    def cancel(self, request: gr.Request) -> None:
        """End what the caller has asked for; the takes that are ready are kept."""
        comparison = self._comparisons.get(viewer_of(request))
        if comparison is not None:
            comparison.end("ended", COMPARISON_ENDED["cancelled"])

    async def _compare(
        self, token: Any, chunk: Any, prompt: Any, request: gr.Request
    ) -> AsyncIterator[Progress]:
        viewer, comparison = viewer_of(request), _Comparison()
        if viewer in self._comparisons:
            comparison.end("refused", ALREADY_COMPARING)
            yield comparison.progress()
            return
        self._comparisons[viewer] = comparison
        try:
            parent, comparison.first, text = self._read(token, chunk, prompt)
            async for _ in self._make_takes(comparison, parent, text, request):
                yield comparison.progress()
        except gr.Error as error:
            comparison.end("refused", error.message)
            yield comparison.progress()
        finally:
            del self._comparisons[viewer]
            comparison.end(comparison.state, comparison.message)

    def _read(self, token: Any, chunk: Any, prompt: Any) -> tuple[Run, int, PromptText]:
        """Whose chunk it is, the chunk, and the prompt; gr.Error if something is wrong with them."""
        parent = self._engine.find(str(token))
        if parent is None:
            raise gr.Error(NOT_KEPT, print_exception=False)
        if not isinstance(prompt, str) or not prompt.strip():
            raise gr.Error(NO_PROMPT, print_exception=False)
        with shown_errors():
            known = self._endpoints.in_known_words(check_prompt(prompt), parent.model)
            return parent, read_chunk(chunk), known

    async def _make_takes(
        self, comparison: _Comparison, parent: Run, prompt: PromptText, request: gr.Request
    ) -> AsyncIterator[None]:
        """Make one take after another; yields whenever there is something to tell, and now and then."""
        for take in comparison.takes:
            take.stream = await self._begin(take.switch, comparison.first, parent, prompt, request)
            async for _ in self._follow(take.stream, comparison, request):
                comparison.show_turn_of(take)
                yield
            if comparison.state == "making" and not take.is_ready:
                comparison.end("ended", _why_ended(take.stream))
            if comparison.state != "making":
                yield
                return
        is_exact = all(take.stream and _restored(take.stream.run) == "exact" for take in comparison.takes)
        comparison.end("done", COMPARED[is_exact])
        yield

    async def _begin(
        self, switch: SwitchMode, chunk: int, parent: Run, prompt: PromptText, request: gr.Request
    ) -> ViewerStream:
        """The stream of the run of another take; what it begins with is copied in a thread."""
        viewer, address = viewer_of(request), address_of(request)

        def branch() -> Run:
            return self._engine.branch(
                viewer, parent, chunk, prompt=prompt, switch=switch, length=NUM_CHUNKS, address=address
            )

        with shown_errors():
            run = await asyncio.to_thread(branch)
        mode = "compatible" if run.container == "ts" else "live"
        return self._endpoints.streams.open(viewer, ViewerStream(run, mode, ""))

    async def _follow(
        self, stream: ViewerStream, comparison: _Comparison, request: gr.Request
    ) -> AsyncIterator[None]:
        """Until a take is over or its caller is gone; yields when more of it was made, and now and then."""
        told, told_at = (-1, ""), 0.0
        while stream.finished is None and comparison.state == "making":
            if is_behind(request):
                comparison.end("ended", COMPARISON_ENDED["closed"])
                return
            stream.run.presence.follow()
            self._engine.keep_takes(stream.run)
            now = (stream.run.num_chunks, stream.status)
            if now != told or time.monotonic() - told_at > HEARTBEAT_S:
                told, told_at = now, time.monotonic()
                yield
            await asyncio.sleep(POLL_S)
            stream.observe()

    def _files(self, progress: Progress) -> list[str]:
        """Video and session file of each take that is ready."""
        streams = [self._endpoints.stream_of(one["token"]) for one in progress["takes"] if "token" in one]
        finished = [stream.finished for stream in streams if stream is not None and stream.finished]
        with shown_errors():
            files = [publish_file(path) for one in finished for path in (one.video, one.session_file)]
        return [path for path in files if path is not None]


def _restored(run: Run) -> str | None:
    """``exact`` or ``quick``, as the run went on from the chunks that it begins with; None before that."""
    codes = [event.code for _, event in run.events.kept() if isinstance(event, NoticeEvent)]
    ways = {"branched_exact": "exact", "branched_quick": "quick"}
    return next((ways[code] for code in codes if code in ways), None)


def _why_ended(stream: ViewerStream) -> str:
    """Why a take came to no good end."""
    reason = stream.finished.reason if stream.finished else "closed"
    return COMPARISON_ENDED.get(reason, stream.status)
