"""Train the third edition's codec, on a GPU if there is one, on pictures that are drawn as it trains.

    python -m longlive.storybook.third_edition.codec_training --folder runs/third --steps 10000

Resumes from the newest checkpoint in ``FOLDER/codec``. At the end the averaged weights are written to
``FOLDER/codec.safetensors`` in half precision, and ``FOLDER/codec.json`` holds the evaluation.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longlive.storybook.codec import ADAM_NAMES, psnr_of, use_plain_norm
from longlive.storybook.third_edition.codec import Codec, gradient_magnitude, picture_loss, pixel_weights
from longlive.storybook.third_edition.world.drawing import SIZE, draw_stories
from longlive.storybook.third_edition.world.motion import Story
from longlive.storybook.third_edition.world.scene import random_scene, random_turn
from longlive.storybook.workers import StorybookStage, new_trainer
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions

FRAMES, LONG_FRAMES = 17, 33
LONG_SHARE = 0.28
"""Share of the steps, at the end, that train on clips of ``LONG_FRAMES`` pictures."""
LATENT_NOISE = 0.06
TINY_SHARE = 0.6
FADE_IN_STEPS = 20
"""First steps of a run, or after it resumes, in which the latents' statistics follow quickly."""


def random_story(num_frames: int, rng: np.random.Generator) -> Story:
    """One scene, or (six in ten) two of them with the change at any picture."""
    scene = random_scene(rng)
    if rng.random() < 0.4:
        return [(scene, num_frames)]
    first = int(rng.integers(1, num_frames))
    return [(scene, first), (random_turn(scene, rng), num_frames - first)]


class ClipPool:
    """Clips drawn ahead, uint8 (N, 3, T, H, W) on the device: the oldest make room for new ones."""

    def __init__(
        self, clips: int, drawn_at_once: int, size: tuple[int, int], device: torch.device, seed: int
    ) -> None:
        """Hold up to ``clips`` clips of ``LONG_FRAMES`` pictures of ``size`` (height, width)."""
        self._count, self._size, self._device = min(drawn_at_once, clips), size, device
        self._rng = np.random.default_rng([seed, 31])
        self._clips = torch.empty(clips, 3, LONG_FRAMES, *size, dtype=torch.uint8, device=device)
        self._filled, self._next = 0, 0

    def renew(self) -> None:
        """Draw new clips in place of the oldest."""
        stories = [random_story(LONG_FRAMES, self._rng) for _ in range(self._count)]
        new = draw_stories(stories, size=self._size, device=self._device)
        rows = (torch.arange(self._count, device=self._device) + self._next) % len(self._clips)
        self._clips[rows] = (new * 255).round_().to(torch.uint8).transpose(1, 2)
        self._next = (self._next + self._count) % len(self._clips)
        self._filled = min(len(self._clips), self._filled + self._count)

    def batch(self, clips: int, num_frames: int) -> Tensor:
        """Parts of random clips, float (B, 3, num_frames, H, W) in [-1, 1]."""
        while self._filled < min(len(self._clips), 2 * clips):
            self.renew()
        rows = torch.from_numpy(self._rng.integers(self._filled, size=clips)).to(self._device)
        start = int(self._rng.integers(LONG_FRAMES - num_frames + 1))
        return self._clips[rows, :, start : start + num_frames].float() / 127.5 - 1


class CodecStage(StorybookStage):
    """Reconstruction of drawn pictures by both decoders, from the latents of one encoder."""

    def __init__(
        self, codec: Codec, learner: Learner, run: RunOptions, pool: ClipPool, *, renew_every: int
    ) -> None:
        """Train ``codec`` on batches of ``pool``, which is renewed every ``renew_every`` steps."""
        self.codec, self.learners = codec, {"codec": learner}
        self._run, self._pool, self._renew_every = run, pool, renew_every
        self._num_batches = 0

    def train(self, step: int) -> dict[str, float]:
        """Loss and PSNR in dB of both decoders, and the root mean square of the latents, of one batch."""
        codec, pictures = self.codec, self._pictures(step)
        weight = pixel_weights(pictures)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            latents = codec.encode(pictures)
            codec.update_statistics(latents, 0.5 if self._num_batches < FADE_IN_STEPS else 0.02)
            normal = codec.normalise(latents)
            normal = normal + LATENT_NOISE * torch.randn_like(normal)
            decoded, tiny = codec.decode(normal), codec.decode_tiny(normal)
        loss, square = picture_loss(decoded, pictures, weight)
        tiny_loss, tiny_square = picture_loss(tiny, pictures, weight)
        self._num_batches += 1
        scale = latents.float().square().mean()
        (loss + TINY_SHARE * tiny_loss + 1e-2 * scale.log().square()).backward()
        return {
            "loss": loss.item(),
            "tiny_loss": tiny_loss.item(),
            "psnr": psnr_of(square.item() / 4),
            "tiny_psnr": psnr_of(tiny_square.item() / 4),
            "latents_rms": math.sqrt(scale.item()),
        }

    def _pictures(self, step: int) -> Tensor:
        if step % self._renew_every == 0:
            self._pool.renew()
        is_late = step >= (1 - LONG_SHARE) * self._run.steps
        frames = LONG_FRAMES if is_late else FRAMES
        return self._pool.batch(max(1, self._run.micro_batch * FRAMES // frames), frames)


def train_codec(options: argparse.Namespace, processes: Processes) -> None:
    """Train by the command line's options, write the weights and evaluate them."""
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    codec = Codec().to(processes.device).train()
    use_plain_norm(codec.wan)
    use_channels_last(codec.wan)
    run = RunOptions(
        steps=options.steps,
        seed=options.seed,
        global_batch=options.batch,
        micro_batch=options.batch,
        log_every=50,
        save_every=500,
    )
    learning = LearnerOptions(
        optimizer="muon", lr=options.lr, weight_decay=0.0, clip=1.0, warm_up=40, decay=0.45, ema=0.995
    )
    learner = Learner(codec, learning, run, processes, adam_names=ADAM_NAMES)
    size = (options.height, options.height * SIZE[1] // SIZE[0])
    pool = ClipPool(options.pool, options.draw, size, processes.device, options.seed)
    stage = CodecStage(codec, learner, run, pool, renew_every=4)
    new_trainer(stage, "codec", options.folder, run, processes).run()
    with learner.averaged():
        codec.eval()
        with torch.no_grad():
            codec.update_statistics(codec.encode(pool.batch(min(64, options.pool), LONG_FRAMES)), 1.0)
        write_codec(codec, options.folder)
        scores = {
            f"{num_frames} pictures": evaluate_codec(codec, num_frames, clips, size)
            for num_frames, clips in (
                (81, options.evaluation_clips),
                (321, -(-options.evaluation_clips // 6)),
            )
        }
    (options.folder / "codec.json").write_text(json.dumps(scores, indent=1))


@torch.no_grad()
def evaluate_codec(codec: Codec, num_frames: int, clips: int, size: tuple[int, int]) -> dict[str, float]:
    """Mean scores of both decoders on ``clips`` fresh clips of ``num_frames`` pictures.

    Returns:
        For each decoder (``wan_``, ``tiny_``): ``psnr`` in dB, that of the pixels at edges, and the ratio of
        the mean gradient magnitude to the truth's (``edge_energy``).
    """
    rng = np.random.default_rng([num_frames, 77])
    totals: dict[str, float] = defaultdict(float)
    for _ in range(clips):
        story = random_story(num_frames, rng)
        truth = draw_stories([story], size=size, device=codec.mean.device).transpose(1, 2) * 2 - 1
        normal = codec.normalise(codec.encode(truth))
        for name, decoded in (("wan", codec.decode(normal)), ("tiny", codec.decode_tiny(normal))):
            for key, value in picture_scores(decoded.clamp(-1, 1), truth).items():
                totals[f"{name}_{key}"] += value / clips
    return {name: round(value, 4) for name, value in totals.items()}


def picture_scores(decoded: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of pictures (B, 3, T, H, W) in [-1, 1] against the truth, see ``evaluate_codec``."""
    slopes, true_slopes = gradient_magnitude(decoded), gradient_magnitude(truth)
    edges = true_slopes.amax(1, keepdim=True).expand_as(truth) > 0.2
    square = (decoded - truth).square()
    return {
        "psnr": psnr_of(square.mean().item() / 4),
        "psnr_at_edges": psnr_of(square[edges].mean().item() / 4),
        "edge_energy": float(slopes.mean() / true_slopes.mean()),
    }


@torch.no_grad()
def use_channels_last(module: nn.Module) -> None:
    """Lay out the weights of 3D convolutions with the channels last, which cuDNN prefers in bfloat16."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)


def write_codec(codec: Codec, folder: Path) -> None:
    """Write both networks in half precision and the latents' statistics in single precision."""
    state = {name: value.detach().cpu().half().contiguous() for name, value in codec.state_dict().items()}
    state |= {name: getattr(codec, name).detach().float().cpu() for name in ("mean", "std")}
    save_file(state, folder / "codec.safetensors")


def read_codec(folder: Path, device: torch.device) -> Codec:
    """The codec that ``write_codec`` wrote, in single precision and for inference."""
    codec = Codec()
    codec.load_state_dict(load_file(folder / "codec.safetensors"))
    return codec.to(device).eval().requires_grad_(False)


def one_process() -> Processes:
    """This process alone, on a GPU if there is one; these trainings do not share work between processes."""
    return Processes(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16, help="clips of 17 pictures a step")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--pool", type=int, default=768, help="clips kept on the device")
    parser.add_argument("--draw", type=int, default=24, help="clips drawn every four steps")
    parser.add_argument("--height", type=int, default=SIZE[0], help="of the pictures; a multiple of 80")
    parser.add_argument("--evaluation-clips", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train_codec(parse_options(), one_process())
