"""Train the third edition's codec, on a GPU if there is one, on pictures that are drawn as it trains.

    python -m longlive.storybook.third_edition.codec_training --folder runs/third --steps 10000

Resumes from the newest checkpoint in ``FOLDER/codec``. At the end the averaged weights are written to
``FOLDER/codec.safetensors`` in half precision, and ``FOLDER/codec.json`` holds the evaluation.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longlive.storybook.codec import ADAM_NAMES, psnr_of, use_plain_norm
from longlive.storybook.third_edition.clip_pool import FRAMES, LONG_FRAMES, ClipPool
from longlive.storybook.third_edition.codec import Codec, picture_loss, pixel_weights
from longlive.storybook.third_edition.codec_evaluation import CurveLog, evaluate_codec
from longlive.storybook.third_edition.world.drawing import SIZE
from longlive.storybook.workers import StorybookStage, new_trainer
from longlive.training.learner import Learner
from longlive.training.processes import Processes
from longlive.training.recipe import LearnerOptions, RunOptions

LONG_SHARE = 0.28
"""Share of the steps, at the end, that train on clips of ``LONG_FRAMES`` pictures."""
LATENT_NOISE = 0.06
TINY_SHARE = 0.6
FADE_IN_STEPS = 20
"""First steps of a run, or after it resumes, in which the latents' statistics follow quickly."""


@dataclass(frozen=True)
class Cadence:
    """How often parts of the codec learn, in steps; on the steps between, the rest goes on at less cost.

    Attributes:
        encoder: the encoder and the Wan decoder learn every so many steps; the tiny decoder learns at each.
        renew: new clips are drawn every so many steps.
        evaluate: fresh clips are scored every so many steps; 0 for never.
    """

    encoder: int = 1
    renew: int = 4
    evaluate: int = 0


class CodecStage(StorybookStage):
    """Reconstruction of drawn pictures by both decoders, from the latents of one encoder."""

    def __init__(
        self,
        codec: Codec,
        learner: Learner,
        run: RunOptions,
        pool: ClipPool,
        cadence: Cadence,
        curve: CurveLog,
    ) -> None:
        """Train ``codec`` on batches of ``pool``; ``curve`` takes the scores on fresh clips."""
        self.codec, self.learners = codec, {"codec": learner}
        self._run, self._pool, self._cadence, self._curve = run, pool, cadence, curve
        self._num_batches = 0

    def train(self, step: int) -> dict[str, float]:
        """Loss and PSNR in dB of both decoders, and the root mean square of the latents, of one batch."""
        self._evaluate(step)
        codec, pictures = self.codec, self._pictures(step)
        is_whole = step % self._cadence.encoder == 0
        weight = pixel_weights(pictures)
        with torch.autocast(pictures.device.type, torch.bfloat16):
            with torch.set_grad_enabled(is_whole):
                latents = codec.encode(pictures)
            codec.update_statistics(latents, 0.5 if self._num_batches < FADE_IN_STEPS else 0.02)
            normal = codec.normalise(latents)
            normal = normal + LATENT_NOISE * torch.randn_like(normal)
            tiny = codec.decode_tiny(normal)
            decoded = codec.decode(normal) if is_whole else None
        tiny_loss, tiny_square = picture_loss(tiny, pictures, weight)
        self._num_batches += 1
        values = {"tiny_loss": tiny_loss.item(), "tiny_psnr": psnr_of(tiny_square.item() / 4)}
        total = TINY_SHARE * tiny_loss
        if decoded is not None:
            loss, square = picture_loss(decoded, pictures, weight)
            scale = latents.float().square().mean()
            total = total + loss + 1e-2 * scale.log().square()
            values |= {"loss": loss.item(), "psnr": psnr_of(square.item() / 4)}
            values["latents_rms"] = math.sqrt(scale.item())
        total.backward()
        return values

    def _evaluate(self, step: int) -> None:
        """Score the averaged weights on fresh clips, if it is time."""
        if self._cadence.evaluate and self._num_batches and step % self._cadence.evaluate == 0:
            with self.learners["codec"].averaged():
                self._curve.add(step, self.codec)

    def _pictures(self, step: int) -> Tensor:
        if step % self._cadence.renew == 0:
            self._pool.renew()
        is_late = step >= (1 - LONG_SHARE) * self._run.steps
        frames = LONG_FRAMES if is_late else FRAMES
        return self._pool.batch(max(1, self._run.micro_batch * FRAMES // frames), frames)


def train_codec(options: argparse.Namespace, processes: Processes) -> None:
    """Train by the command line's options, write the weights and evaluate them."""
    torch.manual_seed(options.seed)
    torch.backends.cudnn.benchmark = True
    codec = (Codec() if options.start_from is None else read_codec(options.start_from, processes.device)).to(
        processes.device
    )
    codec.train().requires_grad_(True)
    use_plain_norm(codec.wan)
    use_channels_last(codec)
    run = RunOptions(
        steps=options.steps,
        seed=options.seed,
        global_batch=options.batch,
        micro_batch=options.batch,
        log_every=min(50, options.save_every),
        save_every=options.save_every,
    )
    learning = LearnerOptions(
        optimizer="muon", lr=options.lr, weight_decay=0.0, clip=1.0, warm_up=40, decay=0.45, ema=options.ema
    )
    learner = Learner(codec, learning, run, processes, adam_names=ADAM_NAMES)
    size = (options.height, options.height * SIZE[1] // SIZE[0])
    pool_folder = options.folder if options.pool_on_disk else None
    pool = ClipPool(options.pool, options.draw, size, processes.device, options.seed, folder=pool_folder)
    cadence = Cadence(options.encoder_every, options.renew_every, options.evaluate_every)
    curve = CurveLog(options.folder / "curve.jsonl", options.curve_clips, size)
    stage = CodecStage(codec, learner, run, pool, cadence, curve)
    new_trainer(stage, "codec", options.folder, run, processes).run()
    with learner.averaged():
        _write_and_evaluate(codec, pool, options, size)


def _write_and_evaluate(
    codec: Codec, pool: ClipPool, options: argparse.Namespace, size: tuple[int, int]
) -> None:
    """Write ``codec.safetensors`` and ``codec.json`` of the averaged weights."""
    codec.eval()
    codec.measure_statistics(pool.each_once(max(1, options.batch // 2)))
    write_codec(codec, options.folder)
    clips = options.evaluation_clips
    lengths = ((FRAMES, clips), (81, clips), (321, -(-clips // 2)))
    scores = {f"{length} pictures": evaluate_codec(codec, length, count, size) for length, count in lengths}
    (options.folder / "codec.json").write_text(json.dumps(scores, indent=1))


@torch.no_grad()
def use_channels_last(module: nn.Module) -> None:
    """Lay out the weights of convolutions with the channels last, which is faster in bfloat16."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv3d | nn.Conv2d):
            is_flat = isinstance(layer, nn.Conv2d)
            layout = torch.channels_last if is_flat else torch.channels_last_3d
            layer.weight.data = layer.weight.data.contiguous(memory_format=layout)


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
    parser.add_argument("--pool", type=int, default=768, help="clips kept")
    parser.add_argument("--draw", type=int, default=24, help="clips drawn at a time")
    parser.add_argument("--pool-on-disk", action="store_true", help="keep the clips in FOLDER/clips.bin")
    parser.add_argument("--renew-every", type=int, default=4, help="steps from one drawing to the next")
    parser.add_argument(
        "--encoder-every", type=int, default=1, help="steps; between, only the tiny decoder learns"
    )
    parser.add_argument("--evaluate-every", type=int, default=0, help="steps, into FOLDER/curve.jsonl")
    parser.add_argument("--curve-clips", type=int, default=8, help="fresh clips that are scored then")
    parser.add_argument("--save-every", type=int, default=500, help="steps from checkpoint to checkpoint")
    parser.add_argument("--start-from", type=Path, help="folder of the codec.safetensors to begin with")
    parser.add_argument("--ema", type=float, default=0.995, help="decay of the averaged weights")
    parser.add_argument("--height", type=int, default=SIZE[0], help="of the pictures; a multiple of 80")
    parser.add_argument("--evaluation-clips", type=int, default=18)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    train_codec(parse_options(), one_process())
