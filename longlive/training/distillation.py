"""Distillation: a stream learns from teacher and critic, on single clips or along long sequences."""

from collections.abc import Sequence as Listed
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from longlive.chunks import FrameChunk
from longlive.config import StreamConfig
from longlive.generation.session import Session
from longlive.models.bundle import ModelBundle
from longlive.models.text_encoder import TextEncoder
from longlive.training.data.prompt_files import PromptPair, Prompts
from longlive.training.learner import Learner
from longlive.training.objectives.dmd import critic_loss, generator_loss
from longlive.training.objectives.draws import CounterRng
from longlive.training.objectives.rollout import Noise, Rollout
from longlive.training.objectives.scores import Scores
from longlive.training.objectives.streaming import Clip, Sequence, image_latent_of
from longlive.training.objectives.texts import read_texts
from longlive.training.recipe import Recipe


@dataclass(kw_only=True)
class Stream:
    """A micro-batch of sequences that run on from call to call.

    Attributes:
        draws: for its samples.
        calls: clips made so far.
        number: of the running sequence; -1 before the first.
        pairs: its prompts.
    """

    draws: CounterRng
    calls: int = 0
    number: int = -1
    pairs: list[PromptPair] = field(default_factory=list)
    sequence: Sequence | None = None
    switch_start: int | None = None

    def prompts_of(self, clip: Clip) -> list[str]:
        """The prompts that made the new latents of a clip."""
        switched = self.switch_start is not None and clip.start >= self.switch_start
        return [pair.next_prompt if switched else pair.prompt for pair in self.pairs]


@dataclass(kw_only=True)
class Distillation:
    """``dmd`` and ``streaming``: the generator every so often, then the critic on the next clip.

    Source: the released schedule; every call takes the next clip of its sequence, and a sequence crosses the
    steps. Plain DMD is a sequence of one clip.

    Attributes:
        models: the generator's; ``learners["generator"]`` moves its transformer.
        score_reader: text encoder of teacher and critic; the generator's own if it is None.
        streams: those of this process, by number.
    """

    recipe: Recipe
    models: ModelBundle
    stream: StreamConfig
    scores: Scores
    learners: dict[str, Learner]
    score_reader: TextEncoder | None
    prompt_source: Prompts
    streams: dict[int, Stream]
    subject: str = "generator"

    def due(self, step: int) -> list[str]:
        """The critic always, the generator every ``generator_every`` steps."""
        return ["generator", "critic"] if step % self.recipe.run.generator_every == 0 else ["critic"]

    def train(self, step: int) -> dict[str, float]:
        """Losses by name, the mean over this process's streams."""
        losses = {}
        for name in self.due(step):
            values = [self._backward(name, stream) for stream in self.streams.values()]
            losses[f"{name}_loss"] = sum(values) / len(values)
        return losses

    def prompts(self) -> list[str]:
        """Both prompts of every sequence that runs here."""
        pairs = [pair for stream in self.streams.values() for pair in stream.pairs]
        return [text for pair in pairs for text in (pair.prompt, pair.next_prompt)]

    def sample(self, num_latents: int) -> list[FrameChunk]:
        """Streamed as for a viewer, with a soft switch half-way if there are switches in training."""
        run, num_chunks = self.recipe.run, num_latents // self.stream.chunk
        pair = self._pair(run.seed, 0)
        session = Session(self.models, pair.prompt, seed=run.seed, **vars(self.stream))
        with self.learners["generator"].averaged(), session:
            chunks = [session.next_chunk() for _ in range(num_chunks - num_chunks // 2)]
            if pair.next_prompt != pair.prompt:
                session.set_prompt(pair.next_prompt)
            return chunks + [session.next_chunk() for _ in range(num_chunks // 2)]

    def state(self) -> dict[int, dict[str, Any]]:
        """Counts, and the running sequence's memory."""
        return {
            number: {
                "calls": stream.calls,
                "number": stream.number,
                "sequence": stream.sequence.state() if stream.sequence else None,
            }
            for number, stream in self.streams.items()
        }

    def restore(self, states: dict[int, dict[str, Any]]) -> None:
        """Begin the sequences again, and put them where they were."""
        for number, state in states.items():
            stream = self.streams[number]
            stream.calls, stream.number = state["calls"], state["number"]
            if state["sequence"] is not None:
                self._begin(stream)
                assert stream.sequence is not None
                stream.sequence.restore(state["sequence"])

    def _backward(self, name: str, stream: Stream) -> float:
        with_grad = name == "generator"
        clip, call = self._next_clip(stream, with_grad=with_grad), stream.calls - 1
        text = clip.text
        if self.score_reader is not None:
            text = self._read(stream.prompts_of(clip), self.score_reader)
        timesteps = self.scores.timesteps(stream.draws.uniform(call))
        noise = stream.draws.clip_noise(call, tuple(clip.latents.shape[1:]))
        asked = {"timesteps": timesteps, "noise": noise, "mask": clip.mask}
        if with_grad:
            reader = self.score_reader or self.models.text_encoder
            negative = self._read([self.recipe.data.negative_prompt], reader)
            loss = generator_loss(self.scores, clip.latents, text, negative, **asked).loss
        else:
            loss = critic_loss(self.scores, clip.latents, text, **asked)
        (loss / len(self.streams)).backward()
        return float(loss.detach())

    def _next_clip(self, stream: Stream, *, with_grad: bool) -> Clip:
        if stream.sequence is None or stream.sequence.is_over:
            stream.number += 1
            self._begin(stream)
        assert stream.sequence is not None
        exit_step = stream.draws.exit_step(stream.calls, len(self.models.config.steps))
        stream.calls += 1
        return stream.sequence.next_clip(self._noise(stream), exit_step=exit_step, with_grad=with_grad)

    def _begin(self, stream: Stream) -> None:
        """A fresh sequence of the stream's number, with the prompts and the switch that belong to it."""
        options, seed = self.recipe.sequences, self.recipe.run.seed
        stream.switch_start = stream.draws.switch_start(stream.number, options.switch_starts)
        first = stream.number * self.recipe.run.global_batch
        stream.pairs = [self._pair(seed, first + sample) for sample in stream.draws.samples]
        reader, switch_text = self.models.text_encoder, None
        if stream.switch_start is not None:
            switch_text = self._read([pair.next_prompt for pair in stream.pairs], reader)
        rollout = Rollout(
            self.models.transformer,
            self.scores.timetable,
            self.stream,
            self.models.config.tokens_per_latent,
            clip=options.clip,
            defects=self.recipe.defects,
        )
        stream.sequence = Sequence(
            rollout,
            options,
            self._read([pair.prompt for pair in stream.pairs], reader),
            switch_text=switch_text,
            switch_start=stream.switch_start,
            still=self._still,
        )

    def _still(self, latents: Tensor) -> Tensor:
        """``image_latent_of`` in the run's precision: in float32 the VAE took a third of a step on a CPU."""
        dtype = getattr(torch, self.recipe.run.precision)
        with torch.autocast(latents.device.type, dtype, enabled=dtype != torch.float32):
            return image_latent_of(self.models.vae, latents).float()

    def _pair(self, seed: int, index: int) -> PromptPair:
        if self.recipe.sequences.switch_starts:
            return self.prompt_source.pair_at(seed, index)
        prompt = self.prompt_source.prompt_at(seed, index)
        return PromptPair(prompt, prompt)

    def _noise(self, stream: Stream) -> Noise:
        shape = (self.stream.chunk, *self.models.config.latent_shape)

        def draw(start: int, step: int) -> Tensor:
            return stream.draws.chunk_noise(stream.number, shape, chunk=start // self.stream.chunk, step=step)

        return draw

    @torch.no_grad()
    def _read(self, prompts: Listed[str], reader: TextEncoder) -> Tensor:
        return read_texts(reader, list(prompts))
