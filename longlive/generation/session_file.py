"""The session file: all that is needed to make a run again, as JSON, with a digest of each chunk."""

import contextlib
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from longlive.chunks import SwitchMode
from longlive.config import StreamConfig
from longlive.errors import ConfigError, SessionFileError

VERSION = 1


@dataclass(frozen=True)
class PromptEvent:
    """A prompt and when it takes effect.

    Attributes:
        chunk: index of the first chunk that it makes.
        text: the prompt, cleaned.
        switch: how the stream goes over to it; None for the first prompt.
    """

    chunk: int
    text: str
    switch: SwitchMode | None


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """What a session file holds.

    Attributes:
        model: name that the model was loaded by.
        model_digest: SHA-256 of its weights and facts; another model gives another video.
        code_version: version of LongLive that wrote the file.
        dtype, device, threads, attention: how it was computed; the last bits of the latents depend on them.
        height, width: of a picture in pixels.
        seed, take: of the noise.
        stream: the choices of the run.
        quantization, cache: how products, and keys and values, are rounded; older files know no rounding.
        prompts: by the chunk where each takes effect; those of chunks not made yet are still to come.
        chunks: a digest of each chunk's latents.
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

    def write(self, path: str | Path) -> None:
        """Write the file beside ``path`` and move it there when whole.

        Raises:
            SessionFileError: if it cannot be written (a full disk, say); what was at ``path`` is still there.
        """
        path = Path(path)
        part = path.with_name(path.name + ".part")
        text = (
            json.dumps({"version": VERSION} | dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"
        )
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise SessionFileError(
                f"The session file {path} cannot be written: {error}. Choose another place."
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> "SessionRecord":
        """Read a file; SessionFileError says what is wrong with it."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise SessionFileError(f"There is no session file {path}. Check the name.") from error
        except (OSError, ValueError) as error:
            raise SessionFileError(
                f"The session file {path} cannot be read: {error}. It may be damaged."
            ) from error
        version = values.pop("version", None) if isinstance(values, dict) else None
        if version != VERSION:
            raise SessionFileError(
                f"The session file {path} has version {version!r}, but this program reads version {VERSION}. "
                "Use the version of LongLive that wrote it."
            )
        try:
            return cls._of(values)
        except (TypeError, KeyError, ValueError, ConfigError) as error:
            raise SessionFileError(
                f"The session file {path} does not make sense: {error}. It may be damaged."
            ) from error

    @classmethod
    def _of(cls, values: dict[str, Any]) -> "SessionRecord":
        prompts = tuple(
            PromptEvent(int(p["chunk"]), str(p["text"]), _switch(p["switch"])) for p in values["prompts"]
        )
        if not prompts or prompts[0].chunk != 0:
            raise ValueError("its first prompt does not belong to chunk 0")
        chunks = tuple(str(digest) for digest in values["chunks"])
        return cls(
            **(values | {"stream": StreamConfig(**values["stream"]), "prompts": prompts, "chunks": chunks})
        )


def latents_digest(latents: Tensor) -> str:
    """SHA-256 of the latents as float32, the first 16 hex digits."""
    return hashlib.sha256(latents.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _switch(value: Any) -> SwitchMode | None:
    if value is not None and value not in get_args(SwitchMode):
        raise ValueError(f"switch is {value!r}, but it must be one of {get_args(SwitchMode)}")
    return value
