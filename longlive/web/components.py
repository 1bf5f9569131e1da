"""The page's own Gradio components: live player, compatible twin, timeline, and the line on the house."""

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


class LivePlayer(gr.HTML):
    """Plays segments as they come, through MediaSource; its value is the newest message of the run.

    A message is a dict: ``token`` of the run and ``serial`` of the message (older ones are ignored),
    ``kind`` (begin, line, segment, notice, end), and for a segment its H.264 as base64 in ``data`` with
    ``mime``, ``chunk``, ``prompt_index``, ``prompt``, ``first_frame``, ``num_frames``, ``fps``, ``figures``.

    The template never mentions the value, or each message would replace the video element.
    """

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        """As gr.HTML, with the player's template and script; events: live, compatible, again, inject."""
        kwargs.setdefault("html_template", _read("player.html"))
        kwargs.setdefault("js_on_load", _read("player.js"))
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """What programs see of the value."""
        about = (
            "message of the run: kind, chunk, first_frame, num_frames, fps, prompt, mime, data (base64 H.264)"
        )
        return {"type": "object", "description": about}

    def example_payload(self) -> Any:
        """As it is before a run."""
        return None

    def example_value(self) -> Any:
        """As it is before a run."""
        return None


class Timeline(gr.HTML):
    """Which prompt made which seconds, and what is to come.

    The value is a dict: ``spans`` (``prompt_index``, ``text``, ``start``, ``end`` in seconds) and ``waiting``
    (``text``, ``switch``, ``at``). The playhead comes from the player, inside the browser.
    """

    def __init__(self, value: Any = None, **kwargs: Any) -> None:
        """As gr.HTML, with the timeline's template and script."""
        kwargs.setdefault("html_template", '<div class="strip" role="img"></div><ol class="chapters"></ol>')
        kwargs.setdefault("js_on_load", _read("timeline.js"))
        super().__init__(value, **kwargs)

    def api_info(self) -> dict[str, Any]:
        """What programs see of the value."""
        return {
            "type": "object",
            "description": "spans: what each prompt made, in seconds; waiting: what is to come",
        }

    def example_payload(self) -> Any:
        """As it is before a run."""
        return None

    def example_value(self) -> Any:
        """As it is before a run."""
        return None


class StatusLine(gr.HTML):
    """One line on how the house stands; those tabs that are seen ask for it every few seconds."""

    def __init__(self, ask: Callable[[], EngineStatus] | None = None, **kwargs: Any) -> None:
        """As gr.HTML, with the line's template and script; ``ask`` tells how the house stands."""

        def house(_: Any = None) -> str:
            return status_line(ask()) if ask else ""

        kwargs = {"elem_id": "house", "label": "house"} | kwargs
        kwargs.setdefault("html_template", "<p></p>")
        kwargs.setdefault("js_on_load", _read("status.js"))
        kwargs.setdefault("server_functions", [house])
        super().__init__(None, **kwargs)


class LiveVideo(gr.Video):
    """gr.Video that streams ready-made MPEG-TS segments (HLS), without any ffmpeg program.

    A generator yields ``(bytes, seconds)``; the browser plays them with hls.js or by itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        """As gr.Video, streaming."""
        super().__init__(streaming=True, autoplay=True, interactive=False, buttons=[], **kwargs)

    def get_block_name(self) -> str:
        """The frontend's component to use."""
        return "video"

    async def stream_output(  # type: ignore[override]
        self, value: tuple[bytes, float] | None, output_id: str, first_chunk: bool
    ) -> tuple[MediaStreamChunk | None, FileDataDict]:
        """Put one segment on the playlist as it is."""
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
        """The segments one after the other, which is a valid transport stream."""
        return FileData(
            path=save_bytes_to_cache(b"".join(stream), "longlive.ts", cache_dir=self.GRADIO_CACHE)
        )


class Words(gr.JSON):
    """JSON as it came, for our own checks; gr.JSON's would raise before they can say what is wrong.

    gr.JSON also gives programs a schema that is none, with which no tool of MCP can be called.
    """

    data_model = None  # type: ignore[assignment]

    def __init__(self, value: Any = None, *, schema: dict[str, Any], **kwargs: Any) -> None:
        """As gr.JSON; ``schema`` is what programs see of the value."""
        self.schema = schema
        super().__init__(value, **kwargs)

    def get_block_name(self) -> str:
        """The frontend's component to use."""
        return "json"

    def get_config(self, cls: Any = None) -> dict[str, Any]:
        """What the browser is told: the options of gr.JSON, which Gradio looks for in our constructor."""
        return super().get_config(cls or gr.JSON)

    def api_info(self) -> dict[str, Any]:
        """What programs see of the value."""
        return self.schema


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
