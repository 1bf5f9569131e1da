"""FrameChunks -> an animated GIF, for places that play no video; by ffmpeg, through imageio-ffmpeg."""

from collections.abc import Iterable
from pathlib import Path

from longlive.chunks import FrameChunk
from longlive.errors import MediaError, reason_of
from longlive.files import atomic_write

PALETTE = (
    "[0:v]scale=iw*{scale}:-1:flags=lanczos,fps={fps},split[a][b];"
    "[a]palettegen=max_colors=128:stats_mode=diff[p];[b][p]paletteuse=dither=bayer:bayer_scale=4"
)


def write_gif(path: str | Path, chunks: Iterable[FrameChunk], scale: int = 1, *, fps: int = 8) -> Path:
    """Write chunks to a looping GIF as they come; return its path.

    Args:
        path: ends in ``.gif``; an older file is replaced once the new one is complete.
        chunks: at least one.
        scale: whole number by which pictures are enlarged.
        fps: pictures per second of the GIF; if the chunks have more, some are dropped evenly.

    Raises:
        MediaError: if there are no chunks or the file cannot be written; no partial file is left then.
    """
    path = Path(path)
    try:
        with atomic_write(path, suffix=".part.gif") as part:
            _write_frames(part, chunks, scale, fps)
    except OSError as error:
        raise MediaError(
            f"{path} could not be written: {reason_of(error)}. Free some space, or choose another place."
        ) from error
    return path


def _write_frames(path: Path, chunks: Iterable[FrameChunk], scale: int, fps: int) -> None:
    from imageio_ffmpeg import write_frames

    writer = None
    try:
        for chunk in chunks:
            if writer is None:
                height, width = chunk.frames.shape[1:3]
                options = ["-filter_complex", PALETTE.format(scale=scale, fps=fps), "-loop", "0"]
                writer = write_frames(
                    str(path), (width, height), fps=chunk.fps, codec="gif", pix_fmt_out="pal8",
                    macro_block_size=1, output_params=options,
                )  # fmt: skip
                writer.send(None)
            for frame in chunk.frames:
                writer.send(frame)
        if writer is None:
            raise MediaError("there are no pictures to write. Ask for at least one chunk.")
    finally:
        if writer is not None:
            writer.close()
