"""Gradio components of this page: live player, HLS player, timeline and status line of the server."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData, FileDataDict, MediaStreamChunk
from gradio.processing_utils import save_bytes_to_cache

from longlive.serving.status import EngineStatus
from longlive.web.prompt_advice import status_line

_HERE = Path(__file__).parent
_PLAYER_SCRIPTS = (
    "routes.js",
    "connection.js",
    "segment_buffer.js",
    "stored_video.js",
    "stage_meter.js",
    "player.js",
    "review.js",
)


class LivePlayer(gr.HTML):
    """Plays segments through MediaSource as they come by ``/live``; its value opens a run.

    The value is a message of kind ``begin``: ``token`` of the run, ``serial`` after which the messages are
    wanted, ``from_s`` where to play from, ``size`` of its pictures (width, height). The property ``size`` is
    the size before a run. To programs it is the newest message of the run: a dict with
    ``token``, ``take`` (name of the run), ``serial``, ``kind`` (begin, queue, segment, rewind, notice, end),
    and for a segment its H.264 as base64 in ``data`` with ``mime``, ``chunk``, ``prompt_index``, ``prompt``,
    ``first_frame``, ``num_frames``, ``fps``, ``ends_chunk``, and where it ends its chunk a ``thumbnail`` of
    it (WebP as a data URL, 96 pixels wide), and what is known of it: ``attended``, ``statistics``,
    ``similarity``, ``fit``, ``warning``; the first segment of a prompt has ``stages``, in milliseconds.

    The template never mentions the value, or it would replace the video element.
    """

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        """Take gr.HTML's options; the events have the names of the endpoints that they call."""
        kwargs.setdefault("html_template", _read("player.html"))
        kwargs.setdefault("js_on_load", _read(*_PLAYER_SCRIPTS))
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """The schema of the value in the API."""
        about = (
            "message of the run: kind, take, chunk, first_frame, num_frames, fps, prompt, mime, "
            "data (base64 H.264), thumbnail (data URL, WebP, in the segment that ends a chunk)"
        )
        return {"type": "object", "description": about}

    def example_payload(self) -> Any:
        """The value before a run."""
        return None

    def example_value(self) -> Any:
        """The value before a run."""
        return None


class Timeline(gr.HTML):
    """Shows each chunk by a thumbnail, which prompt made which seconds, and which prompts are still to come.

    The value is a dict: ``spans`` (``prompt_index``, ``text``, ``start``, ``end`` in seconds) and ``waiting``
    (the next ones: ``text``, ``switch``, ``at``, ``chunk``, ``is_fixed``); programs get it as an output. In
    the browser it comes from the player, as the chunks and the playhead do; chunks of before a reload are
    fetched from ``/thumbnails``.
    """

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        """Take gr.HTML's options."""
        kwargs.setdefault("html_template", _read("timeline.html"))
        kwargs.setdefault("js_on_load", _read("routes.js", "chunk_strip.js", "takes.js", "timeline.js"))
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """The schema of the value in the API."""
        return {
            "type": "object",
            "description": "spans: what each prompt made, in seconds; waiting: prompts to come",
        }

    def example_payload(self) -> Any:
        """The value before a run."""
        return None

    def example_value(self) -> Any:
        """The value before a run."""
        return None


class StartFrom(gr.HTML):
    """Chooses the picture or video that the next video begins with; its value is a data URL, or none.

    The browser brings a large picture to at most 3 MB; nothing is sent before Start.
    """

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        """Take gr.HTML's options."""
        kwargs.setdefault("html_template", _read("start_from.html"))
        kwargs.setdefault("js_on_load", _read("start_from.js"))
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """The schema of the value in the API."""
        return {"type": "string", "description": "picture or short video as a data URL (data:…;base64,…)"}

    def example_payload(self) -> Any:
        """No file."""
        return None

    def example_value(self) -> Any:
        """No file."""
        return None


class StatusLine(gr.HTML):
    """One line about the server; visible tabs ask for it every few seconds."""

    def __init__(self, get_status: Callable[[], EngineStatus] | None = None, **kwargs: Any) -> None:
        """Take gr.HTML's options; ``get_status`` is called at every request for the line."""

        def status(_: Any = None) -> str:
            return status_line(get_status()) if get_status else ""

        kwargs = {"elem_id": "server-status", "label": "server status"} | kwargs
        kwargs.setdefault("html_template", "<p></p>")
        kwargs.setdefault("js_on_load", _read("status.js"))
        kwargs.setdefault("server_functions", [status])
        super().__init__(None, **kwargs)


class LiveVideo(gr.Video):
    """gr.Video that streams ready-made MPEG-TS segments (HLS), without an ffmpeg program.

    A generator yields ``(bytes, seconds)``; the browser plays them with hls.js or by itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Take gr.Video's options, streaming."""
        super().__init__(streaming=True, autoplay=True, interactive=False, buttons=[], **kwargs)

    def get_block_name(self) -> str:
        """The frontend's component to use."""
        return "video"

    async def stream_output(  # type: ignore[override]
        self, value: tuple[bytes, float] | None, output_id: str, first_chunk: bool
    ) -> tuple[MediaStreamChunk | None, FileDataDict]:
        """Put one segment on the playlist unchanged."""
        playlist: FileDataDict = {
            "path": output_id,
            "is_stream": True,
            "orig_name": "longlive.mp4",
            "meta": {"_type": "gradio.FileData"},
        }
        if value is None:
            return None, playlist
        data, seconds = value
        return {"data": data, "duration": seconds, "extension": ".ts"}, playlist

    async def flush_stream_output(self, output_id: str) -> MediaStreamChunk | None:
        """Nothing is held back."""
        return None

    def end_stream_output(self, output_id: str) -> None:
        """Nothing is kept per stream."""

    async def combine_stream(
        self, stream: list[bytes], desired_output_format: str | None = None, only_file: bool = False
    ) -> FileData:
        """Concatenate the segments, which gives a valid transport stream."""
        return FileData(
            path=save_bytes_to_cache(b"".join(stream), "longlive.ts", cache_dir=self.GRADIO_CACHE)
        )


class RawJSON(gr.JSON):
    """JSON that reaches the endpoint unchecked, so that our own checks can explain what is wrong with it.

    gr.JSON also publishes an invalid schema, with which no MCP tool can be called.
    """

    data_model = None  # type: ignore[assignment]

    def __init__(self, value: Any = None, *, schema: dict[str, Any], **kwargs: Any) -> None:
        """Take gr.JSON's options; ``schema`` is the schema of the value in the API."""
        self.schema = schema
        super().__init__(value, **kwargs)

    def get_block_name(self) -> str:
        """The frontend's component to use."""
        return "json"

    def get_config(self, cls: Any = None) -> dict[str, Any]:
        """The options of gr.JSON, which Gradio would look for in our constructor."""
        return super().get_config(cls or gr.JSON)

    def api_info(self) -> dict[str, Any]:
        """The schema of the value in the API."""
        return self.schema


@cache
def _read(*names: str) -> str:
    """Files of this folder, one after another."""
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)
