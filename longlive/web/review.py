"""``/segments``, ``/thumbnails``, ``/video``: what is stored of a video, while it goes on and afterwards.

All are read with ``Authorization: Bearer TOKEN``, the run's, and answer errors as ``{"detail": sentence}``:
422 for a number that is none, 404 for a token or a chunk that does not exist (any more).

GET /segments?chunk=12    the segments of one chunk, as frames like those of ``/live``; of a video for the
                          compatible player they are MPEG-TS, as ``mime`` says
GET /thumbnails?first=0   ``take``, name of the run; ``num_chunks``, how many are stored; and ``chunks``, at
                          most 40 from number ``first`` on: ``chunk``, ``prompt_index``, ``prompt``,
                          ``first_frame``, ``num_frames``, ``fps``, ``thumbnail`` as a data URL, ``matches``
                          (whether it is as recorded, where a video is made again; null if not compared),
                          and what is known of it: ``attended``, ``statistics``, ``similarity``, ``fit``,
                          ``warning``
GET /video                the video so far, as an MP4 file
"""

import asyncio
import re
import secrets
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from longlive.errors import MediaError
from longlive.files import name_of_video
from longlive.media.thumbnails import thumbnail_url
from longlive.serving.runs.run import Run
from longlive.serving.runs.store.stored_segments import ChunkSummary, summarize
from longlive.serving.runs.store.video_files import write_video
from longlive.web.live import bearer_token, pack_frame
from longlive.web.viewer_stream import Message, report_message, segment_message

SEGMENTS_PATH, THUMBNAILS_PATH, VIDEO_PATH = "/segments", "/thumbnails", "/video"
MAX_THUMBNAILS = 40
MAX_VIDEOS = 2
"""Files that are written at once, so that many requests do not fill the disk."""
_NUMBER = re.compile("[0-9]{1,6}")
_HEADERS = {"Cache-Control": "no-store"}

NO_VIDEO = "There is no video with this token."
_writing = threading.Semaphore(MAX_VIDEOS)

Answer = Callable[[Run, int], Response]


def review_routes() -> list[Route]:
    """The routes, for ``page_options``; the page that is served must be one of ``build_page``."""
    return [
        Route(SEGMENTS_PATH, _route("chunk", segments_answer)),
        Route(THUMBNAILS_PATH, _route("first", thumbnails_answer)),
        Route(VIDEO_PATH, _send_video),
    ]


def _route(parameter: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that gives ``answer``, in a thread, the run of the token and the number of a chunk."""

    async def endpoint(request: Request) -> Response:
        number = request.query_params.get(parameter, "")
        if not _NUMBER.fullmatch(number):
            return error_answer(422, f"{parameter} must be the number of a chunk, from 0 to 999999.")
        run = _run_of(request)
        if run is None:
            return error_answer(404, NO_VIDEO)
        return await asyncio.to_thread(answer, run, int(number))

    return endpoint


def _run_of(request: Request) -> Run | None:
    endpoints: Any = getattr(request.app.get_blocks(), "endpoints", None)
    return endpoints.engine.find(bearer_token(request)) if endpoints else None


async def _send_video(request: Request) -> Response:
    run = _run_of(request)
    return error_answer(404, NO_VIDEO) if run is None else await video_answer(run)


async def video_answer(run: Run) -> Response:
    """The video so far; 503 while as many are being written as may be."""
    if not _writing.acquire(blocking=False):
        return error_answer(503, "Other videos are being saved just now. Please try again in a few seconds.")
    try:
        return await asyncio.to_thread(_video, run)
    finally:
        _writing.release()


def _video(run: Run) -> Response:
    """What is stored, in a file that goes once it was sent."""
    record = run.store.record()
    if record is None:
        return error_answer(404, "Nothing of this video is stored yet.")
    path = run.store.folder / f"so-far-{secrets.token_hex(8)}.mp4"
    try:
        write_video(run.store, path)
    except MediaError as error:
        return error_answer(503, f"The video cannot be saved now: {error}. Please try again later.")
    name = f"{name_of_video(record.prompts[0].text, run.seed)}.mp4"
    remove = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(path, media_type="video/mp4", filename=name, headers=_HEADERS, background=remove)


def segments_answer(run: Run, chunk: int) -> Response:
    """The segments of a chunk, or why there are none."""
    try:
        segments = run.store.chunk(chunk)
    except OSError:  # it was forgotten meanwhile
        return error_answer(404, "This video is no longer kept.")
    if not segments:
        stored = run.store.num_chunks
        kept = f"chunks 0 to {stored - 1} are stored" if stored else "none is stored yet"
        return error_answer(404, f"There is no chunk {chunk}: {kept}.")
    take = {"kind": "segment", "take": run.name}
    body = b"".join(pack_frame(take | segment_message(segment), segment.data) for segment in segments)
    return Response(body, media_type="application/octet-stream", headers=_HEADERS)


def thumbnails_answer(run: Run, first: int, end: int | None = None) -> Response:
    """What is known of the chunks from ``first`` on; with ``end``, only of those before it."""
    num_chunks = run.store.num_chunks if end is None else min(end, run.store.num_chunks)
    stored = run.store.chunks[first : min(first + MAX_THUMBNAILS, num_chunks)]
    matches = run.recording.matches
    chunks = [
        _summary_message(summarize(chunk.segments)) | {"matches": matches(first + place)}
        for place, chunk in enumerate(stored)
    ]
    answer = {"take": run.name, "num_chunks": num_chunks, "chunks": chunks}
    return JSONResponse(answer, headers=_HEADERS)


def _summary_message(chunk: ChunkSummary) -> Message:
    return {
        "chunk": chunk.index,
        "prompt_index": chunk.prompt_index,
        "prompt": chunk.prompt,
        "first_frame": chunk.first_frame,
        "num_frames": chunk.num_frames,
        "fps": chunk.fps,
        "thumbnail": thumbnail_url(chunk.thumbnail),
    } | report_message(chunk.report)


def error_answer(status: int, detail: str) -> Response:
    """An error in words."""
    return JSONResponse({"detail": detail}, status, headers=_HEADERS)
