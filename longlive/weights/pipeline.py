"""LongLive by diffusers' way of calling, for notebooks and harnesses; ``Session`` is what it calls.

pipe = LongLivePipeline.from_pretrained("storybook")
frames = pipe(prompts=[(0, "a red ball stands"), (2, "the red ball jumps")], num_frames=65).frames[0]
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor, nn

from longlive.chunks import LatentChunk
from longlive.config import DecoderName, SwitchMode
from longlive.errors import ConfigError
from longlive.generation.lookahead import OnStep, ignore_step
from longlive.generation.noise import MAX_SEED
from longlive.generation.session import Session
from longlive.generation.storyboard import Scene, check_time, set_due_prompts
from longlive.models.bundle import ModelBundle
from longlive.weights.loading import load_models

StepCallback = Callable[["LongLivePipeline", int, float, dict[str, Tensor]], dict[str, Tensor] | None]


@dataclass
class LongLivePipelineOutput(BaseOutput):
    """What a call returns.

    Attributes:
        frames: of the one video, by ``output_type``: ``np`` (1, F, H, W, 3) and ``pt`` (1, F, 3, H, W), both
            float32 in [0, 1]; ``pil`` a list of one list of images; ``latent`` (1, C, F, H, W), normalised.
    """

    frames: Any


class LongLivePipeline:
    """A model, called for whole videos as diffusers' pipelines are.

    Attributes:
        models: what computes.
        interrupt: set by a callback to end the video after the chunk that is being made.
    """

    def __init__(self, models: ModelBundle) -> None:
        """A pipeline of a loaded model."""
        self.models = models
        self.interrupt = False

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "storybook",
        *,
        torch_dtype: torch.dtype = torch.float32,
        decoder: DecoderName = "wan",
    ) -> Self:
        """Load a model on the CPU, from where ``to`` moves it; arguments and errors: see ``load_models``."""
        return cls(load_models(name, dtype=torch_dtype, decoder=decoder))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.models.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.models.dtype

    def to(self, device: str | torch.device) -> Self:
        """Move the model; return the pipeline."""
        target, models = torch.device(device), self.models
        encodes = models.vae is models.decoder or models.config.overlap
        for module in (*models.transformers, models.decoder, *([models.vae] if encodes else [])):
            nn.Module.to(module, device=target)
        models.text_encoder.place(target, "resident")
        return self

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | None = None,
        *,
        prompts: Sequence[tuple[float, str]] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int = 81,
        generator: torch.Generator | None = None,
        output_type: str = "np",
        switch: SwitchMode | None = None,
        callback_on_step_end: StepCallback | None = None,
        return_dict: bool = True,
    ) -> LongLivePipelineOutput | tuple[Any]:
        """Make a video.

        Args:
            prompt: of the whole video.
            prompts: in its place, several: the second at which each begins, the first at 0, and its text.
            height, width: of its pictures in pixels, one of the model's sizes; None: as in its own size.
            num_frames: pictures of the video, at ``models.config.fps``; any number.
            generator: gives the seed, so that the same state gives the same video; None: torch's default.
            output_type: ``np``, ``pt``, ``pil`` or ``latent``; see LongLivePipelineOutput.
            switch: how prompts change; None: as the model was made for.
            callback_on_step_end: called after each denoising step of each chunk with the pipeline, the step's
                number in the whole video, its timestep, and ``{"latents": …}``, the chunk's clean latents
                (1, F, C, H, W) so far; what it returns is not used.
            return_dict: False returns a tuple of the frames alone.

        Raises:
            PromptError, ConfigError: with a message for people.
        """
        scenes = _scenes(prompt, prompts)
        if output_type not in _OUTPUTS:
            rule = f"it must be one of {tuple(_OUTPUTS)}"
            raise ConfigError("output_type", output_type, rule, "Use 'np'.")
        if isinstance(num_frames, bool) or not isinstance(num_frames, int) or num_frames < 1:
            raise ConfigError("num_frames", num_frames, "it must be a whole number above 0", "Try 81.")
        own = self.models.config
        models = self.models.at_size((width or own.width, height or own.height))
        self.interrupt = False
        seed = int(torch.randint(MAX_SEED, (), generator=generator, device=_device_of(generator)))
        with Session(models, scenes[0].text, seed=seed, switch=switch) as session:
            chunks = self._chunks(session, scenes[1:], num_frames, self._on_step(callback_on_step_end))
            frames = _OUTPUTS[output_type](session, chunks, num_frames)
        return LongLivePipelineOutput(frames=frames) if return_dict else (frames,)

    def _chunks(
        self, session: Session, scenes: list[Scene], num_frames: int, on_step: OnStep
    ) -> Iterator[LatentChunk]:
        """The latents of so many pictures, chunk by chunk."""
        while session.seconds * self.models.config.fps < num_frames and not self.interrupt:
            set_due_prompts(session, scenes)
            yield session.next_latents(on_step=on_step)

    def _on_step(self, callback: StepCallback | None) -> OnStep:
        if callback is None:
            return ignore_step
        count = 0

        def on_step(timestep: float, clean: Tensor) -> None:
            nonlocal count
            callback(self, count, timestep, {"latents": clean})
            count += 1

        return on_step


def _scenes(prompt: str | None, prompts: Sequence[tuple[float, str]] | None) -> list[Scene]:
    if (prompt is None) == (prompts is None):
        raise ConfigError("prompt", prompt, "give either it or prompts", 'Try prompt="a red ball".')
    given = [(0.0, prompt)] if prompts is None else list(prompts)
    scenes = sorted((Scene(check_time("prompts", at), str(text)) for at, text in given), key=_start)
    if not scenes or scenes[0].at != 0:
        raise ConfigError("prompts", prompts, "the first prompt must be at 0 seconds", "Begin at 0.")
    return scenes


def _start(scene: Scene) -> float:
    return scene.at


def _device_of(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _pictures(session: Session, chunks: Iterator[LatentChunk], num_frames: int) -> np.ndarray:
    """uint8 (F, H, W, 3)."""
    return np.concatenate([session.decode(chunk).frames for chunk in chunks])[:num_frames]


def _as_numpy(session: Session, chunks: Iterator[LatentChunk], num_frames: int) -> np.ndarray:
    return _pictures(session, chunks, num_frames)[None].astype(np.float32) / 255


def _as_torch(session: Session, chunks: Iterator[LatentChunk], num_frames: int) -> Tensor:
    return torch.from_numpy(_as_numpy(session, chunks, num_frames)).permute(0, 1, 4, 2, 3)


def _as_images(session: Session, chunks: Iterator[LatentChunk], num_frames: int) -> list[list[Image.Image]]:
    return [[Image.fromarray(picture) for picture in _pictures(session, chunks, num_frames)]]


def _as_latents(session: Session, chunks: Iterator[LatentChunk], num_frames: int) -> Tensor:
    return torch.cat([chunk.latents for chunk in chunks], 1).transpose(1, 2)


_OUTPUTS: dict[str, Callable[[Session, Iterator[LatentChunk], int], Any]] = {
    "np": _as_numpy,
    "pt": _as_torch,
    "pil": _as_images,
    "latent": _as_latents,
}
