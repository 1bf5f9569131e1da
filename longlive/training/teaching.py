"""Stages that learn from given ends: a teacher from clean clips, a causal student from the teacher's ODE."""

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
from longlive.training.objectives.scores import Scores
from longlive.training.objectives.texts import read_texts
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe


@dataclass(kw_only=True)
class Teaching:
    """What both stages share: one learner, and micro-batches that remember nothing.

    Attributes:
        models: of which the transformer is trained, and the text encoder if ``learners`` has ``text``.
        draws: of this process's micro-batches, by number.
    """

    recipe: Recipe
    models: ModelBundle
    scores: Scores
    learners: dict[str, Learner]
    draws: dict[int, CounterRng]
    subject: str = "generator"
    _seen: list[str] = field(default_factory=list, init=False)

    def due(self, step: int) -> list[str]:
        """Everything at every step."""
        return list(self.learners)

    def train(self, step: int) -> dict[str, float]:
        """The mean loss over this process's micro-batches."""
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
        """Those of the last step's samples here."""
        return self._seen

    def state(self) -> dict[int, dict[str, Any]]:
        """Nothing: every step begins anew."""
        return {number: {} for number in self.draws}

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Nothing to do."""

    def _samples(self, step: int, draws: CounterRng) -> list[int]:
        return [step * self.recipe.run.global_batch + sample for sample in draws.samples]


@dataclass(kw_only=True)
class TeacherStage(Teaching):
    """``teacher``: flow matching on clean clips, all latents seeing each other.

    Attributes:
        clips: what is learnt from.
        scores: its teacher is the model itself; for samples.
    """

    clips: CleanClips
    subject: str = "teacher"

    def loss(self, step: int, draws: CounterRng) -> Tensor:
        """The loss of one micro-batch."""
        seed, options = self.recipe.run.seed, self.recipe.teaching
        clips = [self.clips.clip_at(seed, index) for index in self._samples(step, draws)]
        dropped = draws.uniform(step, kind=DROP) < options.drop
        negative = self.recipe.data.negative_prompt
        prompts = [negative if gone else clip.prompt for clip, gone in zip(clips, dropped, strict=True)]
        self._seen += prompts
        with torch.set_grad_enabled(options.trains_text):
            text = read_texts(self.models.text_encoder, prompts)
        clean = torch.stack([clip.latents for clip in clips]).to(draws.device)
        return teacher_loss(
            self.models.transformer,
            clean,
            text,
            timetable=self.scores.timetable,
            uniform=draws.uniform(step),
            noise=draws.clip_noise(step, tuple(clean.shape[1:])),
            sigma_floor=options.sigma_floor,
            is_weighted=options.is_weighted,
        )

    @torch.no_grad()
    def sample(self, num_latents: int) -> list[FrameChunk]:
        """The end of the guided ODE for the first clip's prompt."""
        run, config = self.recipe.run, self.models.config
        prompt = self.clips.clip_at(run.seed, 0).prompt
        draws = CounterRng(run.seed, [0], self.models.device)
        noise = draws.chunk_noise(0, (num_latents, *config.latent_shape), chunk=0, step=0)
        with self.learners["teacher"].averaged():
            text, negative = (
                read_texts(self.models.text_encoder, [words])
                for words in (prompt, self.recipe.data.negative_prompt)
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
class InitStage(Teaching):
    """``init``: the causal student goes in one step to where the teacher's ODE ends.

    Attributes:
        stream: the student's chunk, window and sink.
        score_reader: the teacher's text encoder; the student's own if it is None.
        folder: where paths that have been solved are kept.
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
        solved = [self._path(number, draws.device) for number in numbers]
        noisy = torch.cat([path.noisy for path in solved], 1)
        clean = torch.cat([path.clean for path in solved])
        with torch.no_grad():
            text = read_texts(self.models.text_encoder, prompts)
        num_chunks = clean.shape[1] // self.stream.chunk
        return initialisation_loss(
            self.models.transformer,
            OdePairs(noisy, clean),
            text,
            timetable=self.scores.timetable,
            stream=self.stream,
            tokens_per_latent=self.models.config.tokens_per_latent,
            steps=draws.steps(step, num_chunks, len(self.models.config.steps)),
        )

    def sample(self, num_latents: int) -> list[FrameChunk]:
        """Streamed as for a viewer."""
        run = self.recipe.run
        prompt = self.prompt_source.prompt_at(run.seed, 0)
        session = Session(self.models, prompt, seed=run.seed, **vars(self.stream))
        with self.learners["generator"].averaged(), session:
            return [session.next_chunk() for _ in range(num_latents // self.stream.chunk)]

    def solve(self, processes: Processes) -> None:
        """Solve the paths that have no file yet, each process its share; all take part in each round."""
        last = self.recipe.teaching.num_pairs - 1
        rounds = range(0, last + 1, processes.count)
        for first in tqdm(rounds, "pairs", disable=not processes.is_main):
            number = min(first + processes.rank, last)
            if any(processes.gather("" if self._file(number).exists() else "missing")):
                self._solve(number)
        processes.wait()

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.safetensors"

    def _path(self, number: int, device: torch.device) -> OdePairs:
        """Path ``number``, kept in half precision."""
        tensors = {name: tensor.float().to(device) for name, tensor in load_file(self._file(number)).items()}
        return OdePairs(tensors["noisy"], tensors["clean"])

    def _solve(self, number: int) -> None:
        prompt, path = self.prompt_source.prompt_at(self.recipe.run.seed, number), self._file(number)
        reader = self.score_reader or self.models.text_encoder
        shape = (self.recipe.sequences.clip, *self.models.config.latent_shape)
        noise = CounterRng(self.recipe.run.seed, [number], self.models.device).clip_noise(0, shape)
        with torch.no_grad():
            text, negative = (
                read_texts(reader, [words]) for words in (prompt, self.recipe.data.negative_prompt)
            )
        pairs = ode_pairs(self.scores, noise, text, negative, num_steps=self.recipe.teaching.ode_steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".partial{os.getpid()}")
        save_file({"noisy": pairs.noisy.half().cpu(), "clean": pairs.clean.half().cpu()}, partial)
        partial.replace(path)
