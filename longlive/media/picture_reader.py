"""Pictures out of files that people have: a photo or drawing, or the last seconds of a video.

A file is recognised by its first bytes, never by its name, and nothing else is tried: some of ffmpeg's
formats are lists of other files or addresses, which would be opened. Pixels, pictures and time are limited.
"""

import io
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, ImageOps

from longlive.errors import MediaError, reason_of

MAX_PICTURE_PIXELS, MAX_JPEG_PIXELS = 25_000_000, 50_000_000
"""Of a still picture; JPEG can be decoded at a part of its size."""
MAX_VIDEO_PIXELS = 9_000_000
"""Of a picture of a video: 4096x2160."""
MAX_READ_S = 20.0
"""How long a video may take to be read to its end from its last key frame."""
FORMATS = "PNG, JPEG, WebP, GIF or BMP, or a video as MP4, QuickTime, WebM, Matroska or AVI"
BACKGROUND = (255, 255, 255)
"""Where a picture is transparent."""
DECODERS = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mjpeg", "prores", "gif")
"""Of ffmpeg's several hundred, those that cameras, phones and browsers need: files of strangers are read."""
_PICTURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP"}
_APPLE_STILLS = (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"avif", b"avis")
_HEAD_BYTES = 16


@dataclass(frozen=True)
class Target:
    """What the pictures are to become.

    Attributes:
        width, height: in pixels; the middle of each picture is cut out in this shape, and resized.
        fps: pictures per second.
        most: of a video, at most so many pictures are given, the last ones.
    """

    width: int
    height: int
    fps: float
    most: int


def read_pictures(source: str | Path | bytes, target: Target, *, name: str = "") -> np.ndarray:
    """The pictures of a file: one of a still picture, the last ones of a video or an animated GIF.

    Args:
        source: a file's path, or its bytes.
        target: size, rate and number of what is given.
        name: of the file, for messages.

    Returns:
        uint8 (N, height, width, 3), RGB, upright (EXIF, rotated videos), with ``BACKGROUND`` behind what is
        transparent; N is from 1 to ``target.most``.

    Raises:
        MediaError: if it cannot be read, is something else, or is too large; the message is for viewers.
    """
    name = name or ("The file" if isinstance(source, bytes) else str(source))
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            return _read(file, target, name)
    except MediaError:
        raise
    except FileNotFoundError as error:
        raise MediaError(f"There is no file {name}. Check the name.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name, MAX_JPEG_PIXELS) from error
    except (OSError, ValueError, SyntaxError, av.FFmpegError, EOFError) as error:
        reason = reason_of(error)  # type: ignore[arg-type]
        raise MediaError(f"{name} cannot be read: {reason}. It may be damaged. Give {FORMATS}.") from error


def _read(file: BinaryIO, target: Target, name: str) -> np.ndarray:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if kind := _picture_format(head):
        return _read_image(file, kind, target, name)
    if head[4:8] == b"ftyp" and head[8:12] in _APPLE_STILLS:
        raise MediaError(f"{name} is a HEIC or AVIF picture, which is not read here. Save it as JPEG or PNG.")
    if demuxer := _video_format(head):
        return _read_video(file, demuxer, target, name)
    what = "is empty" if not head else "is no picture or video of a known format, whatever its name says"
    raise MediaError(f"{name} {what}. Give {FORMATS}.")


def _picture_format(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _PICTURES.items() if head.startswith(magic)), None)


def _video_format(head: bytes) -> str | None:
    """The name of ffmpeg's demuxer."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return "avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _read_image(file: BinaryIO, kind: str, target: Target, name: str) -> np.ndarray:
    image = Image.open(file, formats=[kind])
    most = MAX_JPEG_PIXELS if kind == "JPEG" else MAX_PICTURE_PIXELS
    if image.width * image.height > most:
        raise _too_many_pixels(name, most)
    if kind == "GIF" and getattr(image, "is_animated", False):
        file.seek(0)
        return _read_video(file, "gif", target, name)
    image.draft("RGB", (2 * target.width, 2 * target.height))
    ImageOps.exif_transpose(image, in_place=True)
    return _fit(image, target)[None]


def _flatten(image: Image.Image) -> Image.Image:
    """Any image as RGB, before ``BACKGROUND``."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    flat = Image.new("RGB", image.size, BACKGROUND)
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _fit(image: Image.Image, target: Target) -> np.ndarray:
    """The middle of a picture, in the size of the target: uint8 (H, W, 3)."""
    small = _flatten(image) if image.mode not in ("RGB", "RGBA") else image
    fitted = ImageOps.fit(small, (target.width, target.height), Image.Resampling.LANCZOS)
    return np.asarray(_flatten(fitted))


def _read_video(file: BinaryIO, demuxer: str, target: Target, name: str) -> np.ndarray:
    """The last pictures of a video, at the target's rate."""
    with _opened(file, demuxer, name) as container:
        _seek_to_end(container, target)
        pictures = _last_pictures(container, target, name)
        if not pictures:  # its length was wrong
            container.seek(0)
            pictures = _last_pictures(container, target, name)
    if not pictures:
        raise MediaError(f"{name} has no picture that can be read. It may be damaged. Give {FORMATS}.")
    return np.stack(pictures)


@contextmanager
def _opened(file: BinaryIO, demuxer: str, name: str) -> Iterator[Any]:
    """A video whose first stream of pictures can be decoded here, and is not too large."""
    options = {"codec_whitelist": ",".join(DECODERS)}
    with av.open(file, "r", format=demuxer, options=options, metadata_errors="replace") as container:
        if not container.streams.video:
            raise MediaError(f"{name} has no pictures, only sound. Give {FORMATS}.")
        stream = container.streams.video[0]
        if stream.codec_context is None or stream.codec_context.codec.name not in DECODERS:
            raise MediaError(f"{name} is a video of a kind that cannot be decoded here. Give {FORMATS}.")
        if stream.width * stream.height > MAX_VIDEO_PIXELS:
            raise _too_many_pixels(name, MAX_VIDEO_PIXELS)
        stream.thread_type = "AUTO"
        yield container


def sample_video(path: Path, *, fps: float, longest_side: int) -> Iterator[tuple[float, np.ndarray]]:
    """A whole video, picture by picture, small: every so many-th picture, so that steps of time are equal.

    Args:
        path: of a video; it may be hours long.
        fps: about how many pictures to give in a second; a slower video gives all of its own.
        longest_side: of what is given, at most, in pixels.

    Yields:
        the second of a picture since the first, and uint8 (H, W, 3), upright.

    Raises:
        MediaError: if it cannot be opened or has no picture. What is broken at its end is left out.
    """
    name = str(path)
    try:
        with open(path, "rb") as file:
            demuxer = _video_format(file.read(_HEAD_BYTES))
            file.seek(0)
            if demuxer is None:
                raise MediaError(
                    f"{name} is no video of a known kind. Give MP4, QuickTime, WebM, Matroska or AVI."
                )
            with _opened(file, demuxer, name) as container:
                yield from _sampled(container, fps, longest_side)
    except FileNotFoundError as error:
        raise MediaError(f"There is no file {name}. Check the name.") from error
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise MediaError(f"{name} cannot be read: {reason}. It may be damaged.") from error


def _sampled(container: Any, fps: float, longest_side: int) -> Iterator[tuple[float, np.ndarray]]:
    stream = container.streams.video[0]
    stride = max(1, round(float(stream.average_rate or fps) / fps))
    for number, (seconds, frame) in enumerate(_frames(container)):
        if number % stride == 0:
            image = _flatten(_upright(frame, stream.sample_aspect_ratio))
            image.thumbnail((longest_side, longest_side), Image.Resampling.BOX)
            yield seconds, np.asarray(image)


def _seek_to_end(container: Any, target: Target) -> None:
    """To the last key frame from which there is enough; a short video, or one of unknown length: stay."""
    wanted_s = (target.most + 2) / target.fps
    duration_s = (container.duration or 0) / av.time_base
    begin_s = (container.start_time or 0) / av.time_base
    if duration_s > wanted_s:
        container.seek(int((begin_s + duration_s - wanted_s) * av.time_base), backward=True)


def _last_pictures(container: Any, target: Target, name: str) -> list[np.ndarray]:
    """The pictures from here to the end: one for each tick of the target's clock, of these the last."""
    pictures: deque[np.ndarray] = deque(maxlen=target.most)
    last_tick, last_s, deadline = None, 0.0, time.monotonic() + MAX_READ_S
    aspect = container.streams.video[0].sample_aspect_ratio
    for seconds, frame in _frames(container):
        if frame.width * frame.height > MAX_VIDEO_PIXELS:
            raise _too_many_pixels(name, MAX_VIDEO_PIXELS)
        if time.monotonic() > deadline:
            rule = f"more than {MAX_READ_S:g} s from its last key frame"
            raise MediaError(f"{name} takes too long to be read: {rule}. Cut out its last seconds first.")
        tick = int(seconds * target.fps + 1e-3)
        if last_tick is not None:
            missing = min(tick - last_tick, target.most) - 1
            pictures.extend([pictures[-1]] * missing)  # a slower video shows each picture longer
            if missing < 0:
                continue
        pictures.append(_fit(_upright(frame, aspect), target))
        last_tick, last_s = tick, float(frame.duration * frame.time_base) if frame.time_base else 0.0
    pictures.extend(pictures and [pictures[-1]] * (min(int(last_s * target.fps), target.most) - 1))
    return list(pictures)


def _frames(container: Any) -> Iterator[tuple[float, Any]]:
    """The frames from here on and the second of each; what is broken at the end is left out."""
    begin = None
    try:
        for number, frame in enumerate(container.decode(video=0)):
            seconds = number / 25 if frame.time is None else frame.time
            begin = seconds if begin is None else begin
            yield seconds - begin, frame
    except av.FFmpegError:
        if begin is None:
            raise


def _upright(frame: Any, aspect: Any) -> Image.Image:
    """A frame of a video as a player shows it; ``aspect`` is a pixel's width by its height, if known."""
    has_alpha = frame.format.name in ("bgra", "rgba", "yuva420p", "pal8")
    image = Image.fromarray(frame.to_ndarray(format="rgba")) if has_alpha else frame.to_image()
    if aspect and 0.1 < aspect < 10 and aspect != 1:
        image = image.resize((max(1, round(image.width * aspect)), image.height))
    return image.rotate(frame.rotation, expand=True) if frame.rotation % 360 else image


def _too_many_pixels(name: str, most: int) -> MediaError:
    rule = f"more than {most // 1_000_000} million pixels in a picture"
    return MediaError(f"{name} has {rule}, which is too large. Make it smaller first.")
