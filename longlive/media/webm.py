"""FrameChunks -> WebM, which is VP9 encoded from the pictures themselves; H.264 cannot be put into it."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.video.stream import VideoStream

from longlive.chunks import FrameChunk
from longlive.errors import MediaError, reason_of
from longlive.files import atomic_write
from longlive.media.segments import PictureConverter

CODEC = "libvpx-vp9"
# Constant quality; "realtime" with a high speed, since the model waits for the encoder.
_SETTINGS = {"crf": "28", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1", "g": "128"}


def webm_is_available() -> bool:
    """Whether the installed FFmpeg libraries can encode VP9."""
    try:
        av.Codec(CODEC, "w")
    except UnknownCodecError:
        return False
    return True


def write_webm(path: str | Path, chunks: Iterable[FrameChunk], scale: int = 1) -> Path:
    """Write chunks to a WebM as they come; return its path.

    Args:
        path: ends in ``.webm``; an older file is replaced once the new one is complete.
        chunks: at least one.
        scale: whole number by which pictures are enlarged.

    Raises:
        MediaError: if there are no chunks or the file cannot be written; no partial file is left then.
    """
    path = Path(path)
    try:
        with atomic_write(path) as part:
            _write(part, chunks, PictureConverter(scale))
    except (OSError, av.FFmpegError) as error:
        raise MediaError(f"the video {path.name} cannot be written: {reason_of(error)}") from error
    return path


def _write(path: Path, chunks: Iterable[FrameChunk], pictures: PictureConverter) -> None:
    with av.open(str(path), "w", format="webm") as output:
        stream: VideoStream | None = None
        for chunk in chunks:
            stream = stream or _open_stream(output, chunk, pictures)
            for number, picture in enumerate(chunk.frames, chunk.first_frame):
                frame = pictures.convert(picture)
                frame.pts, frame.time_base = number, Fraction(1, chunk.fps)
                output.mux(stream.encode(frame))
        if stream is None:
            raise MediaError("there are no pictures to write. Ask for at least one chunk.")
        output.mux(stream.encode(None))


def _open_stream(output: OutputContainer, chunk: FrameChunk, pictures: PictureConverter) -> VideoStream:
    stream = output.add_stream(CODEC, rate=chunk.fps, options=_SETTINGS)
    assert isinstance(stream, VideoStream)
    pictures.describe(stream.codec_context, chunk)
    return stream
