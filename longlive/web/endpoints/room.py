"""What the page and programs call of the room: how it stands, and videos of one's own that begin with it."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from longlive.audience.room import Room
from longlive.errors import ConfigError
from longlive.media.thumbnails import thumbnail_url
from longlive.prompts import check_prompt
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.stored_segments import summarize
from longlive.web.endpoints.arguments import read_chunk, read_seed, read_switch, shown_errors
from longlive.web.endpoints.viewer import Endpoints, outputs_of, viewer_of
from longlive.web.messages import NOT_KEPT, clock_text
from longlive.web.middleware.client_address import address_of
from longlive.web.viewer_stream import Message, ViewerStream, with_data
from longlive.web.watch.watched_run import num_seen, state_of


class RoomEndpoint:
    """Shows the room on the page, and starts runs that begin with what was shown in it."""

    def __init__(self, endpoints: Endpoints, room: Room) -> None:
        """Serve from the engine of ``endpoints``, which follow the new runs."""
        self._endpoints, self._room = endpoints, room

    def describe(self, question: Any) -> dict[str, Any]:
        """What the tab shows: ``state``, ``watching``, ``prompt`` and ``thumbnail`` of what is shown now."""
        run = self._room.run
        shown: dict[str, Any] = {"state": state_of(run)}
        shown["watching"] = self._room.count
        if seen := num_seen(run):
            chunk = summarize(run.store.chunks[seen - 1].segments)
            shown |= {"prompt": chunk.prompt, "thumbnail": thumbnail_url(chunk.thumbnail)}
        return shown

    async def branch(
        self,
        take: str,
        chunk: float,
        prompt: str,
        switch: str,
        seed: float | None,
        request: gr.Request,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Start a live video of your own that goes on after the first chunks of the room's.

        Outputs are those of start; the chunks that both have in common are not sent again, but are in the
        files. Your video that plays ends, as by /stop.

        Args:
            take: Name of the room's video, as in each message of /watch/room/live; empty for the present one.
            chunk: The first chunk that is made anew, from 1 to the number of chunks that were shown.
            prompt: What it goes on with; empty for the prompt in use there.
            switch: "soft" turns smoothly, "hard" cuts, "keep" changes the words only and drifts slowly.
            seed: Of the noise from there on; none for the same.
        """
        stream = self._branch(take, chunk, prompt, switch, seed, request)
        async for message, segment in self._endpoints.follow(stream, 0, request):
            yield outputs_of(with_data(message, segment), stream)

    def branch_on_page(self, place: Any, request: gr.Request) -> Message:
        """Like branch, at a ``take`` and ``chunk``, followed by ``/live``; returns what opens the player.

        Another seed is drawn, so that it does not go on as the room does.
        """
        take, chunk = (place.get("take"), place.get("chunk")) if isinstance(place, dict) else ("", None)
        stream = self._branch(take, chunk, "", "soft", read_seed(None), request)
        return stream.opening(0, stream.run.start_of(stream.run.num_chunks))

    def _branch(
        self, take: Any, chunk: Any, prompt: str, switch: str, seed: float | None, request: gr.Request
    ) -> ViewerStream:
        """The stream of a new run that goes on from the room's."""
        viewer = viewer_of(request)
        with shown_errors():
            parent = self._parent(take)
            known = self._endpoints.in_known_words
            run = self._endpoints.engine.branch(
                viewer,
                parent,
                _read_shown(chunk, parent),
                prompt=known(check_prompt(prompt), parent.model) if prompt.strip() else "",
                switch=read_switch(switch),
                seed=None if seed is None else read_seed(seed),
                address=address_of(request),
            )
        status = f"A video of your own, from the room’s {clock_text(run.end_s)} on. Send it a prompt."
        return self._endpoints.open(viewer, ViewerStream(run, "live", status))

    def _parent(self, take: Any) -> Run:
        found = self._room.find(take) if isinstance(take, str) else None
        if found is None:
            raise gr.Error(NOT_KEPT, print_exception=False)
        return found


def _read_shown(chunk: Any, run: Run) -> int:
    """The number of a chunk up to which all were shown; ConfigError for others."""
    number, seen = read_chunk(chunk), num_seen(run)
    if not 1 <= number <= seen:
        cure = f"Choose one from 1 to {seen}." if seen else "Wait a little."
        raise ConfigError("chunk", number, f"{seen} chunks were shown so far", cure)
    return number
