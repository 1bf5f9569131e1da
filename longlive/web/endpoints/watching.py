"""What the page and programs call to let others watch a video along."""

from typing import Any

import gradio as gr

from longlive.audience.audience import ROOM, Audience
from longlive.errors import ConfigError, LongLiveError, PromptError
from longlive.serving.runs.run import Run
from longlive.serving.scheduler import RunStatus
from longlive.web.endpoints.arguments import read_chunk, shortened, shown_errors
from longlive.web.endpoints.viewer import Endpoints, send_prompt, viewer_of
from longlive.web.messages import NOT_KEPT, NOT_PLAYING

Answer = dict[str, Any]
"""``is_open``; and if so, ``link`` (to put after the page's address), ``watching``, ``most`` (at once),
``takes_proposals``, ``is_listed``, ``proposals`` (``number``, ``text``, ``votes``, the best first)."""


class WatchingEndpoint:
    """Opens and closes the audiences of runs; the page's calls name a run by its token."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Serve the runs of ``endpoints``."""
        self._endpoints, self._audiences = endpoints, endpoints.audiences

    def watch_along(
        self,
        request: gr.Request,
        is_open: bool | None = None,
        takes_proposals: bool | None = None,
        is_listed: bool | None = None,
    ) -> Answer:
        """Let others watch your video along, and see how many do.

        Whoever has the link sees the video live, and what you have seen of it; they cannot change it. The
        link goes on with your next video. What is left out stays as it is.

        Args:
            is_open: Whether anybody may watch; at first nobody may. A link that was closed stays so.
            takes_proposals: Whether those who watch may propose prompts, and vote for them.
            is_listed: Whether your video is offered to those who wait for a slot.

        Returns:
            is_open; and if it is, link (to put after the page's address), watching and most (how many do now,
            and did at most), takes_proposals, is_listed, and proposals (number, text and votes of each).
        """
        stream = self._endpoints.streams.of_viewer(viewer_of(request))
        if stream is None:
            raise gr.Error(NOT_PLAYING, print_exception=False)
        with shown_errors():
            self._change(stream.run, is_open, takes_proposals, is_listed)
        return self._answer(stream.run)

    def watch_along_on_page(self, question: Any) -> Answer:
        """Like watch_along, for a run that is named by its token.

        Args:
            question: ``token``; ``is_open``, ``takes_proposals``, ``is_listed`` as there; ``send`` or
                ``dismiss``: the number of a proposal, with ``switch`` where it is sent.

        Returns:
            the answer, or ``error`` in words beside it.
        """
        run = self._run_of(question)
        if run is None:
            return {"is_open": False, "error": NOT_KEPT}
        wanted = (question.get(name) for name in ("is_open", "takes_proposals", "is_listed"))
        try:
            self._change(run, *wanted)
            self._decide(run, question)
        except LongLiveError as error:
            return self._answer(run) | {"error": shortened(error)}
        return self._answer(run)

    def offer(self, question: Any) -> Answer:
        """A link for somebody who cannot play now.

        Args:
            question: ``token`` of a run that another tab plays, for a link to that; without one, for a link
                to the room, or to a video whose viewer lets it be listed.

        Returns:
            ``link``; empty if there is none.
        """
        if isinstance(question, dict) and "token" in question:
            run = self._run_of(question)
            is_shown = run is not None and run.container != "ts"
            return {"link": _link(self._audiences.open(run)) if run and is_shown else ""}
        listed = [one for one in self._audiences.listed() if one.run.status is RunStatus.RUNNING]
        found = self._audiences.find(ROOM) or max(listed, key=lambda one: one.count, default=None)
        return {"link": _link(found) if found else ""}

    def _run_of(self, question: Any) -> Run | None:
        token = question.get("token") if isinstance(question, dict) else None
        return self._endpoints.engine.find(token) if isinstance(token, str) else None

    def _change(self, run: Run, is_open: Any, takes_proposals: Any, is_listed: Any) -> None:
        given = {"is_open": is_open, "takes_proposals": takes_proposals, "is_listed": is_listed}
        for name, value in given.items():
            if not isinstance(value, bool | None):
                raise ConfigError(name, value, "it must be true or false", "Leave it out to change nothing.")
        if is_open and run.container == "ts":
            rule = "others can only watch a video of the Live player"
            raise ConfigError("player", "Compatible", rule, "Choose Live, and start it again.")
        if is_open is False:
            self._audiences.close(run)
        audience = self._audiences.open(run) if is_open else self._audiences.of_run(run)
        if audience is None and (takes_proposals or is_listed):
            raise ConfigError("is_open", False, "nobody may watch yet", "Open it first.")
        if audience is not None and (takes_proposals, is_listed) != (None, None):
            self._audiences.change(audience, takes_proposals=takes_proposals, is_listed=is_listed)

    def _decide(self, run: Run, question: Answer) -> None:
        """Send a proposal as the viewer's prompt, or dismiss it; one that cannot be sent waits on."""
        audience = self._audiences.of_run(run)
        stream = self._endpoints.streams.of_run(run)
        if audience is None or stream is None:
            return
        if "dismiss" in question:
            audience.proposals.withdraw(read_chunk(question["dismiss"]))
        if "send" in question:
            number = read_chunk(question["send"])
            proposal = next((one for one in audience.proposals.open() if one.number == number), None)
            if proposal is None or run.is_leaving:
                raise PromptError(NOT_PLAYING if proposal else "This proposal is no longer open.")
            send_prompt(self._endpoints, stream, proposal.text, question.get("switch", "soft"))
            audience.proposals.take(number)

    def _answer(self, run: Run) -> Answer:
        audience = self._audiences.of_run(run)
        if audience is None:
            return {"is_open": False}
        now = {"link": _link(audience), "watching": audience.count, "most": audience.peak}
        return {"is_open": True, "is_listed": audience.is_listed} | now | audience.describe()


def _link(audience: Audience) -> str:
    return "room" if audience.id == ROOM else f"watch/{audience.id}"
