"""The stages with given targets: ``teacher`` (clean clips) and ``init`` (the teacher's ODE)."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from longlive.chunks import FrameChunk
from longlive.config import StreamConfig
from longlive.files import atomic_write
from longlive.generation.session import Session
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder, to_uint8
from longlive.models.text_encoder import TextEncoder
from longlive.training.data.clips import CleanClips
from longlive.training.data.prompt_files import Prompts
from longlive.training.learner import Learner
from longlive.training.objectives.draws import DROP, CounterRng
from longlive.training.objectives.flow import teacher_loss
from longlive.training.objectives.ode_initialisation import OdePairs, initialisation_loss, ode_pairs
from longlive.training.objectives.scores import ScoreModels
from longlive.training.objectives.texts import read_texts
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe


@dataclass(kw_only=True)
class SupervisedStage:
    """What both stages share: micro-batches without state between steps.

    Attributes:
        models: their transformer is trained, and the text encoder if ``learners`` has ``text``.
        draws: random numbers of this process's micro-batches, by number.
    """

    recipe: Recipe
    models: ModelBundle
    scores: ScoreModels
    learners: dict[str, Learner]
    draws: dict[int, CounterRng]
    subject: str = "generator"
    _seen: list[str] = field(default_factory=list, init=False)

    def due(self, step: int) -> list[str]:
        """All learners at every step."""
        return list(self.learners)

    def train(self, step: int) -> dict[str, float]:
        """Accumulate gradients; return the loss, averaged over this process's micro-batches."""
        self._seen, total = [], 0.0
        for draws in self.draws.values():
            loss = self.loss(step, draws)
            (loss / len(self.draws)).backward()
            total += float(loss.detach()) / len(self.draws)
        return {f"{self.subject}_loss": total}

    def loss(self, step: int, draws: CounterRng) -> Tensor:
        """The loss of one micro-batch."""
        raise NotImplementedError

    def prompts(self) -> list[str]:
        """Prompts of the last step's samples in this process."""
        return self._seen

    def state(self) -> dict[int, dict[str, Any]]:
        """Empty states: nothing continues from step to step."""
        return {number: {} for number in self.draws}

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Nothing to restore."""

    def _samples(self, step: int, draws: CounterRng) -> list[int]:
        return [step * self.recipe.run.global_batch + sample for sample in draws.samples]


@dataclass(kw_only=True)
class TeacherStage(SupervisedStage):
    """``teacher``: flow matching on clean clips with bidirectional attention.

    Attributes:
        clips: the training data.
        scores: with the trained model as teacher; used for samples.
    """

    clips: CleanClips
    subject: str = "teacher"

    def loss(self, step: int, draws: CounterRng) -> Tensor:
        """The loss of one micro-batch."""
        seed, options = self.recipe.run.seed, self.recipe.teaching
        clips = [self.clips.clip_at(seed, index) for index in self._samples(step, draws)]
        dropped = draws.uniform(step, kind=DROP) < options.drop
        negative = self.recipe.data.negative_prompt
        prompts = [negative if drop else clip.prompt for clip, drop in zip(clips, dropped, strict=True)]
        self._seen += prompts
        with torch.set_grad_enabled(options.trains_text):
            text = read_texts(self.models.text_encoder, prompts)
        clean = torch.stack([clip.latents for clip in clips]).to(draws.device)
        return teacher_loss(
            self.models.transformer,
            clean,
            text,
            schedule=self.scores.schedule,
            uniform=draws.uniform(step),
            noise=draws.clip_noise(step, tuple(clean.shape[1:])),
            sigma_floor=options.sigma_floor,
            is_weighted=options.is_weighted,
        )

    @torch.no_grad()
    def sample(self, num_latents: int) -> list[FrameChunk]:
        """A clip at the end of the guided ODE, for the first clip's prompt."""
        run, config = self.recipe.run, self.models.config
        prompt = self.clips.clip_at(run.seed, 0).prompt
        draws = CounterRng(run.seed, [0], self.models.device)
        noise = draws.chunk_noise(0, (num_latents, *config.latent_shape), chunk=0, step=0)
        with self.learners["teacher"].averaged():
            text, negative = (
                read_texts(self.models.text_encoder, [text])
                for text in (prompt, self.recipe.data.negative_prompt)
            )
            latents = ode_pairs(
                self.scores, noise, text, negative, num_steps=self.recipe.teaching.ode_steps
            ).clean
        pictures = StreamingDecoder(self.models.vae, config.fps).decode_latents(latents)[0]
        frames = to_uint8(pictures)
        return [
            FrameChunk(index=0, prompt_index=0, prompt=prompt, first_frame=0, frames=frames, fps=config.fps)
        ]


@dataclass(kw_only=True)
class InitStage(SupervisedStage):
    """``init``: the causal student learns to predict the end of the teacher's ODE in one step.

    Attributes:
        stream: the student's chunk, window and sink.
        score_reader: the teacher's text encoder; the student's own if it is None.
        prompt_source: of the trajectories.
        folder: of the solved trajectories.
    """

    stream: StreamConfig
    prompt_source: Prompts
    score_reader: TextEncoder | None
    folder: Path

    def loss(self, step: int, draws: CounterRng) -> Tensor:
        """The loss of one micro-batch."""
        numbers = [index % self.recipe.teaching.num_pairs for index in self._samples(step, draws)]
        prompts = [self.prompt_source.prompt_at(self.recipe.run.seed, number) for number in numbers]
        self._seen += prompts
        solved = [self._read(number, draws.device) for number in numbers]
        noisy = torch.cat([pair.noisy for pair in solved], 1)
        clean = torch.cat([pair.clean for pair in solved])
        with torch.no_grad():
            text = read_texts(self.models.text_encoder, prompts)
        num_chunks = clean.shape[1] // self.stream.chunk
        return initialisation_loss(
            self.models.transformer,
            OdePairs(noisy, clean),
            text,
            schedule=self.scores.schedule,
            stream=self.stream,
            tokens_per_latent=self.models.config.tokens_per_latent,
            steps=draws.steps(step, num_chunks, len(self.models.config.steps)),
        )

    def sample(self, num_latents: int) -> list[FrameChunk]:
        """Streamed as in inference."""
        run = self.recipe.run
        prompt = self.prompt_source.prompt_at(run.seed, 0)
        session = Session(self.models, prompt, seed=run.seed, **vars(self.stream))
        with self.learners["generator"].averaged(), session:
            return [session.next_chunk() for _ in range(num_latents // self.stream.chunk)]

    def solve(self, processes: Processes) -> None:
        """Solve the trajectories that have no file yet; every process takes part in each round."""
        last = self.recipe.teaching.num_pairs - 1
        rounds = range(0, last + 1, processes.count)
        for first in tqdm(rounds, "pairs", disable=not processes.is_main):
            number = min(first + processes.rank, last)
            if any(processes.gather("" if self._file(number).exists() else "missing")):
                self._solve(number)
        processes.wait()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _read(self, number: int, device: torch.device) -> OdePairs:
        """Read trajectory ``number``, which is stored in half precision."""
        tensors = {name: tensor.float().to(device) for name, tensor in load_file(self._file(number)).items()}
        return OdePairs(tensors["noisy"], tensors["clean"])

    def _solve(self, number: int) -> None:
        prompt, path = self.prompt_source.prompt_at(self.recipe.run.seed, number), self._file(number)
        reader = self.score_reader or self.models.text_encoder
        shape = (self.recipe.sequences.clip, *self.models.config.latent_shape)
        noise = CounterRng(self.recipe.run.seed, [number], self.models.device).clip_noise(0, shape)
        with torch.no_grad():
            text, negative = (
                read_texts(reader, [text]) for text in (prompt, self.recipe.data.negative_prompt)
            )
        pairs = ode_pairs(self.scores, noise, text, negative, num_steps=self.recipe.teaching.ode_steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, suffix=f".partial{os.getpid()}") as part:
            save_file({"noisy": pairs.noisy.half().cpu(), "clean": pairs.clean.half().cpu()}, part)
