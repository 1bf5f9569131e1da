"""The storybook's codec: a small ``AutoencoderKLWan``, and its training.

It is trained end to end on drawn pictures and is deterministic: it takes the posterior's mean, with a little
noise in training so that nearby latents decode to similar pictures. Most samples are crops around the
subject, since the settings are learnt long before it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanRMS_norm,
    patchify,
    unpatchify,
)
from torch import Tensor

from longlive.storybook.workers import StorybookStage, new_trainer
from longlive.storybook.world.drawing import HEIGHT, WIDTH, draw_story, random_scene
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions

LATENT_CHANNELS = 32
LATENT_NOISE = {"codec": 0.08, "decoder": 0.05}
CROP = 48
ADAM_NAMES = ("conv_in", "conv_out", "quant_conv")
"""Substrings of the names of convolutions that AdamW updates instead of Muon."""


def new_codec() -> AutoencoderKLWan:
    """An untrained codec: 4 x 8 x 8 pixels to 32 channels."""
    return AutoencoderKLWan(
        base_dim=16,
        decoder_base_dim=24,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 4],
        num_res_blocks=1,
        attn_scales=[],
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        scale_factor_temporal=4,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def encode_clip(codec: AutoencoderKLWan, pictures: Tensor) -> Tensor:
    """Raw latents (B, C, 1 + N, H/s, W/s) of pictures (B, 3, 1 + 4N, H, W) in [-1, 1], with gradients.

    Equal to ``codec.encode``: the first picture alone, then all others in one pass. Channels C and scale s
    are the codec's (here 32 and 8).
    """
    patches = patchify(pictures, codec.config["patch_size"])
    memory: list[Any] = [None] * codec._cached_conv_counts["encoder"]
    parts = [codec.encoder(patches[:, :, :1], feat_cache=memory, feat_idx=[0])]
    if patches.shape[2] > 1:
        parts.append(codec.encoder(patches[:, :, 1:], feat_cache=memory, feat_idx=[0]))
    return codec.quant_conv(torch.cat(parts, 2))[:, : codec.config["z_dim"]]


def decode_clip(codec: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The inverse of ``encode_clip``, with gradients; not clamped."""
    latents = codec.post_quant_conv(latents)
    memory: list[Any] = [None] * codec._cached_conv_counts["decoder"]
    parts = [codec.decoder(latents[:, :, :1], feat_cache=memory, feat_idx=[0], first_chunk=True)]
    if latents.shape[2] > 1:
        parts.append(codec.decoder(latents[:, :, 1:], feat_cache=memory, feat_idx=[0]))
    return unpatchify(torch.cat(parts, 2), codec.config["patch_size"])


def random_pictures(batch: int, num_frames: int, rng: np.random.Generator, *, crop: bool) -> Tensor:
    """Training pictures: float (B, 3, F, H, W) in [-1, 1]; whole, or crops around the subject."""
    clips = []
    for _ in range(batch):
        first = int(rng.integers(1, num_frames))
        scenes = [(random_scene(rng), first), (random_scene(rng), num_frames - first)]
        x = float(rng.uniform(0, WIDTH))  # anywhere: walks lead there
        clip = draw_story(scenes, rng, start_x=x)
        if crop:
            left = int(np.clip(round((x - CROP / 2 + rng.uniform(-14, 14)) / 8) * 8, 0, WIDTH - CROP))
            top = int(rng.integers(0, (HEIGHT - CROP) // 8 + 1)) * 8
            clip = clip[:, :, top : top + CROP, left : left + CROP]
        clips.append(clip)
    return torch.stack(clips).transpose(1, 2).float() / 127.5 - 1


def train_codec(
    folder: Path, *, steps: int, processes: Processes, batch: int = 6, seed: int = 0, lr: float = 4e-3
) -> None:
    """Train the codec and write it to ``folder / "vae"``; resumes from ``folder / "codec"``."""
    torch.manual_seed(seed)
    _train(new_codec(), "codec", folder, steps, processes, batch, seed, lr)


def train_decoder(
    folder: Path, *, steps: int, processes: Processes, batch: int = 6, seed: int = 0, lr: float = 2e-3
) -> None:
    """Train only the decoder of ``folder / "vae"`` further; resumes from ``folder / "decoder"``."""
    codec = AutoencoderKLWan.from_pretrained(folder / "vae")
    codec.encoder.requires_grad_(False)
    codec.quant_conv.requires_grad_(False)
    _train(codec, "decoder", folder, steps, processes, batch, seed, lr)


def _train(
    codec: AutoencoderKLWan,
    name: str,
    folder: Path,
    steps: int,
    processes: Processes,
    batch: int,
    seed: int,
    lr: float,
) -> None:
    run = RunOptions(
        steps=steps,
        seed=seed,
        global_batch=batch * processes.count,
        micro_batch=batch,
        log_every=25,
        save_every=200,
    )
    options = LearnerOptions(
        optimizer="muon", lr=lr, weight_decay=0.0, clip=1.0, warm_up=50, decay=0.4, ema=0.998
    )
    use_plain_norm(codec)
    learner = Learner(codec.train(), options, run, processes, adam_names=ADAM_NAMES)
    stage = CodecStage(name, codec, learner, run, processes.rank)
    new_trainer(stage, name, folder, run, processes).run()
    if processes.is_main:
        stage.write(folder / "vae")


class CodecStage(StorybookStage):
    """Reconstruction of drawn pictures by the codec, or by its decoder alone."""

    def __init__(
        self, name: str, codec: AutoencoderKLWan, learner: Learner, run: RunOptions, rank: int
    ) -> None:
        """``name`` is ``codec`` or ``decoder``; ``rank`` selects this process's pictures."""
        self.name, self.codec, self.learners = name, codec, {name: learner}
        self._run, self._rank = run, rank

    def train(self, step: int) -> dict[str, float]:
        """Loss, PSNR in dB and the standard deviation of the latents, of one batch."""
        pictures, noise_rng = self._pictures(step), self._noise_rng(step)
        with torch.autocast("cpu", torch.bfloat16):
            latents = encode_clip(self.codec, pictures)
            spread = latents.detach().float().std()
            noise = torch.randn(latents.shape, generator=noise_rng, dtype=latents.dtype)
            decoded = decode_clip(self.codec, latents + LATENT_NOISE[self.name] * spread * noise).float()
        error = decoded - pictures
        square = error.square().mean()
        loss = error.abs().mean() + 6 * square + 1e-3 * (latents.float().square().mean() - 1).abs()
        loss.backward()
        return {"loss": loss.item(), "psnr": psnr_of(square.item() / 4), "spread": spread.item()}

    def write(self, folder: Path) -> None:
        """Write the averaged weights in diffusers' layout, with the statistics of the latents."""
        codec = new_codec().eval()
        with self.learners[self.name].averaged() as averaged:
            codec.load_state_dict(averaged.state_dict())
        if self.name == "codec":
            rng = np.random.default_rng([self._run.seed, 2])
            with torch.no_grad():
                latents = encode_clip(codec, random_pictures(16, 25, rng, crop=False))
            mean = latents.mean((0, 2, 3, 4)).tolist()
            codec.register_to_config(latents_mean=mean, latents_std=[float(latents.std())] * LATENT_CHANNELS)
        else:
            names = ("latents_mean", "latents_std")
            codec.register_to_config(**{name: self.codec.config[name] for name in names})
        codec.save_pretrained(folder)

    def _pictures(self, step: int) -> Tensor:
        rng, batch = np.random.default_rng([self._run.seed, 1, step, self._rank]), self._run.micro_batch
        if step < 0.85 * self._run.steps and step % 4 != 0:
            return random_pictures(batch, (9, 17)[step % 2], rng, crop=True)
        return random_pictures(max(1, batch // 3), (13, 25)[step // 4 % 2], rng, crop=False)

    def _noise_rng(self, step: int) -> torch.Generator:
        rng = np.random.default_rng([self._run.seed, 3, step, self._rank])
        return torch.Generator().manual_seed(int(rng.integers(2**62)))


def psnr_of(mean_square: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean square error of values in [0, 1]."""
    return float(-10 * np.log10(max(mean_square, 1e-12)))


def use_plain_norm(codec: AutoencoderKLWan) -> None:
    """RMS norms by multiplication: a third less time per training step on a CPU than ``F.normalize``."""

    def forward(self: WanRMS_norm, x: Tensor) -> Tensor:
        return x * (x.square().sum(1, keepdim=True).clamp_min(1e-12).rsqrt() * self.scale) * self.gamma

    for module in codec.modules():
        if isinstance(module, WanRMS_norm):
            module.forward = forward.__get__(module)  # type: ignore[method-assign]
