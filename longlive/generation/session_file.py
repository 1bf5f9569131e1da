"""The session file: JSON that holds what is needed to make a run again, and a digest of each chunk."""

import dataclasses
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import torch

from longlive import __version__
from longlive.chunks import SwitchMode
from longlive.config import ModelConfig, Size, StreamConfig
from longlive.errors import SessionFileError, reason_of
from longlive.files import atomic_write, read_text
from longlive.generation.noise import Reseed, check_seed
from longlive.models.bundle import ModelBundle
from longlive.prompts import PromptText, recorded_prompt

VERSION = 1
_TEXTS = ("model", "model_digest", "code_version", "dtype", "device", "attention", "quantization", "cache")
_NUMBERS = ("threads", "height", "width", "num_frames")


@dataclass(frozen=True)
class PromptEvent:
    """A prompt and when it takes effect.

    Attributes:
        chunk: index of the first chunk that is made with it.
        text: the cleaned prompt; a plain text is taken as one that was cleaned before it was stored.
        switch: how the stream changes to it; None for the first prompt.
    """

    chunk: int
    text: PromptText
    switch: SwitchMode | None

    def __post_init__(self) -> None:
        """Check a stored text; PromptError if it cannot be a prompt."""
        object.__setattr__(self, "text", recorded_prompt(self.text))


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """What a session file holds.

    Attributes:
        model: name that the model was loaded by.
        model_digest: SHA-256 of its weights and facts; another model gives another video.
        code_version: version of LongLive that wrote the file.
        dtype, device, threads, attention: how it was computed; the last bits of the latents depend on these.
        height, width: of a picture in pixels: one of the model's sizes.
        seed, take: of the noise.
        stream: its options.
        quantization, cache: rounding of the products, and of keys and values; older files have none.
        prompts: by the chunk where each takes effect; those of later chunks are still to come.
        chunks: a digest of each chunk's latents.
        num_frames: pictures of the video, if it ends within its last chunk; else None, as in older files.
        reseeds: other seeds from some chunks on, of a video that was branched; older files have none.
        start: latents of the chunks that it begins with, if they were given, as ``pack_latents`` writes them;
            else None, as in older files.
    """

    model: str
    model_digest: str
    code_version: str
    dtype: str
    device: str
    threads: int
    attention: str
    height: int
    width: int
    seed: int
    take: int
    stream: StreamConfig
    prompts: tuple[PromptEvent, ...]
    chunks: tuple[str, ...]
    quantization: str = "off"
    cache: str = "full"
    num_frames: int | None = None
    reseeds: tuple[Reseed, ...] = ()
    start: str | None = None

    @property
    def size(self) -> Size:
        """Width and height of a picture, in pixels."""
        return self.width, self.height

    def branch(self, num_chunks: int, seed: int | None = None) -> "SessionRecord":
        """The record of a session that goes on after the first chunks; ``seed``: of what is made from there.

        Raises:
            ConfigError: for a seed that is none.
        """
        reseeds = tuple(one for one in self.reseeds if one.chunk < num_chunks)
        if seed is not None and seed != [self.seed, *(one.seed for one in reseeds)][-1]:
            reseeds = (*reseeds, Reseed(num_chunks, seed))
        prompts = tuple(event for event in self.prompts if event.chunk < num_chunks)
        chunks = self.chunks[:num_chunks]
        return dataclasses.replace(self, prompts=prompts, chunks=chunks, num_frames=None, reseeds=reseeds)

    def to_json(self) -> str:
        """The content of the file."""
        values = {"version": VERSION} | dataclasses.asdict(self) | {"stream": self.stream.options}
        for name in ("num_frames", "reseeds", "start"):  # which the versions before do not know
            if not values[name]:
                del values[name]
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: str | Path) -> None:
        """Write the file beside ``path`` and move it there when whole.

        Raises:
            SessionFileError: if it cannot be written (a full disk, say); what was at ``path`` is still there.
        """
        try:
            with atomic_write(path) as part:
                part.write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise SessionFileError(
                f"The session file {path} cannot be written: {reason_of(error)}. Choose another place."
            ) from error

    def frames_before(self, chunk: int, config: ModelConfig) -> int:
        """Pictures before a chunk: the first latent of the video, and after each cut, gives only one."""
        cuts = sum(event.switch == "hard" and event.chunk < chunk for event in self.prompts)
        latents = chunk * self.stream.chunk
        return latents * config.temporal_scale - (1 + cuts) * (config.temporal_scale - 1) if chunk else 0

    def duration(self, config: ModelConfig) -> float:
        """Seconds of video that are recorded."""
        num_frames = self.frames_before(len(self.chunks), config)
        return min(num_frames, self.num_frames or math.inf) / config.fps

    @classmethod
    def read(cls, path: str | Path) -> "SessionRecord":
        """Read a file; SessionFileError says what is wrong with it."""
        name = f"The session file {path}"
        try:
            text = read_text(path)
        except FileNotFoundError as error:
            raise SessionFileError(f"There is no session file {path}. Check the name.") from error
        except (OSError, ValueError) as error:
            raise SessionFileError(
                f"{name} cannot be read: {reason_of(error)}. It may be damaged."
            ) from error
        return cls.parse(text, name)

    @classmethod
    def parse(cls, text: str, name: str = "This session file") -> "SessionRecord":
        """Read the text of a file; SessionFileError says what is wrong with what is called ``name``."""
        try:
            values = json.loads(text.removeprefix("\ufeff"))
        except (ValueError, RecursionError) as error:
            raise SessionFileError(
                f"{name} cannot be read: {reason_of(error)}. It may be damaged."
            ) from error
        version = values.pop("version", None) if isinstance(values, dict) else None
        if version != VERSION:
            raise SessionFileError(
                f"{name} has version {version!r}, but this program reads version {VERSION}. "
                "Use the version of LongLive that wrote it."
            )
        try:
            return cls._of(values)
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            raise SessionFileError(
                f"{name} does not make sense: {reason_of(error)}. It may be damaged."
            ) from error

    @classmethod
    def _of(cls, values: dict[str, Any]) -> "SessionRecord":
        _check_types(values)
        prompts = tuple(
            PromptEvent(_number("chunk", p["chunk"]), recorded_prompt(str(p["text"])), _switch(p["switch"]))
            for p in values["prompts"]
        )
        if not prompts or prompts[0].chunk != 0:
            raise ValueError("its first prompt does not belong to chunk 0")
        if any(one.chunk > other.chunk for one, other in pairwise(prompts)):
            raise ValueError("its prompts are not in order")
        chunks = tuple(str(digest) for digest in values["chunks"])
        reseeds = tuple(Reseed(**one) for one in values.get("reseeds", ()))
        check_seed(values["seed"])
        check_seed(values["take"], "take")
        parts = {
            "stream": read_stream(values["stream"]),
            "prompts": prompts,
            "chunks": chunks,
            "reseeds": reseeds,
        }
        return cls(**(values | parts))


def describe_models(models: ModelBundle) -> dict[str, Any]:
    """The fields of a SessionRecord that say what computes a session, and how."""
    return {
        "model": models.source,
        "model_digest": models.digest,
        "code_version": __version__,
        "dtype": str(models.dtype).removeprefix("torch."),
        "device": models.device.type,
        "threads": torch.get_num_threads(),
        "attention": models.transformer.backend.name,
        "quantization": models.runtime.quantization,
        "cache": models.runtime.cache,
        "height": models.config.height,
        "width": models.config.width,
    }


def _switch(value: Any) -> SwitchMode | None:
    if value is not None and value not in get_args(SwitchMode):
        raise ValueError(f"switch is {value!r}, but it must be one of {get_args(SwitchMode)}")
    return value


def read_stream(options: dict[str, Any]) -> StreamConfig:
    """The options of a stream as a file holds them; ConfigError, ValueError or TypeError if they are none."""
    for name, value in options.items():
        if isinstance(value, int) and abs(value) >= 2**31:
            raise ValueError(f"{name} of its stream is too large")
    return StreamConfig(**options)


def _check_types(values: dict[str, Any]) -> None:
    """ValueError if a field is of the wrong kind; those that are missing are found later."""
    for name in (*_TEXTS, "start"):
        if not isinstance(values.get(name, ""), str):
            raise ValueError(f"{name} must be text")
    for name in _NUMBERS:
        if values.get(name) is not None and _number(name, values[name]) < 1:
            raise ValueError(f"{name} must be a whole number above 0")


def _number(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{name} must be a whole number from 0 to 2**31 - 1")
    return value
