"""Train the third edition's transformer and text encoder, on a GPU if there is one.

    python -m longlive.storybook.third_edition.generator_training --folder runs/third --steps 10000

Needs ``FOLDER/codec.safetensors`` of codec_training. Stories are drawn and encoded as it trains. Resumes from
the newest checkpoint in ``FOLDER/generator``; at the end the averaged weights are written to
``FOLDER/generator.safetensors`` in half precision.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from longlive.files import atomic_write
from longlive.generation.flow_matching import FlowSchedule
from longlive.storybook.generator import StorybookModel
from longlive.storybook.third_edition.codec import Codec
from longlive.storybook.third_edition.codec_training import one_process, read_codec
from longlive.storybook.third_edition.generator import (
    CHUNK,
    LAYOUT_SHARES,
    WindowLayout,
    third_edition_config,
    window_loss,
)
from longlive.storybook.third_edition.vocabulary import TEXT_LEN, tokenizer_of
from longlive.storybook.third_edition.world.captions import caption, turn_caption
from longlive.storybook.third_edition.world.drawing import draw_timeline
from longlive.storybook.third_edition.world.motion import Story, build_timeline
from longlive.storybook.third_edition.world.scene import random_scene, random_turn
from longlive.storybook.workers import StorybookStage, new_trainer
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions

CAPTIONS = 6
"""Captions drawn for each window."""
ENCODER_WARM_UP = CHUNK
"""Latents that the encoder sees before a late window, and that are dropped."""
LONGEST = 40
"""Number of the last chunk of the latest window."""
LAYOUTS = tuple(LAYOUT_SHARES)


def num_pictures_before(chunk: int) -> int:
    """Pictures before a chunk: the first chunk has 9, later ones 12."""
    return 12 * chunk - 3 if chunk else 0


def random_stories(
    layout: WindowLayout, count: int, rng: np.random.Generator
) -> tuple[list[Story], list[int]]:
    """Stories of the same length that turn as ``layout`` asks, and the pictures that their windows show."""
    last = int(rng.integers(4, LONGEST)) if layout.is_late else 3
    total = num_pictures_before(last + 1)
    stories: list[Story] = []
    for _ in range(count):
        scene = random_scene(rng)
        if layout.turn == 0:
            stories.append([(scene, total)])
        else:
            first = num_pictures_before(_turn_chunk(layout, last, rng))
            stories.append([(scene, first), (random_turn(scene, rng), total - first)])
    if not layout.is_late:
        return stories, list(range(total))
    start = num_pictures_before(last - 2) - 4 * ENCODER_WARM_UP - 1
    return stories, [*range(num_pictures_before(1)), *range(start, total)]


def _turn_chunk(layout: WindowLayout, last: int, rng: np.random.Generator) -> int:
    if not layout.is_late:
        return layout.turn
    return int(rng.integers(1, last - 1)) if layout.turn == 1 else last - 3 + layout.turn


@torch.no_grad()
def encode_windows(codec: Codec, pictures: Tensor, layout: WindowLayout) -> Tensor:
    """Normalised latents (B, 12, C, H, W) of the pictures (B, t, 3, H', W') in [0, 1] of windows."""
    clips = pictures.transpose(1, 2) * 2 - 1
    if not layout.is_late:
        return codec.normalise(codec.encode(clips)).transpose(1, 2)
    sink_pictures = num_pictures_before(1)
    sink = codec.encode(clips[:, :, :sink_pictures])
    rest = codec.encode(clips[:, :, sink_pictures:])[:, :, 1 + ENCODER_WARM_UP :]
    return codec.normalise(torch.cat([sink, rest], 2)).transpose(1, 2)


def read_captions(story: Story, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> Tensor:
    """Token ids (6, 64) of captions of a story's last scene; every second one of a turn names the change."""
    before, after = story[0][0], story[-1][0]
    texts = [
        turn_caption(before, after, rng) if len(story) > 1 and i % 2 else caption(after, rng)
        for i in range(CAPTIONS)
    ]
    rows = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT_LEN, return_tensors="pt")
    return rows["input_ids"]


class WindowPool:
    """Encoded windows of each layout, drawn as the training goes; the oldest make room for new ones."""

    def __init__(
        self,
        codec: Codec,
        tokenizer: PreTrainedTokenizerFast,
        *,
        windows: int,
        drawn_at_once: int,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        """Keep up to ``windows`` windows of each layout, encoded by ``codec`` on its device.

        Args:
            folder: keeps what is drawn, and is read at the start; it holds windows of one codec only.
        """
        self._codec, self._tokenizer, self._folder = codec, tokenizer, folder
        self._max_parts, self._count = max(1, windows // drawn_at_once), drawn_at_once
        self._parts: dict[WindowLayout, list[tuple[Tensor, Tensor]]] = {layout: [] for layout in LAYOUTS}
        kept = self._read() if folder is not None else 0
        self._rng = np.random.default_rng([seed, 41, kept])

    def batch(self, size: int, *, renew: bool) -> tuple[WindowLayout, Tensor, Tensor]:
        """A layout, latents (B, 12, C, H, W) and token ids (B, 64) of random windows of it.

        Args:
            size: B.
            renew: draw new windows of the layout first.
        """
        layout = LAYOUTS[int(self._rng.choice(len(LAYOUTS), p=list(LAYOUT_SHARES.values())))]
        parts = self._parts[layout]
        if renew or not parts:
            parts.append(self._draw(layout))
            self._write(layout)
            del parts[: -self._max_parts]
        latents, ids = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        rows = torch.from_numpy(self._rng.integers(len(latents), size=size)).to(latents.device)
        wording = torch.from_numpy(self._rng.integers(CAPTIONS, size=size)).to(latents.device)
        return layout, latents[rows].float(), ids[rows, wording]

    def _read(self) -> int:
        """Take the newest windows of the folder; how many files it holds."""
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        for number, layout in enumerate(LAYOUTS):
            for path in sorted(self._folder.glob(f"layout-{number}-*.safetensors"))[-self._max_parts :]:
                part = load_file(path, device=str(self._codec.mean.device))
                self._parts[layout].append((part["latents"], part["ids"]))
        return len(list(self._folder.glob("layout-*.safetensors")))

    def _write(self, layout: WindowLayout) -> None:
        """Keep the newest windows of a layout in the folder, if there is one."""
        if self._folder is None:
            return
        latents, ids = self._parts[layout][-1]
        number = LAYOUTS.index(layout)
        count = len(list(self._folder.glob(f"layout-{number}-*.safetensors")))
        with atomic_write(self._folder / f"layout-{number}-{count:05d}.safetensors") as part:
            save_file({"latents": latents.contiguous(), "ids": ids.contiguous()}, part)

    def _draw(self, layout: WindowLayout) -> tuple[Tensor, Tensor]:
        """Half-precision latents (count, 12, C, H, W) and token ids (count, 6, 64)."""
        stories, chosen = random_stories(layout, self._count, self._rng)
        device = self._codec.mean.device
        numbers = torch.tensor(chosen, device=device).expand(len(stories), -1)
        pictures = draw_timeline(build_timeline(stories, device), chosen=numbers)
        with torch.autocast(device.type, torch.bfloat16):
            latents = encode_windows(self._codec, pictures, layout)
        ids = torch.stack([read_captions(story, self._tokenizer, self._rng) for story in stories])
        return latents.half(), ids.to(device)


class WindowStage(StorybookStage):
    """Teacher forcing on windows, all of a batch with the same layout."""

    def __init__(
        self, model: StorybookModel, learner: Learner, run: RunOptions, pool: WindowPool, *, renew_every: int
    ) -> None:
        """Train ``model`` on batches of ``pool``, into which new windows come every ``renew_every`` steps."""
        self.model, self.learners = model, {"generator": learner}
        self._run, self._pool, self._renew_every = run, pool, renew_every
        self._schedule = FlowSchedule.of(third_edition_config())

    def train(self, step: int) -> dict[str, float]:
        """The loss of one batch."""
        rng = torch.Generator().manual_seed(self._run.seed * 1_000_003 + step)
        is_new = step % self._renew_every == 0
        layout, latents, ids = self._pool.batch(self._run.micro_batch, renew=is_new)
        with torch.autocast(latents.device.type, torch.bfloat16):
            loss = window_loss(self.model, latents, ids, layout, self._schedule, rng)
        loss.backward()
        return {"loss": loss.item()}


def train_generator(options: argparse.Namespace, processes: Processes) -> None:
    """Train by the command line's options and write the averaged weights."""
    torch.manual_seed(options.seed)
    folder, device = options.folder, processes.device
    tokenizer = tokenizer_of(folder, seed=options.seed)
    model = StorybookModel(third_edition_config(), len(tokenizer)).to(device).train()
    run = RunOptions(
        steps=options.steps,
        seed=options.seed,
        global_batch=options.batch,
        micro_batch=options.batch,
        log_every=min(50, options.save_every),
        save_every=options.save_every,
    )
    learning = LearnerOptions(optimizer="muon", lr=options.lr, clip=1.0, warm_up=40, decay=0.45, ema=0.995)
    learner = Learner(model, learning, run, processes)
    codec = read_codec(folder, device)
    pool = WindowPool(
        codec,
        tokenizer,
        windows=options.pool,
        drawn_at_once=options.draw,
        seed=options.seed,
        folder=folder / "windows" if options.windows_on_disk else None,
    )
    stage = WindowStage(model, learner, run, pool, renew_every=options.renew_every)
    new_trainer(stage, "generator", folder, run, processes).run()
    with learner.averaged():
        state = {name: value.detach().cpu().half() for name, value in model.named_parameters()}
    save_file(state, folder / "generator.safetensors")


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--pool", type=int, default=2048, help="windows of each layout kept on the device")
    parser.add_argument("--draw", type=int, default=16, help="windows drawn at a time")
    parser.add_argument("--renew-every", type=int, default=4, help="steps from one drawing to the next")
    parser.add_argument("--windows-on-disk", action="store_true", help="keep windows in FOLDER/windows")
    parser.add_argument("--save-every", type=int, default=500, help="steps from checkpoint to checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train_generator(parse_options(), one_process())
