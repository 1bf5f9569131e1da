"""A share link: what a video is made from, in the part of an address after ``#``, which no server is sent.

``#video=1.DATA``: the format's version, then JSON, compressed (zlib), in base64url without padding. The JSON
holds ``model`` (its name), ``digest`` (the first 16 digits of its weights' digest), ``seed``, ``take``,
``chunks`` (how many were made), ``frames`` (pictures, if the last chunk was cut short), ``stream`` (options),
``prompts``: a list of ``[chunk, text, switch]``, ``size`` (width and height; older links have none, and mean
the model's own), and for a branch with another seed ``reseeds``: a list of ``[chunk, seed]``. It has no
digests of chunks, so it says how to make the video, not whether that came out the same; the session file does
both.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from longlive.chunks import SWITCH_MODES
from longlive.config import Size, StreamConfig
from longlive.errors import BusyError, ConfigError, PromptError, SessionFileError, reason_of
from longlive.generation.noise import Reseed, check_seed
from longlive.generation.session_file import PromptEvent, SessionRecord, read_stream
from longlive.generation.storyboard import MAX_SCENES
from longlive.prompts import MAX_CHARACTERS, recorded_prompt
from longlive.serving.runs.recording import MAX_CHUNKS

PREFIX = "video="
VERSION = "1"
MAX_LINK_CHARACTERS = 16_000
MAX_JSON_BYTES = 200_000
DIGEST_DIGITS = 16
MAX_SIDE = 16_384
"""Pixels; which sizes can be made is for the model to say."""


@dataclass(frozen=True)
class SharedVideo:
    """What a share link holds.

    Attributes:
        model, digest: name of the model, and the first digits of its weights' digest.
        seed, take: of the noise.
        chunks: how many the video has.
        frames: how many pictures, if its last chunk was cut short; else None.
        stream: its options.
        prompts: by the chunk where each takes effect, the first at 0.
        reseeds: other seeds from some chunks on, of a video that was branched.
        size: of its pictures; None, as in older links, for the model's own.
    """

    model: str
    digest: str
    seed: int
    take: int
    chunks: int
    frames: int | None
    stream: StreamConfig
    prompts: tuple[PromptEvent, ...]
    reseeds: tuple[Reseed, ...] = ()
    size: Size | None = None

    @classmethod
    def of(cls, record: SessionRecord) -> "SharedVideo":
        """What a link to a recorded video holds.

        Raises:
            SessionFileError: if it begins with a picture or another video, which is too long for a link.
        """
        if record.start is not None:
            raise SessionFileError(
                "This video begins with a picture or another video, which no link can hold. "
                "Send its session file instead."
            )
        return cls(
            model=record.model,
            digest=record.model_digest[:DIGEST_DIGITS],
            seed=record.seed,
            take=record.take,
            chunks=len(record.chunks),
            frames=record.num_frames,
            stream=record.stream,
            prompts=record.prompts,
            reseeds=record.reseeds,
            size=record.size,
        )

    def record(self, here: Mapping[str, Any]) -> SessionRecord:
        """Its record, without digests of chunks, as if written here.

        Args:
            here: what ``describe_models`` says of the model; if that is another one than the link's, the
                record is of the link's, of which it has the first digits.

        Raises:
            BusyError: if nothing is known of the model.
        """
        if not here:
            raise BusyError("The model is not loaded just now. Please try again in a minute.")
        is_same = here["model_digest"][:DIGEST_DIGITS] == self.digest
        model = {"model": self.model, "model_digest": here["model_digest"] if is_same else self.digest}
        size = {"width": self.size[0], "height": self.size[1]} if self.size else {}
        return SessionRecord(
            **(dict(here) | model | size),
            seed=self.seed,
            take=self.take,
            stream=self.stream,
            prompts=self.prompts,
            chunks=("",) * self.chunks,
            num_frames=self.frames,
            reseeds=self.reseeds,
        )


def write_share_link(video: SharedVideo) -> str:
    """The part of an address after ``#``; SessionFileError if it would be too long."""
    prompts = [[event.chunk, event.text, event.switch] for event in video.prompts]
    values = asdict(video) | {"prompts": prompts, "reseeds": [[one.chunk, one.seed] for one in video.reseeds]}
    for name in ("reseeds", "size"):
        if not values[name]:
            del values[name]
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    data = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")
    link = f"{PREFIX}{VERSION}.{data}"
    if len(link) > MAX_LINK_CHARACTERS:
        raise SessionFileError(
            f"This video has {len(prompts)} prompts; a link to it would have {len(link):,} characters, and "
            f"at most {MAX_LINK_CHARACTERS:,} are read. Send its session file instead."
        )
    return link


def read_share_link(fragment: Any) -> SharedVideo:
    """What a link holds; ``fragment`` is the part of its address after ``#``.

    Raises:
        SessionFileError: if it is no such link, or was cut or changed; the message is for viewers.
    """
    if not isinstance(fragment, str) or len(fragment) > MAX_LINK_CHARACTERS:
        raise _broken("it is too long")
    version, dot, data = fragment.removeprefix("#").removeprefix(PREFIX).partition(".")
    if not dot or version != VERSION:
        raise _broken(f"it has version {version[:8]!r}, but this program reads version {VERSION}")
    try:
        return _of(json.loads(_decompressed(data)))
    except KeyError as error:
        raise _broken(f"{error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError, ConfigError, PromptError) as error:
        raise _broken(reason_of(error)) from error


def _decompressed(data: str) -> bytes:
    reader = zlib.decompressobj()
    try:
        packed = base64.b64decode(data + "=" * (-len(data) % 4), altchars=b"-_", validate=True)
        text = reader.decompress(packed, MAX_JSON_BYTES)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError("a part of it is missing or changed") from error
    if not reader.eof or reader.unused_data:
        raise ValueError("a part of it is missing" if not reader.unconsumed_tail else "it is too long")
    return text


def _of(values: dict[str, Any]) -> SharedVideo:
    frames = values["frames"]
    video = SharedVideo(
        model=_text("model", values["model"], 200),
        digest=_text("digest", values["digest"], DIGEST_DIGITS),
        seed=check_seed(values["seed"]),
        take=check_seed(values["take"], "take"),
        chunks=_count("chunks", values["chunks"], MAX_CHUNKS),
        frames=None if frames is None else _count("frames", frames, MAX_CHUNKS * 12),
        stream=read_stream(values["stream"]),
        prompts=tuple(_prompt(*prompt) for prompt in values["prompts"][: MAX_SCENES + 1]),
        reseeds=tuple(Reseed(*reseed) for reseed in values.get("reseeds", [])[:MAX_SCENES]),
        size=_size(values["size"]) if "size" in values else None,
    )
    chunks = [prompt.chunk for prompt in video.prompts]
    if not chunks or chunks[0] != 0 or chunks != sorted(set(chunks)) or len(chunks) > MAX_SCENES:
        raise ValueError("its prompts are not in order")
    return video


def _prompt(chunk: Any, text: Any, switch: Any) -> PromptEvent:
    if switch not in (SWITCH_MODES if _count("chunk", chunk, MAX_CHUNKS) else (None,)):
        raise ValueError("the switch of a prompt is unknown")
    return PromptEvent(chunk, recorded_prompt(_text("prompt", text, MAX_CHARACTERS)), switch)


def _size(value: Any) -> Size:
    width, height = value
    return _count("width", width, MAX_SIDE), _count("height", height, MAX_SIDE)


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name} is no text of at most {most} characters")
    return value


def _count(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is no whole number up to {most}")
    return value


def _broken(reason: str) -> SessionFileError:
    return SessionFileError(f"This link cannot be opened: {reason}. Copy the whole link again.")
