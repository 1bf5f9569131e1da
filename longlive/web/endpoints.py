"""What the page's events and programs call: start, resume, prompt, stop, generate, and the player's words."""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr

from longlive.chunks import SWITCH_MODES, MediaSegment, SwitchMode
from longlive.errors import ConfigError, LongLiveError, MediaError
from longlive.generation.noise import check_seed
from longlive.generation.storyboard import Scene, read_scenes
from longlive.media.segments import Container
from longlive.prompts import check_prompt
from longlive.serving.engine import Engine
from longlive.serving.events import QueuePosition, RunEvent, RunFinished
from longlive.serving.executors.events import NoticeEvent, SegmentEvent
from longlive.serving.run import Run
from longlive.web.backpressure import is_behind
from longlive.web.file_serving import publish_file
from longlive.web.middleware.client_address import address_of
from longlive.web.prompt_advice import vocabulary_hint
from longlive.web.viewer_stream import Message, ViewerStream

POLL_S = 0.02
STOP_S = 20
LONGEST_CLIP_S = 60
LONGEST_WORDS = 500
_GONE = "This story is no longer kept. Press Start for a new one."


class Endpoints:
    """The page's way to the engine; it keeps a visit of each run for as long as the engine knows the run.

    A run goes on without anybody who follows: one whose connection broke takes it up again with its token.
    """

    def __init__(self, engine: Engine) -> None:
        """Serve from ``engine``."""
        self.engine = engine
        self._visits: dict[str, ViewerStream] = {}
        self._viewers: dict[str, ViewerStream] = {}
        engine.when_forgotten = self._forget

    async def start(
        self, prompt: str, seed: float | None, later: list[Any] | None, request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Start a live story and stream it; a story that you had before ends.

        Each output is one chunk of about 0.75 s as H.264 (base64 fragmented MP4, playable by itself), with
        the timeline and a line of words; the first chunk comes in two, its first picture ahead of the others.
        The last output brings the video and the session file. Send prompts with /prompt and end with /stop,
        from the same client. A program that does not play gets at most 2 minutes.

        Args:
            prompt: What the story begins with.
            seed: Of the noise, a whole number; none for a random one.
            later: Prompts to come, as [{"at": seconds, "text": "…", "switch": "soft"}].
        """
        visit = self._begin(prompt, seed, later, "live", request)
        async for message, _ in self._follow(visit, 0, request):
            yield _outputs(message, visit)

    async def start_compatible(
        self, prompt: str, seed: float | None, later: list[Any] | None, request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """As start, with the pictures as a HLS stream for gr.Video."""
        visit = self._begin(prompt, seed, later, "compatible", request)
        async for message, segment in self._follow(visit, 0, request):
            yield (_chunk(segment), *_outputs(message, visit))

    async def resume(self, token: str, seconds: float, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Go on with a story after a lost connection, a reload or a restart of the app, from where you were.

        Outputs are as those of start. It is possible for a while after you left (10 minutes, if the hosts
        have not chosen otherwise), also for the film of a story that has ended.

        Args:
            token: Of the story; each message to the player has it.
            seconds: The second of the story that you saw last.
        """
        visit, seconds = await self._return(token, seconds, request)
        serial = visit.before(seconds)
        yield _outputs(visit.greeting(serial, seconds), visit)
        async for message, _ in self._follow(visit, serial, request):
            yield _outputs(message, visit)

    async def resume_compatible(
        self, token: str, seconds: float, request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """As resume, with the pictures as a HLS stream for gr.Video."""
        visit, seconds = await self._return(token, seconds, request)
        serial = visit.before(seconds)
        yield (gr.skip(), *_outputs(visit.greeting(serial, seconds), visit))
        async for message, segment in self._follow(visit, serial, request):
            yield (_chunk(segment), *_outputs(message, visit))

    def prompt(self, prompt: str, switch: str, request: gr.Request) -> tuple[dict[str, Any], str, Any]:
        """Turn your running story with another prompt, from its next chunk on.

        Args:
            prompt: What the story turns into.
            switch: "soft" turns smoothly, "hard" cuts, "keep" changes the words only and drifts slowly.

        Returns:
            when it will be seen (chunk, at_seconds, in_seconds), a line of words, and the timeline.
        """
        visit = self._viewers.get(_viewer(request))
        if visit is None or visit.run.is_leaving:
            raise gr.Error("No story is playing. Press Start first.", print_exception=False)
        with _errors_in_words():
            promise = visit.run.prompt(prompt, _read_switch(switch))
        advice = visit.advice = self._advice(prompt)
        visit.words = f"Your prompt will be seen in {promise.in_seconds:.1f} s. {advice}".strip()
        visit.until = promise.at_seconds
        answer = {
            "chunk": promise.chunk,
            "at_seconds": round(promise.at_seconds, 3),
            "in_seconds": round(promise.in_seconds, 3),
        }
        return answer, visit.words, visit.timeline()

    async def stop(self, request: gr.Request) -> str:
        """End your running story; its video and session file come with the last output of /start.

        It answers when the story has ended: a word sent sooner could come to the page later than the end.
        """
        visit = self._viewers.get(_viewer(request))
        if visit is None or visit.run.state == "ended":
            return "No story is playing."
        visit.run.stop("The story has ended. Its film is below.")
        patience = time.monotonic() + STOP_S
        while visit.finished is None:
            if time.monotonic() > patience:
                return "Stopping after this chunk…"
            await asyncio.sleep(POLL_S)
            visit.advance()
        return visit.words

    async def generate(
        self, storyboard: dict[str, Any], seconds: float, seed: float | None
    ) -> AsyncIterator[tuple[str | None, str | None, str]]:
        """Make a video of a given length from a storyboard.

        Each prompt may also have a "switch": "soft" (turns smoothly, as without one), "hard" (cuts) or "keep"
        (changes the words only).

        Args:
            storyboard: {"prompts": [{"at": 0, "text": "a red ball"}, {"at": 4, "text": "it jumps"}]}
            seconds: Length of the video, up to 60.
            seed: Of the noise, a whole number; none for a random one.

        Returns:
            the video (MP4), the session file (JSON, which makes the video again) and a line of words.
        """
        with _errors_in_words():
            prompts = storyboard.get("prompts") if isinstance(storyboard, dict) else storyboard
            first, *script = read_scenes(prompts)
            limits = replace(
                self.engine.limits, ahead_s=math.inf, unwatched_s=math.inf, video_s=_read_length(seconds)
            )
            viewer = f"generate-{secrets.token_hex(8)}"
            run = self.engine.start(viewer, first.text, seed=_read_seed(seed), script=script, limits=limits)
        try:
            async for report in _reports(run):
                match report:
                    case SegmentEvent(segment=segment):
                        made = (segment.first_frame + segment.num_frames) / segment.fps
                        yield None, None, f"{made:.1f} of {seconds:.1f} s are made."
                    case NoticeEvent(words):
                        yield None, None, words
                    case QueuePosition():
                        yield None, None, report.words
                    case RunFinished(reason, take, session_file):
                        if take is None or session_file is None:
                            raise gr.Error(reason, print_exception=False)
                        with _errors_in_words():
                            files = publish_file(take), publish_file(session_file)
                        yield (*files, reason)
        finally:
            run.close()

    def playhead(self, word: dict[str, Any]) -> bool:
        """The player's word of what is on the screen: ``token``, ``seconds``, ``playing``, ``stalls``."""
        try:
            token, seconds = str(word["token"]), float(word["seconds"])
        except (KeyError, TypeError, ValueError):
            return False
        stalls = word.get("stalls")
        return math.isfinite(seconds) and self.engine.playhead(
            token,
            max(0.0, seconds),
            bool(word.get("playing")),
            stalls=stalls if isinstance(stalls, int) else 0,
        )

    def exists(self, word: dict[str, Any]) -> bool:
        """Whether the story with this ``token`` is still kept."""
        token = word.get("token") if isinstance(word, dict) else None
        return isinstance(token, str) and self.engine.find(token) is not None

    def replay_since(self, word: dict[str, Any]) -> list[dict[str, Any]]:
        """Messages that the page did not pass on to the player, in order, as far as they are still kept.

        Gradio hands a component only the newest of the values that reach the browser in one burst.

        Args:
            word: ``token`` of the run; the messages whose serial is above ``after`` and below ``before``.
        """
        try:
            token, after, before = str(word["token"]), int(word["after"]), int(word["before"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return []
        run = self.engine.find(token)
        visit = self._visits.get(run.name) if run else None
        if visit is None:
            return []
        visit.advance()
        return [message for message, _ in visit.after(after) if message["serial"] < before]

    def leave(self, request: gr.Request) -> None:
        """The viewer's page was closed; its story rests soon, and is kept for a while."""
        visit = self._viewers.pop(_viewer(request), None)
        if visit is not None:
            visit.follower = None

    def _begin(
        self, prompt: str, seed: float | None, later: list[Any] | None, mode: str, request: gr.Request
    ) -> ViewerStream:
        """The visit of a new run."""
        viewer = _viewer(request)
        with _errors_in_words():
            number = _read_seed(seed)
            script = _read_later(prompt, later)
            run = self.engine.start(
                viewer,
                prompt,
                seed=number,
                script=script,
                container=_CONTAINERS[mode],
                address=address_of(request),
            )
        advice = self._advice(prompt)
        words = f"Preparing the first pictures, with seed {number}. {self.engine.limits.words()} {advice}"
        return self._keep(viewer, ViewerStream(run, mode, words.strip(), advice))

    async def _return(self, token: Any, seconds: Any, request: gr.Request) -> tuple[ViewerStream, float]:
        """The visit of a run that was begun before, for whoever knows its token."""
        seconds = float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0
        run = self.engine.claim(_viewer(request), str(token))
        if run is None:
            raise gr.Error(_GONE, print_exception=False)
        visit = self._visits.get(run.name)
        if visit is None:
            found = await asyncio.to_thread(ViewerStream.found, run, seconds)
            visit = self._visits.setdefault(run.name, found)
        return self._keep(_viewer(request), visit), max(0.0, seconds)

    def _keep(self, viewer: str, visit: ViewerStream) -> ViewerStream:
        """Remember a visit; a viewer has one at most, and it one viewer."""
        self._leave(visit)
        before = self._viewers.get(viewer)
        if before is not None:
            before.follower = None
        self._visits[visit.run.name] = self._viewers[viewer] = visit
        return visit

    def _leave(self, visit: ViewerStream) -> None:
        for viewer, one in list(self._viewers.items()):
            if one is visit:
                self._viewers.pop(viewer, None)

    def _forget(self, run: Run) -> None:
        """The engine keeps a run no longer."""
        visit = self._visits.pop(run.name, None)
        if visit is not None:
            self._leave(visit)

    async def _follow(
        self, visit: ViewerStream, serial: int, request: gr.Request
    ) -> AsyncIterator[tuple[Message, MediaSegment | None]]:
        """The messages after a number, as they come; until the last, or somebody follows anew.

        Of a viewer who does not fetch them the run is not followed: it rests then, and is forgotten, unless
        the viewer catches up.
        """
        visit.follower = ticket = object()
        while visit.follower is ticket:
            await self._until_read(visit, request)
            visit.advance()
            for message, segment in visit.after(serial):
                await self._until_read(visit, request)
                serial = message["serial"]
                yield message, segment
                if message["kind"] == "end":
                    return
            await asyncio.sleep(POLL_S)

    async def _until_read(self, visit: ViewerStream, request: gr.Request) -> None:
        """Wait while the viewer is far behind, as long as its run is kept; one who has caught up is back."""
        if not is_behind(request):
            return
        while is_behind(request) and self.engine.knows(visit.run):
            await asyncio.sleep(POLL_S)
        self.engine.claim(_viewer(request), visit.run.token)

    def _advice(self, prompt: str) -> str:
        return vocabulary_hint(prompt, self.engine.carrier.config.name, self.engine.carrier.card)


_CONTAINERS: dict[str, Container] = {"live": "mp4", "compatible": "ts"}


def _outputs(message: Message, visit: ViewerStream) -> tuple[Any, ...]:
    """Player, timeline, words, take and session file."""
    left = visit.finished if message["kind"] == "end" else None
    words = visit.words
    files: tuple[str | None, str | None] = (None, None)
    try:
        files = (publish_file(left.take), publish_file(left.session_file)) if left else (None, None)
    except MediaError as error:
        words = f"{words} {error}"
    return (message, visit.timeline(), words, *files)


def _chunk(segment: MediaSegment | None) -> Any:
    """What the HLS player is given."""
    return (segment.data, segment.seconds) if segment else gr.skip()


async def _reports(run: Run) -> AsyncIterator[RunEvent]:
    """The reports of a run as they come, the last included."""
    while True:
        report = run.next_report()
        if report is None:
            await asyncio.sleep(POLL_S)
            continue
        yield report
        if isinstance(report, RunFinished):
            return


@contextmanager
def _errors_in_words() -> Iterator[None]:
    try:
        yield
    except LongLiveError as error:
        words = str(error)
        words = words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]}…"
        raise gr.Error(words, print_exception=False) from error


def _viewer(request: gr.Request) -> str:
    return request.session_hash or "nobody"


def _read_length(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_CLIP_S:
        raise ConfigError("seconds", seconds, f"it must be above 0 and at most {LONGEST_CLIP_S}", "Try 10.")
    return float(seconds)


def _read_seed(seed: float | None) -> int:
    if seed is None:
        return secrets.randbelow(1_000_000)
    return check_seed(int(seed) if isinstance(seed, float) and seed.is_integer() else seed)  # type: ignore[arg-type]


def _read_later(prompt: str, later: Any) -> list[Scene]:
    if later is not None and not isinstance(later, list):
        raise ConfigError("later", later, "it must be a list of prompts to come", "Leave it out, or try [].")
    check_prompt(prompt)
    return read_scenes([{"at": 0, "text": prompt}, *(later or [])])[1:]


def _read_switch(switch: str) -> SwitchMode:
    if switch not in SWITCH_MODES:
        raise ConfigError(
            "switch", switch, f"it must be one of {', '.join(SWITCH_MODES)}", "Choose one of them."
        )
    return switch  # type: ignore[return-value]
