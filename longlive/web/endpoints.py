"""What the page's events and programs call: start, prompt, stop, generate, and the player's playhead."""

import asyncio
import base64
import itertools
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from longlive.chunks import SWITCH_MODES, MediaSegment, SwitchMode
from longlive.engine import Engine, Run
from longlive.errors import ConfigError, LongLiveError
from longlive.noise import check_seed
from longlive.producer import Finished, Notice, Report, Shot
from longlive.segments import Container
from longlive.storyboard import Scene, read_scenes
from longlive.text import check_prompt
from longlive.web.words import gentle_answer

POLL_S = 0.02
SHOWN_SPANS = 20
SHOWN_CHARACTERS = 200
KEPT_MESSAGES = 60
KEPT_S = 30
STOP_S = 20
LONGEST_CLIP_S = 60
LONGEST_WORDS = 500
PLAYING = "Playing. Send another prompt whenever you like."


@dataclass
class Visit:
    """A viewer's run with what the page says of it.

    Attributes:
        number: of the run; the page ignores messages of older ones.
        words: for the status line.
        until: the second of the take at which ``words`` have come true.
        advice: what to say from then on, if anything.
        spans: what each prompt made so far.
        serial: number of the last message.
        sent: the last messages, for a player that missed some.
    """

    run: Run
    number: int
    mode: str
    words: str
    until: float | None = None
    advice: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    serial: int = 0
    sent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_MESSAGES))

    @property
    def has_ended(self) -> bool:
        """Whether the last message is out."""
        return bool(self.sent) and self.sent[-1]["kind"] == "end"

    def message(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message to the player."""
        self.serial += 1
        place = {"number": self.number, "serial": self.serial, "mode": self.mode, "token": self.run.token}
        self.sent.append({"kind": kind} | place | fields)
        return self.sent[-1]

    def shot(self, shot: Shot) -> dict[str, Any]:
        """The message of a segment; its prompt's span grows. Only a whole chunk tells the speed."""
        segment = shot.segment
        end = (segment.first_frame + segment.num_frames) / segment.fps
        if not self.spans or self.spans[-1]["prompt_index"] != segment.prompt_index:
            text, start = segment.prompt[:SHOWN_CHARACTERS], segment.first_frame / segment.fps
            self.spans.append({"prompt_index": segment.prompt_index, "text": text, "start": start})
        self.spans[-1] = self.spans[-1] | {"end": end}
        if self.until is not None and self.run.seconds_until(self.until) <= 0:
            self.words, self.until = self.advice or PLAYING, None
        speed = {"fps": shot.fps, "delay_s": self.run.delay(), "chunk_ms": shot.chunk_ms}
        figures = speed if segment.ends_chunk else None
        return self.message(
            "segment", figures=figures, **_segment_fields(segment, with_data=self.mode == "live")
        )

    def timeline(self) -> dict[str, Any]:
        """The value of the timeline."""
        waiting = [
            {
                "text": prompt.text[:SHOWN_CHARACTERS],
                "switch": prompt.switch,
                "at": self.run.start_of(prompt.chunk),
            }
            for prompt in self.run.waiting
        ]
        return {"spans": self.spans[-SHOWN_SPANS:], "waiting": waiting}


class Endpoints:
    """The page's way to the engine; it keeps one visit per viewer, and none for those who left.

    A visit outlives its run by ``KEPT_S``, so that the player may still ask for what it missed.
    """

    def __init__(self, engine: Engine) -> None:
        """Serve from ``engine``."""
        self.engine = engine
        self._visits: dict[str, Visit] = {}
        self._numbers = itertools.count(1)

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
        async for report, visit in self._follow(prompt, seed, later, "live", request):
            yield self._outputs(report, visit)

    async def start_compatible(
        self, prompt: str, seed: float | None, later: list[Any] | None, request: gr.Request
    ) -> AsyncIterator[tuple[Any, ...]]:
        """As start, with the pictures as a HLS stream for gr.Video."""
        async for report, visit in self._follow(prompt, seed, later, "compatible", request):
            chunk = (report.segment.data, report.segment.seconds) if isinstance(report, Shot) else gr.skip()
            yield (chunk, *self._outputs(report, visit))

    def prompt(self, prompt: str, switch: str, request: gr.Request) -> tuple[dict[str, Any], str, Any]:
        """Turn your running story with another prompt, from its next chunk on.

        Args:
            prompt: What the story turns into.
            switch: "soft" turns smoothly, "hard" cuts, "keep" changes the words only and drifts slowly.

        Returns:
            when it will be seen (chunk, at_seconds, in_seconds), a line of words, and the timeline.
        """
        visit = self._visits.get(_viewer(request))
        if visit is None or self.engine.run_of(visit.run.viewer) is not visit.run:
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
        viewer = _viewer(request)
        run, visit = self.engine.run_of(viewer), self._visits.get(viewer)
        if run is None or visit is None:
            return "No story is playing."
        run.stop("The story has ended. Its film is below.")
        patience = time.monotonic() + STOP_S
        while not visit.has_ended and self._visits.get(viewer) is visit:
            if time.monotonic() > patience:
                return "Stopping after this chunk…"
            await asyncio.sleep(POLL_S)
        return self._visits.get(viewer, visit).words

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
                    case Shot(segment):
                        made = (segment.first_frame + segment.num_frames) / segment.fps
                        yield None, None, f"{made:.1f} of {seconds:.1f} s are made."
                    case Notice(words):
                        yield None, None, words
                    case Finished(reason, take, session_file):
                        if take is None or session_file is None:
                            raise gr.Error(reason, print_exception=False)
                        yield str(take), str(session_file), reason
        finally:
            run.close()

    def playhead(self, word: dict[str, Any]) -> bool:
        """The player's word of what is on the screen: ``token`` of the run, ``seconds``, ``playing``."""
        try:
            token, seconds = str(word["token"]), float(word["seconds"])
        except (KeyError, TypeError, ValueError):
            return False
        return math.isfinite(seconds) and self.engine.playhead(
            token, max(0.0, seconds), bool(word.get("playing"))
        )

    def missed(self, word: dict[str, Any]) -> list[dict[str, Any]]:
        """Messages that the page did not pass on to the player, in order, as far as they are still kept.

        Gradio hands a component only the newest of the values that reach the browser in one burst.

        Args:
            word: ``token`` of the run; the messages whose serial is above ``after`` and below ``before``.
        """
        try:
            token, after, before = str(word["token"]), int(word["after"]), int(word["before"])
        except (KeyError, TypeError, ValueError, OverflowError):
            return []
        for visit in list(self._visits.values()):
            if visit.run.is_called(token):
                return [message for message in list(visit.sent) if after < message["serial"] < before]
        return []

    def leave(self, request: gr.Request) -> None:
        """The viewer's page was closed: nothing of the visit stays."""
        if visit := self._visits.pop(_viewer(request), None):
            visit.run.close()

    async def _follow(
        self, prompt: str, seed: float | None, later: list[Any] | None, mode: str, request: gr.Request
    ) -> AsyncIterator[tuple[Report | None, Visit]]:
        """The reports of a new run; None at its beginning. The run ends when nobody follows any more."""
        viewer, container = _viewer(request), _CONTAINERS[mode]
        with _errors_in_words():
            number = _read_seed(seed)
            script = _read_later(prompt, later)
            run = self.engine.start(viewer, prompt, seed=number, script=script, container=container)
        advice = self._advice(prompt)
        words = f"Preparing the first pictures, with seed {number}. {advice}".strip()
        visit = self._visits[viewer] = Visit(run, next(self._numbers), mode, words, 0.3, advice)
        try:
            yield None, visit
            async for report in _reports(run):
                if self._visits.get(viewer) is not visit:
                    return
                yield report, visit
        finally:
            run.close()
            asyncio.get_running_loop().call_later(KEPT_S, self._forget, viewer, visit)

    def _forget(self, viewer: str, visit: Visit) -> None:
        if self._visits.get(viewer) is visit:
            del self._visits[viewer]

    def _outputs(self, report: Report | None, visit: Visit) -> tuple[Any, ...]:
        """Player, timeline, words, take and session file."""
        take = session_file = None
        match report:
            case None:
                message = visit.message("begin")
            case Shot():
                message = visit.shot(report)
            case Notice(words):
                message, visit.words, visit.until = visit.message("notice"), words, None
            case Finished():
                take, session_file, visit.words = report.take, report.session_file, report.reason
                message = visit.message("end", has_take=take is not None, failed=report.failed)
        return message, visit.timeline(), visit.words, take and str(take), session_file and str(session_file)

    def _advice(self, prompt: str) -> str:
        return gentle_answer(prompt, self.engine.models.config.name, self.engine.models.card)


_CONTAINERS: dict[str, Container] = {"live": "mp4", "compatible": "ts"}


async def _reports(run: Run) -> AsyncIterator[Report]:
    """The reports of a run as they come, the last included."""
    while True:
        report = run.next_report()
        if report is None:
            await asyncio.sleep(POLL_S)
            continue
        yield report
        if isinstance(report, Finished):
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


def _segment_fields(segment: MediaSegment, *, with_data: bool) -> dict[str, Any]:
    return {
        "chunk": segment.index,
        "prompt_index": segment.prompt_index,
        "prompt": segment.prompt,
        "first_frame": segment.first_frame,
        "num_frames": segment.num_frames,
        "fps": segment.fps,
        "mime": segment.mime,
        "data": base64.b64encode(segment.data).decode() if with_data else "",
    }


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
