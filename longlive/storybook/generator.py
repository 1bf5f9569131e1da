"""The storybook's causal transformer, trained as it runs in inference: chunk by chunk, through the cache.

Teacher forcing: for every chunk of a true clip, one pass predicts its clean latents from a noisy copy, and
one clean pass writes its keys and values to the cache for later chunks, with gradients through the cache.
Where the clip switches to its second scene, the cache is recomputed under the new caption, as at a soft
switch.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.generation.sampling import recache, remember_chunk
from longlive.models.attention import PromptKV
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.storybook.codec import LATENT_CHANNELS
from longlive.storybook.dataset import CHUNK, NUM_CHUNKS, TURN_SHARES, TURNS, Clips, load_dataset
from longlive.storybook.vocabulary import TEXT_DIM, TEXT_LEN, new_text_encoder, tokenizer_of
from longlive.storybook.workers import StorybookStage, new_trainer
from longlive.storybook.world.captions import brief_caption, caption
from longlive.storybook.world.drawing import HEIGHT, WIDTH, Scene
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions
from longlive.training.trainer import Trainer

SUBJECT_WEIGHT = 4.0
CONTEXT_NOISE = 0.12
STEP_SHARE = 0.75
FIRST_CHUNK_DRAWS = 3


def storybook_config() -> ModelConfig:
    """The config of the storybook model."""
    transformer = TransformerConfig(
        num_attention_heads=6,
        attention_head_dim=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=768,
        num_layers=6,
        prediction="clean",
    )
    return ModelConfig(
        name="storybook",
        transformer=transformer,
        height=HEIGHT,
        width=WIDTH,
        chunk=CHUNK,
        window=12,
        sink=3,
        positions="relative",
        text_len=TEXT_LEN,
        display_scale=3,
    )


class StorybookModel(nn.Module):
    """The transformer and the text encoder, trained together."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.transformer = CausalWanTransformer(config.transformer)
        self.text_encoder: UMT5EncoderModel = new_text_encoder(vocab_size)
        nn.init.zeros_(self.transformer.proj_out.weight)

    def read(self, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> PromptKV:
        """The captions' keys and values for the transformer, with gradients."""
        rows = tokenizer(
            captions, padding="max_length", truncation=True, max_length=TEXT_LEN, return_tensors="pt"
        )
        return self.read_ids(rows["input_ids"])

    def read_ids(self, ids: Tensor) -> PromptKV:
        """The same of token ids (B, length), padded with 0."""
        mask = (ids != 0).long()
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.transformer.read_prompt(hidden * mask.unsqueeze(-1))


@dataclass(frozen=True)
class ClipBatch:
    """Clips that switch scenes at chunk ``turn`` (0: never), normalised, with the captions of both scenes."""

    turn: int
    latents: Tensor
    weights: Tensor
    captions: list[str]
    turned_captions: list[str]


def draw_batch(clips: Clips, size: int, scale: tuple[Tensor, Tensor], rng: np.random.Generator) -> ClipBatch:
    """A random batch of ``size`` clips with freshly worded captions."""
    chosen = rng.integers(len(clips.scenes), size=size)
    mean, std = scale
    stories = [clips.scenes[i] for i in chosen]
    return ClipBatch(
        turn=clips.turn,
        latents=(clips.latents[chosen].float() - mean) / std,
        weights=1 + (SUBJECT_WEIGHT - 1) * clips.weights[chosen].float().unsqueeze(2),
        captions=[caption(story[0], rng) for story in stories],
        turned_captions=[_caption_of_turn(story, rng) for story in stories] if clips.turn else [],
    )


def _caption_of_turn(story: tuple[Scene, ...], rng: np.random.Generator) -> str:
    before, after = story
    only_action = replace(before, action=after.action) == after
    return brief_caption(after, rng) if only_action and rng.random() < 0.35 else caption(after, rng)


def story_loss(
    model: StorybookModel,
    tokenizer: PreTrainedTokenizerFast,
    batch: ClipBatch,
    config: ModelConfig,
    rng: torch.Generator,
) -> Tensor:
    """Mean weighted error of the predicted clean latents over all chunks of a batch of clips."""
    schedule = FlowSchedule.of(config)
    cache = ListCache(config.transformer, StreamConfig.of(config), config.tokens_per_latent)
    prompt = model.read(tokenizer, batch.captions)
    context = _blurred(batch.latents, rng)
    losses = []
    for chunk in range(NUM_CHUNKS):
        start = chunk * CHUNK
        if batch.turn and chunk == batch.turn:
            prompt = model.read(tokenizer, batch.turned_captions)
            recache(model.transformer, context[:, :start], prompt, cache, start=start, with_grad=True)
        clean = batch.latents[:, start : start + CHUNK]
        for _ in range(FIRST_CHUNK_DRAWS if chunk == 0 else 1):  # it depends on the caption alone
            timesteps = random_timesteps(schedule, len(clean), rng)
            sigma = schedule.sigmas_of(timesteps).view(-1, 1, 1, 1, 1)
            noisy = add_noise(clean, torch.randn(clean.shape, generator=rng), sigma)
            output = model.transformer(noisy, timesteps.unsqueeze(1), prompt, cache, start=start)
            predicted = prediction_to_clean(output.float(), noisy, sigma, config.transformer.prediction)
            weight = batch.weights[:, start : start + CHUNK] / sigma.square().clamp_min(0.1)
            losses.append((weight * (predicted - clean).square()).mean())
        if chunk + 1 < NUM_CHUNKS:
            now = context[:, start : start + CHUNK]
            remember_chunk(model.transformer, now, prompt, cache, start=start, with_grad=True)
    return torch.stack(losses).mean()


def random_timesteps(schedule: FlowSchedule, count: int, rng: torch.Generator) -> Tensor:
    """Timesteps (count,): mostly those of the sampler, the others anywhere in the schedule."""
    steps = torch.tensor(schedule.warped_steps)
    chosen = steps[torch.randint(len(steps), (count,), generator=rng)]
    anywhere = schedule.sigmas[torch.randint(900, (count,), generator=rng)] * 1000
    return torch.where(torch.rand(count, generator=rng) < STEP_SHARE, chosen, anywhere)


def _blurred(latents: Tensor, rng: torch.Generator) -> Tensor:
    """Context latents, half of them slightly noisy, so that the model tolerates its own errors."""
    size = (len(latents), 1, 1, 1, 1)
    sigma = CONTEXT_NOISE * torch.rand(size, generator=rng) * (torch.rand(size, generator=rng) < 0.5)
    return add_noise(latents, torch.randn(latents.shape, generator=rng), sigma)


def train_generator(
    folder: Path,
    *,
    steps: int,
    processes: Processes,
    batch: int = 10,
    seed: int = 0,
    lr: float = 3e-3,
) -> None:
    """Train transformer and text encoder on ``folder / "clips"``; resumes from ``folder / "generator"``."""
    generator_trainer(folder, steps=steps, processes=processes, batch=batch, seed=seed, lr=lr).run()


def generator_trainer(
    folder: Path, *, steps: int, processes: Processes, batch: int = 10, seed: int = 0, lr: float = 3e-3
) -> Trainer:
    """The trainer of the generator stage, resumed from its newest checkpoint."""
    torch.manual_seed(seed)
    config, tokenizer = storybook_config(), tokenizer_of(folder, seed)
    model = StorybookModel(config, len(tokenizer)).train()
    run = RunOptions(
        steps=steps,
        seed=seed,
        global_batch=batch * processes.count,
        micro_batch=batch,
        log_every=20,
        save_every=100,
    )
    options = LearnerOptions(optimizer="muon", lr=lr, clip=1.0, warm_up=50, decay=0.4, ema=0.995)
    learner = Learner(model, options, run, processes)
    stage = GeneratorStage(folder, config, tokenizer, model, learner, run, processes.rank)
    return new_trainer(stage, "generator", folder, run, processes)


class GeneratorStage(StorybookStage):
    """Teacher forcing on the encoded clips of a training folder."""

    def __init__(
        self,
        folder: Path,
        config: ModelConfig,
        tokenizer: PreTrainedTokenizerFast,
        model: StorybookModel,
        learner: Learner,
        run: RunOptions,
        rank: int,
    ) -> None:
        """``rank`` selects this process's clips; they are read from ``folder`` at the first step."""
        self.config, self.tokenizer, self.model = config, tokenizer, model
        self.learners = {"generator": learner}
        self._folder, self._run, self._rank = folder, run, rank

    @cached_property
    def clips(self) -> dict[int, Clips]:
        """The clips by the chunk at which they switch scenes."""
        return load_dataset(self._folder / "clips")

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents."""
        return latent_scale(self._folder)

    def train(self, step: int) -> dict[str, float]:
        """The loss of one batch, all of whose clips switch scenes at the same chunk."""
        seed = self._run.seed
        turn = int(np.random.default_rng([seed, 7, step]).choice(TURNS, p=TURN_SHARES))
        rng = np.random.default_rng([seed, 8, step, self._rank])
        batch = draw_batch(self.clips[turn], self._run.micro_batch, self.scale, rng)
        noise = torch.Generator().manual_seed(
            int(np.random.default_rng([seed, 9, step, self._rank]).integers(2**62))
        )
        with torch.autocast("cpu", torch.bfloat16):
            loss = story_loss(self.model, self.tokenizer, batch, self.config, noise)
        loss.backward()
        return {"loss": loss.item()}


def latent_scale(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the codec's raw latents, (32, 1, 1) each."""
    config = AutoencoderKLWan.load_config(folder / "vae")
    mean, std = (torch.tensor(config[name]).view(-1, 1, 1) for name in ("latents_mean", "latents_std"))
    return mean, std
