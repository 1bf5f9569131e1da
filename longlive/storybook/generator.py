"""The storybook's causal transformer, trained as it will run: chunk after chunk, through the cache.

Teacher forcing: for every chunk of a true clip, one pass predicts its clean latents from a noisy copy, and
one clean pass leaves it in the cache for the chunks after it, with gradients through what is remembered.
Where the clip's story turns, the cache is rebuilt under the new caption, as at a soft switch of the prompt.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.generation.flow_matching import FlowSchedule, add_noise, prediction_to_clean
from longlive.generation.sampling import recache, remember_chunk
from longlive.models.attention import PromptMemory
from longlive.models.list_cache import ListCache
from longlive.models.transformer import CausalWanTransformer
from longlive.storybook.codec import LATENT_CHANNELS
from longlive.storybook.dataset import CHUNK, NUM_CHUNKS, TURN_SHARES, TURNS, Clips, load_dataset
from longlive.storybook.progress import TrainingLog, resume, save_checkpoint
from longlive.storybook.vocabulary import TEXT_DIM, TEXT_LEN, new_text_encoder, tokenizer_of
from longlive.storybook.workers import average_gradients
from longlive.storybook.world.captions import brief_caption, caption
from longlive.storybook.world.drawing import HEIGHT, WIDTH, Scene
from longlive.training.optimizer import MovingAverage, MuonAdamW, learning_rate

SUBJECT_WEIGHT = 4.0
CONTEXT_NOISE = 0.12
STEP_SHARE = 0.75
FIRST_CHUNK_DRAWS = 3


def storybook_config() -> ModelConfig:
    """The facts of the storybook model."""
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


class Storyteller(nn.Module):
    """The transformer and the text encoder, trained together."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.transformer = CausalWanTransformer(config.transformer)
        self.text_encoder: UMT5EncoderModel = new_text_encoder(vocab_size)
        nn.init.zeros_(self.transformer.proj_out.weight)

    def read(self, tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> PromptMemory:
        """The captions as the transformer reads them, with gradients."""
        rows = tokenizer(
            captions, padding="max_length", truncation=True, max_length=TEXT_LEN, return_tensors="pt"
        )
        hidden = self.text_encoder(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
        return self.transformer.read_prompt(hidden.last_hidden_state * rows["attention_mask"].unsqueeze(-1))


@dataclass(frozen=True)
class Batch:
    """Clips that turn at the same chunk (0: none), normalised, with the captions of each half."""

    turn: int
    latents: Tensor
    weights: Tensor
    captions: list[str]
    turned_captions: list[str]


def draw_batch(clips: Clips, size: int, scale: tuple[Tensor, Tensor], rng: np.random.Generator) -> Batch:
    """A random batch of ``size`` clips with freshly worded captions."""
    chosen = rng.integers(len(clips.scenes), size=size)
    mean, std = scale
    stories = [clips.scenes[i] for i in chosen]
    return Batch(
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
    model: Storyteller,
    tokenizer: PreTrainedTokenizerFast,
    batch: Batch,
    config: ModelConfig,
    rng: torch.Generator,
) -> Tensor:
    """Mean weighted error of the predicted clean latents over all chunks of a batch of clips."""
    timetable = FlowSchedule.of(config)
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
        for _ in range(FIRST_CHUNK_DRAWS if chunk == 0 else 1):  # it alone has nothing but the words to go by
            timesteps = random_timesteps(timetable, len(clean), rng)
            sigma = timetable.sigmas_of(timesteps).view(-1, 1, 1, 1, 1)
            noisy = add_noise(clean, torch.randn(clean.shape, generator=rng), sigma)
            output = model.transformer(noisy, timesteps.unsqueeze(1), prompt, cache, start=start)
            predicted = prediction_to_clean(output.float(), noisy, sigma, config.transformer.prediction)
            weight = batch.weights[:, start : start + CHUNK] / sigma.square().clamp_min(0.1)
            losses.append((weight * (predicted - clean).square()).mean())
        if chunk + 1 < NUM_CHUNKS:
            now = context[:, start : start + CHUNK]
            remember_chunk(model.transformer, now, prompt, cache, start=start, with_grad=True)
    return torch.stack(losses).mean()


def random_timesteps(timetable: FlowSchedule, count: int, rng: torch.Generator) -> Tensor:
    """Timesteps (count,), mostly those at which the sampler runs, the others anywhere in the timetable."""
    steps = torch.tensor(timetable.warped_steps)
    chosen = steps[torch.randint(len(steps), (count,), generator=rng)]
    anywhere = timetable.sigmas[torch.randint(900, (count,), generator=rng)] * 1000
    return torch.where(torch.rand(count, generator=rng) < STEP_SHARE, chosen, anywhere)


def _blurred(latents: Tensor, rng: torch.Generator) -> Tensor:
    """Context latents, half of them a little noisy, so that the model forgives its own mistakes."""
    size = (len(latents), 1, 1, 1, 1)
    sigma = CONTEXT_NOISE * torch.rand(size, generator=rng) * (torch.rand(size, generator=rng) < 0.5)
    return add_noise(latents, torch.randn(latents.shape, generator=rng), sigma)


def train_generator(
    folder: Path,
    *,
    steps: int,
    rank: int = 0,
    num_workers: int = 1,
    batch: int = 10,
    seed: int = 0,
    lr: float = 3e-3,
    shards: Path | None = None,
) -> None:
    """Train transformer and text encoder on ``folder / "clips"``; goes on from its last checkpoint."""
    torch.manual_seed(seed)
    config, tokenizer = storybook_config(), tokenizer_of(folder, seed)
    model = Storyteller(config, len(tokenizer)).train()
    optimizer, average = new_optimizer(model, lr), MovingAverage(model, 0.995)
    first = resume(folder / "generator.pt", model, optimizer, average)
    clips = load_dataset(shards or folder / "clips")
    scale = latent_scale(folder)
    log = TrainingLog(folder / "generator.jsonl", "generator", first, steps, every=20, quiet=rank > 0)
    for step in log.steps():
        turn = int(np.random.default_rng([seed, 7, step]).choice(TURNS, p=TURN_SHARES))
        drawn = draw_batch(clips[turn], batch, scale, np.random.default_rng([seed, 8, step, rank]))
        noise = torch.Generator().manual_seed(
            int(np.random.default_rng([seed, 9, step, rank]).integers(2**62))
        )
        optimizer.set_lr(learning_rate(step, steps, lr))
        with torch.autocast("cpu", torch.bfloat16):
            loss = story_loss(model, tokenizer, drawn, config, noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step)
        log.write(step, loss=loss.item(), norm=float(norm))
        if rank == 0 and ((step + 1) % 100 == 0 or step + 1 == steps):
            save_checkpoint(folder / "generator.pt", step + 1, model, optimizer, average)


def new_optimizer(model: Storyteller, lr: float) -> MuonAdamW:
    """The optimizer of the generator stage."""
    names = ("shared", "patch_embedding", "proj_out", "relative_attention_bias")
    return MuonAdamW(model, adam_names=names, lr=lr)


def latent_scale(folder: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the codec's raw latents, (32, 1, 1) each."""
    config = AutoencoderKLWan.load_config(folder / "vae")
    mean, std = (torch.tensor(config[name]).view(-1, 1, 1) for name in ("latents_mean", "latents_std"))
    return mean, std
