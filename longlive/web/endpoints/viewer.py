"""What the page and programs call for a live video: start, resume, prompt, stop, the player's reports."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import gradio as gr

from longlive.audience.audience import Audiences
from longlive.chunks import MediaSegment
from longlive.errors import MediaError
from longlive.media.segments import Container
from longlive.prompts import PromptText, check_prompt
from longlive.serving.engine import Engine
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus
from longlive.web.backpressure import is_behind
from longlive.web.endpoints.arguments import (
    read_model,
    read_prompts,
    read_seed,
    read_size,
    read_switch,
    shown_errors,
)
from longlive.web.endpoints.uploads import read_start_file
from longlive.web.file_serving import publish_file
from longlive.web.messages import (
    NOT_KEPT,
    NOT_PLAYING,
    NOTHING_TO_STOP,
    STOPPING,
    limits_text,
)
from longlive.web.middleware.client_address import address_of
from longlive.web.prompt_advice import nearest_prompt, vocabulary_hint
from longlive.web.viewer_stream import Message, ViewerStream, ViewerStreams, with_data

BACKPRESSURE_POLL_S = 0.05
STOP_TIMEOUT_S = 20


class Endpoints:
    """The page's and the programs' way to the engine.

    A run goes on without anybody who follows it; its token gives access to it again.
    """

    def __init__(self, engine: Engine) -> None:
        """Serve from ``engine``; there is one stream for each run that it keeps."""
        self.engine = engine
        self.streams = ViewerStreams()
        self.audiences = Audiences(engine.runs)
        engine.on_forget(self._forget)

    async def start(
        self,
        prompt: str,
        seed: float | None,
        later: list[Any] | None,
        request: gr.Request,
        start_from: str | None = None,
        model: str | None = None,
        size: str | None = None,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Start a live video and stream it; a video that you had before ends.

        Each output is one chunk of about 0.75 s as H.264 (base64 fragmented MP4, playable by itself), with
        the timeline and a status line; the first chunk comes in two, its first picture ahead of the others.
        The message that ends a chunk has a thumbnail of it: WebP, 96 pixels wide, as a data URL.
        The last output brings the video and the session file. Send prompts with /prompt and end with /stop,
        from the same client. A program that does not play gets at most 2 minutes.

        Args:
            prompt: What the video begins with.
            seed: Of the noise, a whole number; none for a random one.
            later: Prompts to come, as [{"at": seconds, "text": "…", "switch": "soft"}].
            start_from: A picture or short video to begin with, as a data URL of at most 3 MB; none for none.
            model: Name of the model that makes it, of those that /health lists; none for the first.
            size: Of its pictures, width x height, of those that /health lists for the model, such as 480x832;
                none for the model's own.
        """
        how = (prompt, seed, later, start_from, model, size)
        stream = await asyncio.to_thread(self._begin, "live", request, *how)
        async for message, segment in self.follow(stream, 0, request):
            yield outputs_of(with_data(message, segment), stream)

    def start_on_page(
        self, prompt: str, seed: Any, later: Any, request: gr.Request, start_from: Any, model: Any, size: Any
    ) -> Message:
        """Start a live video, which the page's player follows by ``/live``; returns what opens the player."""
        return self._begin("live", request, prompt, seed, later, start_from, model, size).opening()

    async def start_compatible(
        self, prompt: str, seed: Any, later: Any, request: gr.Request, start_from: Any, model: Any, size: Any
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Start a live video with the pictures as an HLS stream for gr.Video; else like start_on_page."""
        how = (prompt, seed, later, start_from, model, size)
        stream = await asyncio.to_thread(self._begin, "compatible", request, *how)
        yield gr.skip(), stream.opening()
        async for _, segment in self.follow(stream, 0, request):
            yield hls_chunk(segment), gr.skip()

    async def resume(self, token: str, seconds: float, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Continue a video after a lost connection, a reload or a restart of the app, from where you were.

        Outputs are those of start. It is possible for a while after you left (10 minutes, unless the operator
        has chosen otherwise), also to get the files of a video that has ended.

        Args:
            token: Of the video; each message to the player has it.
            seconds: The second of the video that you saw last.
        """
        stream, seconds = await self._return(token, seconds, request)
        after = stream.number_before(seconds)
        yield outputs_of(stream.opening(after, seconds), stream)
        async for message, segment in self.follow(stream, after, request):
            yield outputs_of(with_data(message, segment), stream)

    async def resume_on_page(self, token: str, seconds: float, request: gr.Request) -> Message:
        """Continue a video, which the page's player follows by ``/live``; returns what opens the player."""
        stream, seconds = await self._return(token, seconds, request)
        return stream.opening(stream.number_before(seconds), seconds)

    async def resume_compatible(
        self, token: str, seconds: float, request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Continue a video with the pictures as an HLS stream for gr.Video; else like resume_on_page."""
        stream, seconds = await self._return(token, seconds, request)
        after = stream.number_before(seconds)
        yield gr.skip(), stream.opening(after, seconds)
        async for _, segment in self.follow(stream, after, request):
            yield hls_chunk(segment), gr.skip()

    def prompt(self, prompt: str, switch: str, request: gr.Request) -> tuple[dict[str, Any], str, Any]:
        """Switch your running video to another prompt, from its next chunk on.

        Args:
            prompt: What the video turns into.
            switch: "soft" turns smoothly, "hard" cuts, "keep" changes the words only and drifts slowly.

        Returns:
            when it will be seen (chunk, at_seconds, in_seconds), a status line, and the timeline.
        """
        stream = self.streams.of_viewer(viewer_of(request))
        if stream is None or stream.run.is_leaving:
            raise gr.Error(NOT_PLAYING, print_exception=False)
        with shown_errors():
            scheduled = send_prompt(self, stream, prompt, switch)
        return scheduled, stream.status, stream.timeline()

    async def stop(self, request: gr.Request) -> str:
        """End your running video; its files come with the last output of /start.

        It answers when the video has ended: an answer sent sooner could reach the page after the end.
        """
        stream = self._running(request)
        if stream is None:
            return NOTHING_TO_STOP
        stream.run.stop("user")
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                while stream.finished is None:
                    stream.observe()
                    await asyncio.sleep(BACKPRESSURE_POLL_S)
        except TimeoutError:
            return STOPPING
        return stream.status

    def prompt_on_page(self, prompt: str, switch: str, request: gr.Request) -> None:
        """Like prompt; the page learns from ``/live`` what came of it."""
        self.prompt(prompt, switch, request)

    async def stop_on_page(self, request: gr.Request) -> None:
        """Like stop; the page learns from ``/live`` what came of it."""
        if self._running(request) is None:
            gr.Info(NOTHING_TO_STOP, duration=5)
        await self.stop(request)

    def files(self, token: str) -> tuple[Any, Any]:
        """Video and session file of a run that has ended; what is offered stays if it has none."""
        stream = self.stream_of(str(token))
        finished = stream.finished if stream else None
        if finished is None or finished.video is None:
            return gr.skip(), gr.skip()
        with shown_errors():
            return publish_file(finished.video), publish_file(finished.session_file)

    def playhead(self, report: dict[str, Any]) -> bool:
        """The player's report: ``token``, ``seconds`` on the screen, ``playing``, ``stalls`` so far.

        ``round_trip_s`` is how long the answer to its last report took, if it says so.
        """
        try:
            token, seconds = str(report["token"]), float(report["seconds"])
        except (KeyError, TypeError, ValueError):
            return False
        stalls, round_trip_s = report.get("stalls"), report.get("round_trip_s")
        return math.isfinite(seconds) and self.engine.playhead(
            token,
            max(0.0, seconds),
            bool(report.get("playing")),
            stalls=stalls if isinstance(stalls, int) else 0,
            round_trip_s=float(round_trip_s) if isinstance(round_trip_s, int | float) else 0.0,
        )

    def exists(self, question: dict[str, Any]) -> bool:
        """Whether the run with this ``token`` is still kept."""
        token = question.get("token") if isinstance(question, dict) else None
        return isinstance(token, str) and self.engine.find(token) is not None

    def replay_since(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """Messages that a program missed, in order, as far as they are still kept; the page reads ``/live``.

        Of values that come in one burst, Gradio may hand on only the newest.

        Args:
            question: ``token`` of the run; the messages with serials above ``after`` and below ``before``.
        """
        try:
            token = str(question["token"])
            after, before = int(question["after"]), int(question["before"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return []
        stream = self.stream_of(token)
        if stream is None:
            return []
        found = stream.messages(after)
        return [with_data(message, segment) for message, segment in found if message["serial"] < before]

    def stream_of(self, token: str) -> ViewerStream | None:
        """The stream of the run with this token, if it has one."""
        run = self.engine.find(token)
        return self.streams.of_run(run) if run else None

    def open(self, viewer: str, stream: ViewerStream) -> ViewerStream:
        """Give a stream to a viewer; those who watch the viewer's last video along watch this one."""
        self.audiences.lead_on(viewer, stream.run)
        return self.streams.open(viewer, stream)

    def leave(self, request: gr.Request) -> None:
        """The viewer's page was closed; the run is suspended soon, and kept for a while."""
        self.streams.leave(viewer_of(request))

    def _forget(self, run: Run) -> None:
        self.streams.forget(run)
        self.audiences.close(run)

    def _begin(self, mode: str, request: gr.Request, prompt: str, *how: Any) -> ViewerStream:
        """The stream of a new run; ``how`` as for ``_start_run``. Reads a file, so it runs in a thread."""
        viewer = viewer_of(request)
        with shown_errors():
            run = _start_run(self.engine, viewer, mode, address_of(request), prompt, *how)
        advice = self.advice(prompt, run.model)
        status = f"Making the first pictures (seed {run.seed}). {limits_text(self.engine.limits)} {advice}"
        return self.open(viewer, ViewerStream(run, mode, status.strip(), advice))

    def _running(self, request: gr.Request) -> ViewerStream | None:
        """The stream of the viewer's run, if it can be stopped."""
        stream = self.streams.of_viewer(viewer_of(request))
        return None if stream is None or stream.run.status is RunStatus.FINISHED else stream

    async def _return(self, token: Any, seconds: Any, request: gr.Request) -> tuple[ViewerStream, float]:
        """The stream of a run that was started before, for whoever knows its token."""
        seconds = float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0
        run = self.engine.find(str(token))
        if run is not None and self.streams.of_run(run) is None:
            await asyncio.to_thread(run.replay_stored, seconds)
        run = self.engine.claim(viewer_of(request), str(token))
        if run is None:
            raise gr.Error(NOT_KEPT, print_exception=False)
        mode = "compatible" if run.container == "ts" else "live"
        stream = self.streams.of_run(run) or ViewerStream(run, mode, "Welcome back.")
        return self.open(viewer_of(request), stream), max(0.0, seconds)

    async def follow(
        self, stream: ViewerStream, after: int, request: gr.Request
    ) -> AsyncIterator[tuple[Message, MediaSegment | None]]:
        """The messages after a number, no faster than the viewer fetches them.

        While a viewer does not fetch them, the run counts as not followed: it is suspended, and forgotten
        unless the viewer catches up.
        """
        async for message, segment in stream.follow(after):
            if is_behind(request):
                await self._until_fetched(stream, request)
            yield message, segment

    async def _until_fetched(self, stream: ViewerStream, request: gr.Request) -> None:
        """Wait while the viewer is far behind, as long as the run is kept; then the viewer is back."""
        while is_behind(request) and self.engine.exists(stream.run):
            await asyncio.sleep(BACKPRESSURE_POLL_S)
        self.engine.claim(viewer_of(request), stream.run.token)

    def in_known_words(self, prompt: PromptText, model: str | None = None) -> PromptText:
        """The prompt with the nearest known word for each that the model does not know."""
        return nearest_prompt(prompt, self.engine.models.find(model).card)

    def advice(self, prompt: str, model: str | None = None) -> str:
        """A hint about words of a prompt that the model does not know; empty if it knows all."""
        executor = self.engine.models.find(model)
        return vocabulary_hint(prompt, executor.config.name, executor.card)


def send_prompt(endpoints: Endpoints, stream: ViewerStream, prompt: str, switch: str) -> dict[str, Any]:
    """Switch the run of a stream to another prompt, and let its status line say so.

    Returns:
        when it will be seen: ``chunk``, ``at_seconds``, ``in_seconds``.

    Raises:
        PromptError: if the prompt cannot be used, or too many wait or came in the last minute.
        ConfigError: if there is no such switch.
    """
    text = endpoints.in_known_words(check_prompt(prompt), stream.run.model)
    scheduled = stream.run.prompt(text, read_switch(switch))
    advice = endpoints.advice(prompt, stream.run.model)
    status = f"Your prompt will be seen in {scheduled.in_seconds:.1f} s. {advice}".strip()
    stream.show_status(status, scheduled.at_seconds, advice)
    at, wait = round(scheduled.at_seconds, 3), round(scheduled.in_seconds, 3)
    return {"chunk": scheduled.chunk, "at_seconds": at, "in_seconds": wait}


CONTAINERS: dict[str, Container] = {"live": "mp4", "compatible": "ts"}


def _start_run(
    engine: Engine,
    viewer: str,
    mode: str,
    address: str,
    prompt: str,
    seed: Any,
    later: Any,
    start_from: Any,
    model: Any,
    size: Any,
) -> Run:
    """Start a run as a caller asks for it; LongLiveError says what cannot be."""
    number, executor = read_seed(seed), read_model(model, engine.models)
    config, scenes = read_size(size, executor.config), read_prompts(prompt, later)
    first, *script = (
        replace(one, text=nearest_prompt(check_prompt(one.text), executor.card)) for one in scenes
    )
    return engine.start(
        viewer,
        first.text,
        seed=number,
        script=script,
        container=CONTAINERS[mode],
        address=address,
        start=read_start_file(start_from, config),
        model=config.name,
        size=config.size,
    )


def outputs_of(message: Message, stream: ViewerStream) -> tuple[Any, ...]:
    """Player, timeline, status line, video and session file."""
    left = stream.finished if message["kind"] == "end" else None
    status = stream.status
    files: tuple[str | None, str | None] = (None, None)
    try:
        files = (publish_file(left.video), publish_file(left.session_file)) if left else (None, None)
    except MediaError as error:
        status = f"{status} {error}"
    return (message, stream.timeline(), status, *files)


def hls_chunk(segment: MediaSegment | None) -> Any:
    """What the HLS player is given."""
    return (segment.data, segment.seconds) if segment else gr.skip()


def viewer_of(request: gr.Request) -> str:
    """The caller's session, by the name that Gradio gives it."""
    return request.session_hash or "nobody"
