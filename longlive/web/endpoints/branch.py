"""What the page and programs call to go on from a chunk of another video."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from longlive.prompts import check_prompt
from longlive.web.endpoints.arguments import read_chunk, read_seed, read_switch, shown_errors
from longlive.web.endpoints.viewer import Endpoints, outputs_of, viewer_of
from longlive.web.messages import DELETED, NOT_KEPT, clock_text
from longlive.web.middleware.client_address import address_of
from longlive.web.viewer_stream import Message, ViewerStream, with_data

MAX_ASKED = 64
"""Takes of one page that are asked after at once."""


class BranchEndpoint:
    """Starts runs that begin with chunks of another one."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Serve from the engine of ``endpoints``, which follow the new runs."""
        self._endpoints, self._engine = endpoints, endpoints.engine

    async def branch(
        self,
        token: str,
        chunk: float,
        prompt: str,
        switch: str,
        seed: float | None,
        request: gr.Request,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Start a live video that goes on after the first chunks of another one, which is kept as it is.

        Outputs are those of start; the chunks that both have in common are not sent again, but are in the
        files. Your video that plays ends, as by /stop.

        Args:
            token: Of the other video, as in each message to its player.
            chunk: The first chunk that is made anew, from 1 to the number of chunks that it has.
            prompt: What it goes on with; empty for the prompt in use there.
            switch: "soft" turns smoothly, "hard" cuts, "keep" changes the words only and drifts slowly.
            seed: Of the noise from there on; none for the same.
        """
        stream = self._branch(token, chunk, prompt, switch, seed, request)
        async for message, segment in self._endpoints.follow(stream, 0, request):
            yield outputs_of(with_data(message, segment), stream)

    def branch_on_page(
        self, token: str, chunk: float, prompt: str, switch: str, seed: float | None, request: gr.Request
    ) -> Message:
        """Like branch, followed by ``/live``; returns what opens the player where the branch begins.

        Without a prompt, and with the seed of the other video, what it has would come again: another seed is
        drawn, unless the branch begins where that video ends.
        """
        parent = self._engine.find(str(token))
        is_again = parent is not None and seed in (None, parent.seed) and chunk != parent.num_chunks
        if is_again and not prompt.strip():
            seed = read_seed(None)
        stream = self._branch(token, chunk, prompt, switch, seed, request)
        return stream.opening(0, stream.run.start_of(int(chunk)))

    def forget(self, token: str) -> str:
        """Delete a video that has ended, with its files; there is no way back.

        Args:
            token: Of the video, as in each message to its player.

        Returns:
            a sentence.
        """
        with shown_errors():
            is_gone = self._engine.forget(str(token))
        return DELETED if is_gone else NOT_KEPT

    def forget_on_page(self, question: Any) -> dict[str, Any]:
        """Like forget, for ``{"token": …}``: whether the video is gone now, and a sentence."""
        token = question.get("token") if isinstance(question, dict) else None
        try:
            return {"is_gone": True, "message": self.forget(token if isinstance(token, str) else "")}
        except gr.Error as error:
            return {"is_gone": False, "message": error.message}

    def kept_on_page(self, question: Any) -> list[str]:
        """Which of ``{"tokens": […]}``, of the first ``MAX_ASKED``, belong to videos that are kept."""
        tokens = question.get("tokens") if isinstance(question, dict) else None
        asked = tokens[:MAX_ASKED] if isinstance(tokens, list) else []
        return [one for one in asked if isinstance(one, str) and self._engine.find(one)]

    def _branch(
        self, token: Any, chunk: Any, prompt: str, switch: str, seed: float | None, request: gr.Request
    ) -> ViewerStream:
        """The stream of a new run that goes on from another one."""
        viewer, parent = viewer_of(request), self._engine.find(str(token))
        if parent is None:
            raise gr.Error(NOT_KEPT, print_exception=False)
        with shown_errors():
            known = self._endpoints.in_known_words
            run = self._engine.branch(
                viewer,
                parent,
                read_chunk(chunk),
                prompt=known(check_prompt(prompt), parent.model) if prompt.strip() else "",
                switch=read_switch(switch),
                seed=None if seed is None else read_seed(seed),
                address=address_of(request),
            )
        mode = "compatible" if run.container == "ts" else "live"
        advice = self._endpoints.advice(prompt, parent.model)
        status = f"A new take from {clock_text(run.end_s)} on. {advice}".strip()
        return self._endpoints.open(viewer, ViewerStream(run, mode, status, advice))
