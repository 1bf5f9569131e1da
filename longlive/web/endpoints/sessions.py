"""What the page and programs call to open session files and share links, to verify and to share a video."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import gradio as gr

from longlive.chunks import MediaSegment
from longlive.config import size_text
from longlive.errors import LongLiveError, SessionFileError, reason_of
from longlive.files import utf8_of
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import MAX_SCENES, storyboard_of_record
from longlive.prompts import check_prompt
from longlive.serving.executors.executor import Executor
from longlive.serving.limits import Limits
from longlive.serving.runs.recording import check_record
from longlive.serving.runs.run import Run
from longlive.web.endpoints.arguments import shortened, shown_errors
from longlive.web.endpoints.share_link import SharedVideo, read_share_link, write_share_link
from longlive.web.endpoints.uploads import decode_file, reading
from longlive.web.endpoints.viewer import CONTAINERS, Endpoints, hls_chunk, outputs_of, viewer_of
from longlive.web.messages import NOT_KEPT, duration
from longlive.web.middleware.client_address import address_of
from longlive.web.viewer_stream import Message, ViewerStream, with_data

MAX_PROMPTS_SHOWN = 100
_REPLAYING = "The recorded video is made again. Send a prompt at any moment to go another way."

Source = dict[str, Any]
"""Where a record comes from: ``file`` (a session file), ``link`` (a share link) or ``token`` (of a run); with
``as_prompts``, only its prompts are made, with the model that runs here."""


class SessionEndpoint:
    """Makes recorded videos again, and writes and reads share links."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Serve from the engine of ``endpoints``, which follow the new runs."""
        self._endpoints, self._engine = endpoints, endpoints.engine

    def describe(self, source: Any) -> dict[str, Any]:
        """What is known of a recorded video, before anything is made; ``error`` in words if nothing is."""
        try:
            record, _ = self._read(source)
        except LongLiveError as error:
            return {"error": shortened(error)}
        executor, limits = self._executor(record), self._engine.limits
        config = executor.config
        seconds = record.duration(config)
        is_long = seconds > limits.max_duration_s
        note = f"A video may last {duration(limits.max_duration_s)} here, so its end is not reached."
        return {
            "model": record.model,
            "here": config.name,
            "size": size_text(record.size),
            "seed": str(record.seed),  # a browser's numbers are shorter
            "chunks": len(record.chunks),
            "seconds": seconds,
            "prompts": [
                {"at": record.frames_before(event.chunk, config) / config.fps, "text": event.text}
                | {"switch": event.switch}
                for event in record.prompts[:MAX_PROMPTS_SHOWN]
            ],
            "num_prompts": len(record.prompts),
            "begins_with_picture": record.start is not None,
            "has_digests": any(record.chunks),
            "made_on": computed_on(vars(record)),
            "here_on": computed_on(executor.describe()),
            "problem": self._problem(record),
            "note": note if is_long else "",
        }

    def share(self, question: Any) -> dict[str, str]:
        """The share link of the run with this ``token``, as ``link``; ``error`` in words if it has none."""
        try:
            return {"link": self._link(question.get("token") if isinstance(question, dict) else None)}
        except LongLiveError as error:
            return {"error": shortened(error)}

    def play_on_page(self, source: Source, request: gr.Request) -> Message:
        """Make a recorded video again, followed by ``/live``; returns what opens the player."""
        return self._begin(source, "live", None, request).opening()

    async def play_compatible(self, source: Source, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Make a recorded video again as an HLS stream for gr.Video; else like play_on_page."""
        stream = await asyncio.to_thread(self._begin, source, "compatible", None, request)
        yield gr.skip(), stream.opening()
        async for _, segment in self._endpoints.follow(stream, 0, request):
            yield hls_chunk(segment), gr.skip()

    async def verify(self, session: Any, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Make the video of a session file again, as fast as it can be, and compare every chunk with it.

        Outputs are those of start, and how many chunks are recorded (chunks), were made so far (made), came
        out the same (same) or different (different), the number of the first that is different, if any
        (first_difference), and whether a prompt of yours made it another video (has_left). A message that
        ends a chunk has "matches": true, false, or null where it cannot be compared. On the same machine and
        version all are the same; other hardware, another number of threads or another version may change
        the last bits of the numbers, and so, little by little, the video.

        Args:
            session: Content of a session file: the JSON as an object or as text; above 250 kB as a data URL
                of at most 3 MB.
        """
        async for outputs in self._stream({"file": session}, request):
            yield outputs

    async def open_link(self, link: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Make the video of a share link, as fast as it can be; outputs are those of verify.

        A link has no digests, so nothing is compared.

        Args:
            link: The part of the address from #video= on.
        """
        async for outputs in self._stream({"link": link}, request):
            yield outputs

    def share_link(self, token: str) -> str:
        """The share link to what was made of a video so far, to be put after the page's address.

        Args:
            token: Of the video, as in each message to its player.
        """
        with shown_errors():
            return self._link(token)

    async def _stream(self, source: Source, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """The outputs of a recorded video that is made for a program, up to its end."""
        limits = replace(self._engine.limits, buffer_ahead_s=math.inf, no_player_timeout_s=math.inf)
        stream = await asyncio.to_thread(self._begin, source, "live", limits, request)
        message: Message
        segment: MediaSegment | None
        async for message, segment in self._endpoints.follow(stream, 0, request):
            yield (*outputs_of(with_data(message, segment), stream), stream.verification())

    def _link(self, token: Any) -> str:
        run = self._engine.find(token) if isinstance(token, str) else None
        record = run.store.record() if run else None
        if record is None:
            raise SessionFileError("There is nothing to share yet: start a video first.")
        return f"#{write_share_link(SharedVideo.of(record))}"

    def _read(self, source: Any) -> tuple[SessionRecord, Run | None]:
        """The record that a source names, and the run, if it is one of ours.

        Raises:
            SessionFileError, ConfigError, BusyError: with a message for viewers.
        """
        kinds = [name for name in ("file", "link", "token") if isinstance(source, dict) and name in source]
        if kinds == ["file"]:
            return read_session(source["file"]), None
        if kinds == ["link"]:
            video = read_share_link(source["link"])
            return video.record(self._engine.models.of_record(video.model, video.digest).describe()), None
        run = self._engine.find(str(source["token"])) if kinds == ["token"] else None
        record = run.store.record() if run else None
        if record is None:
            raise SessionFileError(NOT_KEPT)
        return record, run

    def _executor(self, record: SessionRecord) -> Executor:
        return self._engine.models.of_record(record.model, record.model_digest)

    def _problem(self, record: SessionRecord) -> str:
        """Why a video cannot be made again here, in words; empty if it can."""
        executor = self._executor(record)
        config, here = executor.config, executor.describe()
        if here and record.model_digest != here["model_digest"]:
            return f"This video was made with the model {record.model}, but {config.name} runs here."
        try:
            check_record(record, config, here)
        except LongLiveError as error:
            return shortened(error)
        return ""

    def _begin(self, source: Source, mode: str, limits: Limits | None, request: gr.Request) -> ViewerStream:
        """The stream of a new run; with ``limits``, it ends with the record. Reads a file: in a thread."""
        viewer, address = viewer_of(request), address_of(request)
        with shown_errors():
            record, parent = self._read(source)
            if limits is not None:
                seconds = min(record.duration(self._executor(record).config), limits.max_duration_s)
                limits = replace(limits, max_video_s=seconds)
            advice = "" if source.get("as_prompts") else _REPLAYING
            if source.get("as_prompts"):
                run = self._start_prompts(record, viewer, address, mode)
            elif problem := self._problem(record):
                raise SessionFileError(problem)
            else:
                run = self._engine.replay(
                    viewer, record, container=CONTAINERS[mode], limits=limits, address=address, parent=parent
                )
        status = f"Making the first pictures (seed {run.seed})."
        return self._endpoints.open(viewer, ViewerStream(run, mode, status, advice))

    def _start_prompts(self, record: SessionRecord, viewer: str, address: str, mode: str) -> Run:
        """A run of the model that runs here with the prompts of a record, at the same times."""
        config = self._engine.executor.config
        scenes, _ = storyboard_of_record(record, config)
        first, *script = [
            replace(scene, text=self._endpoints.in_known_words(check_prompt(scene.text)))
            for scene in scenes[:MAX_SCENES]
        ]
        return self._engine.start(
            viewer,
            first.text,
            seed=record.seed,
            script=script,
            container=CONTAINERS[mode],
            address=address,
            size=record.size if record.size in config.all_sizes else None,
        )


def read_session(value: Any) -> SessionRecord:
    """The record that a session file holds: an object, its JSON as text, or that as a data URL.

    Raises:
        SessionFileError: if it is no session file, or damaged.
        ConfigError: if a data URL is none, or too large.
        BusyError: if others have their files read for too long.
    """
    if isinstance(value, dict):
        return SessionRecord.parse(json.dumps(value))
    if not isinstance(value, str):
        raise SessionFileError("This is no session file: it must be a JSON object, or text.")
    with reading():
        return SessionRecord.parse(_text_of(value) if value.startswith("data:") else value)


def computed_on(facts: Mapping[str, Any]) -> str:
    """What the last bits of a video depend on, of the facts that ``describe_models`` gives; for people."""
    if not facts:
        return ""
    threads = f"{facts['threads']} thread{'s' if facts['threads'] != 1 else ''}"
    return f"{facts['device']} with {threads} ({facts['dtype']}, version {facts['code_version']})"


def _text_of(url: str) -> str:
    content = decode_file("session", url, cure="Send the file itself.")
    try:
        return utf8_of(content).decode()
    except UnicodeDecodeError as error:
        reason = f"This session file cannot be read: {reason_of(error)}. It may be damaged."
        raise SessionFileError(reason) from error
