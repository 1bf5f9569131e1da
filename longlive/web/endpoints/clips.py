"""A whole video of a given length, for programs: ``/generate``."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from longlive.generation.storyboard import read_scenes
from longlive.serving.engine import Engine
from longlive.serving.runs.events import RunFinished
from longlive.web.endpoints.arguments import read_length, read_model, read_seed, read_size, shown_errors
from longlive.web.endpoints.uploads import read_start_file
from longlive.web.file_serving import publish_file
from longlive.web.messages import unreached_text
from longlive.web.viewer_stream import ViewerStream


class ClipEndpoint:
    """Makes videos as fast as they can be made, each in a run of its own."""

    def __init__(self, engine: Engine) -> None:
        """Have them made by ``engine``."""
        self.engine = engine

    async def generate(
        self,
        storyboard: dict[str, Any],
        seconds: float,
        seed: float | None,
        start_from: str | None = None,
        model: str | None = None,
        size: str | None = None,
    ) -> AsyncIterator[tuple[str | None, str | None, str]]:
        """Make a video of a given length from a storyboard.

        Each prompt may also have a "switch": "soft" (turns smoothly, the default), "hard" (cuts) or "keep"
        (changes the words only).

        Args:
            storyboard: {"prompts": [{"at": 0, "text": "a red ball"}, {"at": 4, "text": "it jumps"}]}
            seconds: Length of the video, up to 60.
            seed: Of the noise, a whole number; none for a random one.
            start_from: A picture or short video to begin with, as a data URL; none for none.
            model: Name of the model that makes it, of those that /health lists; none for the first.
            size: Of its pictures, width x height, of those that /health lists for the model, such as 480x832;
                none for the model's own.

        Returns:
            the video (MP4), the session file (JSON, which makes the video again) and a status line.
        """
        with shown_errors():
            prompts = storyboard.get("prompts") if isinstance(storyboard, dict) else storyboard
            first, *script = read_scenes(prompts)
            limits = self.engine.limits.for_clip(read_length(seconds))
            viewer = f"generate-{secrets.token_hex(8)}"
            number = read_seed(seed)
            config = read_size(size, read_model(model, self.engine.models).config)
            start = await asyncio.to_thread(read_start_file, start_from, config)
            run = self.engine.start(
                viewer,
                first.text,
                seed=number,
                script=script,
                limits=limits,
                start=start,
                model=config.name,
                size=config.size,
            )
        stream = ViewerStream(run, "live", "")
        unreached = run.prompts.unreached(config, config.frames_until(limits.max_video_s))
        note = unreached_text([prompt.text for prompt in unreached])
        try:
            yield None, None, f"The seed is {number}. {note}".strip()
            async for message, _ in stream.follow(0):
                if message["kind"] == "end" and stream.finished is not None:
                    yield _clip_files(
                        stream.finished, f"{stream.status} The seed is {number}. {note}".strip()
                    )
                elif message["kind"] == "segment":
                    made = (message["first_frame"] + message["num_frames"]) / message["fps"]
                    yield None, None, f"{made:.1f} of {seconds:g} s made."
                elif message["kind"] in ("notice", "queue"):
                    yield None, None, stream.status
        finally:
            run.stop("closed")


def _clip_files(finished: RunFinished, status: str) -> tuple[str | None, str | None, str]:
    """The files of a finished clip; gr.Error if it has none."""
    if finished.video is None or finished.session_file is None:
        raise gr.Error(status, print_exception=False)
    with shown_errors():
        return publish_file(finished.video), publish_file(finished.session_file), status
