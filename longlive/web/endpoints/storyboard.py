"""What the page and programs call to read the prompts of a video, and to change those that are to come."""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import gradio as gr

from longlive.errors import ConfigError, LongLiveError
from longlive.generation.storyboard import Scene, check_distinct, read_later_scenes, read_scenes
from longlive.prompts import check_prompt, prompts_of_row
from longlive.serving.runs.run import Run
from longlive.serving.runs.storyboard import StoryboardRow
from longlive.web.endpoints.arguments import read_chunk, shortened, shown_errors
from longlive.web.endpoints.viewer import Endpoints, viewer_of
from longlive.web.messages import NOT_KEPT, NOT_PLAYING

Answer = dict[str, Any]


class StoryboardEndpoint:
    """Reads and changes the prompts of runs; the page's calls name a run by its token."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Serve the runs of ``endpoints``."""
        self._endpoints = endpoints

    def storyboard(self, prompts: list[Any] | None, request: gr.Request) -> Answer:
        """Replace the prompts to come of your running video, and return all its prompts.

        A prompt takes effect at the first chunk that begins at its second or later; of prompts that would
        share one, each gets the next. A prompt that you send with /prompt takes the place of all to come.

        Args:
            prompts: Those to come, as [{"at": seconds, "text": "…", "switch": "soft"}], at most 1,000, each
                with a second of its own that is not past; [] removes all, none changes nothing.

        Returns:
            begun (the prompts so far) and scheduled (those to come), as lists of chunk, at_seconds, text,
            switch and is_fixed (it is being shown); and whether the video goes on (is_open).
        """
        stream = self._endpoints.streams.of_viewer(viewer_of(request))
        if stream is None or (stream.run.is_leaving and prompts is not None):
            raise gr.Error(NOT_PLAYING, print_exception=False)
        with shown_errors():
            if prompts is not None:
                stream.run.reschedule(None, self._scenes(prompts, stream.run))
            return _answer(stream.run)

    def storyboard_on_page(self, question: Answer) -> Answer:
        """Change the prompts to come of a run, and return all its prompts, as ``storyboard`` does.

        Args:
            question: ``token`` of the run; ``removed``: chunks of the prompts that go, or "all"; ``prompts``:
                those that are added. Without both, nothing is changed.

        Returns:
            the prompts, or ``error`` in words.
        """
        try:
            run = self._endpoints.engine.find(str(question["token"]))
        except (KeyError, TypeError):
            run = None
        if run is None:
            return {"error": NOT_KEPT, "is_open": False}
        removed, prompts = question.get("removed"), question.get("prompts")
        try:
            if removed is not None or prompts is not None:
                if run.is_leaving:
                    return {"error": NOT_PLAYING, "is_open": False}
                run.reschedule(_read_removed(removed), self._scenes(prompts or [], run))
        except LongLiveError as error:
            return {"error": shortened(error)}
        return _answer(run)

    def read_storyboard(self, question: Answer) -> Answer:
        """The prompts of a storyboard file: ``text`` of a JSON file or of a line of JSONL.

        Returns:
            ``prompts`` as dicts of at, text and switch, of which the first is at 0; or ``error`` in words.
        """
        try:
            scenes = read_scenes(prompts_of_row(str(question["text"])))
            check_distinct(scenes)
        except (KeyError, TypeError):
            return {"error": "A storyboard file must be text. Choose another file."}
        except LongLiveError as error:
            return {"error": shortened(error)}
        model = self._endpoints.engine.executor.config
        return {"prompts": [vars(scene) | {"switch": scene.switch or model.switch} for scene in scenes]}

    def _scenes(self, prompts: Any, run: Run) -> list[Scene]:
        """Prompts to come in the words of the run's model."""
        known = self._endpoints.in_known_words
        return [
            replace(scene, text=known(check_prompt(scene.text), run.model))
            for scene in read_later_scenes(prompts)
        ]


def _read_removed(removed: Any) -> Collection[int] | None:
    """Chunks of prompts; None for all."""
    if removed == "all":
        return None
    if not isinstance(removed or [], list):
        raise ConfigError("removed", removed, 'it must be a list of chunks, or "all"', "Try [].")
    return {read_chunk(chunk) for chunk in removed or []}


def _answer(run: Run) -> Answer:
    board = run.storyboard()
    return {
        "begun": [_row(row) for row in board.begun],
        "scheduled": [_row(row) for row in board.scheduled],
        "is_open": not run.is_leaving,
    }


def _row(row: StoryboardRow) -> Answer:
    """A row as JSON; its time is rounded down, so that it names the same chunk again."""
    return vars(row) | {"at_seconds": math.floor(row.at_seconds * 1000 + 1e-6) / 1000}
