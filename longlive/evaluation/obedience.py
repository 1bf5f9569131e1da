"""How well the storybook model obeys its prompts: oracle scores beside the codec's ceiling and chance."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor
from tqdm import tqdm

from longlive.chunks import SWITCH_MODES
from longlive.config import StreamConfig
from longlive.generation.flow_matching import FlowSchedule
from longlive.generation.noise import draw_noise
from longlive.generation.sampling import denoise_chunk, recache, remember_chunk
from longlive.models.attention import PromptMemory
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import StreamingDecoder
from longlive.models.kv_cache import KVCache
from longlive.models.wan_vae import encode_pictures
from longlive.runtime.allocator import configure_cpu
from longlive.storybook.codec import psnr_of
from longlive.storybook.dataset import frames_before
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    SETTINGS,
    SHAPES,
    WEATHER_SHARES,
    Scene,
    draw_story,
    is_held_out,
    random_scene,
)
from longlive.storybook.world.oracle import Reading, read
from longlive.weights.loading import load_models

ATTRIBUTES = ("setting", "shape", "colour", "action", "weather")
CHANCE = {
    "setting": 1 / len(SETTINGS),
    "shape": 1 / len(SHAPES),
    "colour": 1 / len(COLOURS),
    "action": 1 / len(ACTIONS),
    "weather": max(WEATHER_SHARES),
}
SWITCH_CHUNK, NUM_CHUNKS = 5, 9
SKIPPED_FRAMES = 9
BATCH = 10


@dataclass(frozen=True)
class Trial:
    """One story to be told: a scene, and the scene with another action that follows it."""

    scene: Scene
    turned: Scene
    prompt: str
    turned_prompt: str


def draw_trials(count: int, seed: int) -> list[Trial]:
    """Fresh prompts; a fifth of them, combinations of attributes that training never saw."""
    rng = np.random.default_rng([seed, 10])
    trials = []
    for index in range(count):
        scene = random_scene(rng, held_out=index % 5 == 0)
        others = [replace(scene, action=action) for action in ACTIONS if action != scene.action]
        turned = others[rng.integers(len(others))]
        words = caption(scene, rng, complete=True), caption(turned, rng, complete=True)
        trials.append(Trial(scene, turned, *words))
    return trials


Group = tuple[list[Trial], int, tuple[str, ...]]


class BatchTeller:
    """Several stories told at once through the sampling code and the cache that sessions use."""

    def __init__(self, models: ModelBundle, prompts: Sequence[str], seeds: Sequence[int]) -> None:
        config = models.config
        self.models, self.seeds = models, seeds
        self.stream = StreamConfig.of(config)
        self.timetable = FlowSchedule.of(config)
        self.cache = KVCache(config.transformer, self.stream, config.tokens_per_latent, batch=len(prompts))
        self.decoder = StreamingDecoder(models.vae, config.fps)
        self.prompt = self._read(prompts)
        self.window = torch.empty(len(prompts), 0, *config.latent_shape)
        self.chunk = self.start = 0

    def tell(self, num_chunks: int) -> Tensor:
        """The pictures of the next chunks: uint8 (B, F, 3, H, W)."""
        return torch.cat([self._tell_chunk() for _ in range(num_chunks)], 1)

    def branch(self) -> "BatchTeller":
        """Another teller that goes on from here by itself."""
        other = copy.copy(self)
        other.cache, other.decoder = copy.deepcopy(self.cache), self.decoder.branch()
        return other

    def switch(self, prompts: Sequence[str], mode: str) -> None:
        """Go on with other prompts, in one of the three ways that sessions know."""
        self.prompt = self._read(prompts)
        if mode == "soft":
            recache(self.models.transformer, self.window, self.prompt, self.cache, start=self.start)
        elif mode == "hard":
            self.cache.reset()
            self.decoder.reset()
            self.start, self.window = 0, self.window[:, :0]

    def _tell_chunk(self) -> Tensor:
        size = self.stream.chunk
        latents = denoise_chunk(
            self.models.transformer, self._noise, self.prompt, self.cache, self.timetable, start=self.start
        )
        remember_chunk(self.models.transformer, latents, self.prompt, self.cache, start=self.start)
        self.window = torch.cat([self.window, latents], 1)[:, -self.stream.window :]
        self.start, self.chunk = self.start + size, self.chunk + 1
        pictures = self.decoder.decode_latents(latents)
        return ((pictures + 1) * 127.5).round().to(torch.uint8)

    def _noise(self, step: int) -> Tensor:
        shape = (self.stream.chunk, *self.models.config.latent_shape)
        return torch.stack(
            [draw_noise(shape, seed=s, take=0, chunk=self.chunk, step=step) for s in self.seeds]
        )

    def _read(self, prompts: Sequence[str]) -> PromptMemory:
        tokens = torch.cat([self.models.text_encoder.encode(prompt).tokens for prompt in prompts])
        return self.models.transformer.read_prompt(tokens)


@dataclass(frozen=True)
class Outcome:
    """What the oracle read in some stories: before the switch, after it in each mode, and in the truth."""

    before: list[Reading]
    after: dict[str, list[Reading]]
    true_before: list[Reading]
    true_after: list[Reading]


def evaluate_prompts(
    models: ModelBundle,
    *,
    num_prompts: int,
    seed: int,
    modes: Sequence[str] = SWITCH_MODES,
    num_workers: int = 1,
) -> dict[str, Any]:
    """Scores before and after a switch of the action, as shares of what was asked for and of the ceiling.

    Returns:
        ``before`` and ``after_<mode>``, each with ``score``, ``ceiling`` and ``share`` per attribute (and for
        ``before`` the scores of held-out combinations); and ``chance``.
    """
    trials = draw_trials(num_prompts, seed)
    scenes, turned = [t.scene for t in trials], [t.turned for t in trials]
    groups = [(trials[i : i + BATCH], seed * 100_003 + i, tuple(modes)) for i in range(0, num_prompts, BATCH)]
    progress = tqdm(total=len(groups), desc="prompts", unit="batch")
    outcomes = []
    for outcome in _tell_all(models, groups, num_workers):
        outcomes.append(outcome)
        progress.update()
    before = [reading for outcome in outcomes for reading in outcome.before]
    true_before = [reading for outcome in outcomes for reading in outcome.true_before]
    true_after = [reading for outcome in outcomes for reading in outcome.true_after]
    result: dict[str, Any] = {"before": _compare(before, true_before, scenes), "chance": CHANCE}
    held_out = [i for i, scene in enumerate(scenes) if is_held_out(scene)]
    result["before"]["held_out"] = _scores([before[i] for i in held_out], [scenes[i] for i in held_out])
    for mode in modes:
        after = [reading for outcome in outcomes for reading in outcome.after[mode]]
        result[f"after_{mode}"] = _compare(after, true_after, turned)
    return result


def _tell_all(models: ModelBundle, groups: list[Group], num_workers: int) -> Iterator[Outcome]:
    if num_workers == 1:
        yield from (_tell_group(models, group) for group in groups)
        return
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(num_workers, _load_in_worker, (models.folder,)) as pool:
        yield from pool.imap(_tell_in_worker, groups)


def _load_in_worker(folder: Path) -> None:
    configure_cpu(1)
    _tell_in_worker.models = load_models(folder)  # type: ignore[attr-defined]


def _tell_in_worker(group: Group) -> Outcome:
    return _tell_group(_tell_in_worker.models, group)  # type: ignore[attr-defined]


@torch.no_grad()
def _tell_group(models: ModelBundle, group: Group) -> Outcome:
    trials, first_seed, modes = group
    seeds = range(first_seed, first_seed + len(trials))
    teller = BatchTeller(models, [t.prompt for t in trials], seeds)
    before = [read(clip[SKIPPED_FRAMES:]) for clip in teller.tell(SWITCH_CHUNK)]
    after = {}
    for mode in modes:
        branch = teller.branch()
        branch.switch([t.turned_prompt for t in trials], mode)
        after[mode] = [_read_after(clip) for clip in branch.tell(NUM_CHUNKS - SWITCH_CHUNK)]
    truth = [_true_story(models.vae, t, s) for t, s in zip(trials, seeds, strict=True)]
    true_before = [read(first[SKIPPED_FRAMES:]) for first, _ in truth]
    return Outcome(before, after, true_before, [_read_after(second) for _, second in truth])


def _read_after(pictures: Tensor) -> Reading:
    """Read what is seen within 2.25 seconds after a switch, but for its first chunk."""
    return read(pictures[12:36])


def _true_story(vae: AutoencoderKLWan, trial: Trial, seed: int) -> tuple[Tensor, Tensor]:
    border, total = frames_before(SWITCH_CHUNK), frames_before(NUM_CHUNKS)
    rng = np.random.default_rng([seed, 11])
    pictures = through_codec(vae, draw_story([(trial.scene, border), (trial.turned, total - border)], rng))
    return pictures[:border], pictures[border:]


@torch.no_grad()
def through_codec(vae: AutoencoderKLWan, pictures: Tensor) -> Tensor:
    """Pictures (F, 3, H, W), uint8, encoded and decoded again."""
    latents = encode_pictures(vae, pictures[None].float() / 127.5 - 1)
    decoded = StreamingDecoder(vae, 16).decode_latents(latents)[0]
    return ((decoded + 1) * 127.5).round().to(torch.uint8)


def codec_quality(vae: AutoencoderKLWan, num_frames: int, num_clips: int, seed: int) -> float:
    """Mean PSNR in dB of true stories of ``num_frames`` pictures through the codec."""
    rng = np.random.default_rng([seed, 12, num_frames])
    values = []
    for _ in range(num_clips):
        half = num_frames // 2
        pictures = draw_story([(random_scene(rng), half), (random_scene(rng), num_frames - half)], rng)
        error = through_codec(vae, pictures).float() - pictures.float()
        values.append(psnr_of(float(error.square().mean()) / 255**2))
    return float(np.mean(values))


def _compare(readings: list[Reading], truth: list[Reading], scenes: list[Scene]) -> dict[str, Any]:
    score, ceiling = _scores(readings, scenes), _scores(truth, scenes)
    share = {name: round(score[name] / max(ceiling[name], 1e-9), 4) for name in ATTRIBUTES}
    return {"score": score, "ceiling": ceiling, "share": share}


def _scores(readings: list[Reading], scenes: list[Scene]) -> dict[str, float]:
    def mean(is_right: Callable[[Reading, Scene], bool]) -> float:
        return round(float(np.mean([is_right(r, s) for r, s in zip(readings, scenes, strict=True)])), 4)

    scores = {name: mean(lambda r, s, n=name: getattr(r, n) == getattr(s, n)) for name in ATTRIBUTES}  # type: ignore[misc]
    return scores | {"one_subject": mean(lambda r, s: r.has_one_subject)}


def evaluate_storybook(
    models: ModelBundle, *, num_prompts: int = 300, seed: int = 0, num_workers: int = 1
) -> dict[str, Any]:
    """Everything that is claimed of the storybook model, measured."""
    result = evaluate_prompts(models, num_prompts=num_prompts, seed=seed, num_workers=num_workers)
    psnr = {str(n): round(codec_quality(models.vae, n, clips, seed), 2) for n, clips in ((81, 12), (321, 6))}
    return {
        "model": models.config.name,
        "digest": models.digest,
        "prompts": num_prompts,
        "seed": seed,
        "codec_psnr_db": psnr,
    } | result
