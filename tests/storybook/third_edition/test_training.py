"""Both trainings, from the command line's options to weights, at a tiny size; and that they resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longlive.storybook.third_edition import codec_training, generator_training
from longlive.storybook.third_edition.generator import LAYOUT_SHARES, WindowLayout
from longlive.storybook.third_edition.vocabulary import tokenizer_of
from longlive.training.processes import Processes


def train_codec(folder: Path, steps: int) -> None:
    options = ["--folder", str(folder), "--steps", str(steps), "--batch", "1", "--pool", "2", "--draw", "2"]
    options += ["--height", "80", "--evaluation-clips", "0"]
    codec_training.train_codec(codec_training.parse_options(options), Processes())


def test_the_codec_trains_and_resumes_then_the_generator_does(tmp_path: Path) -> None:
    train_codec(tmp_path, 1)
    train_codec(tmp_path, 2)
    steps = [json.loads(line)["step"] for line in (tmp_path / "codec/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    codec = codec_training.read_codec(tmp_path, torch.device("cpu"))
    assert codec.std > 0 and codec.mean.abs().max() > 0
    tokenizer = tokenizer_of(tmp_path, num_captions=300, vocab_size=250)
    options = ["--folder", str(tmp_path), "--steps", "1", "--batch", "2", "--draw", "1"]
    generator_training.train_generator(generator_training.parse_options(options), Processes())
    state = load_file(tmp_path / "generator.safetensors")
    assert state["text_encoder.shared.weight"].shape[0] == len(tokenizer)
    assert all(value.isfinite().all() for value in state.values())


def test_the_evaluation_scores_a_codec_on_fresh_clips() -> None:
    codec = codec_training.Codec().eval()
    scores = codec_training.evaluate_codec(codec, 9, 1, (80, 128))
    assert set(scores) == {
        f"{decoder}_{name}"
        for decoder in ("wan", "tiny")
        for name in ("psnr", "psnr_at_edges", "edge_energy")
    }
    assert all(1 < scores[f"{decoder}_psnr"] < 20 for decoder in ("wan", "tiny")), "untrained"
    truth = torch.rand(1, 3, 1, 8, 8) * 2 - 1
    assert codec_training.picture_scores(truth, truth)["edge_energy"] == 1


@pytest.mark.parametrize("layout", list(LAYOUT_SHARES))
def test_windows_show_the_first_chunk_and_the_newest(layout: WindowLayout) -> None:
    stories, chosen = generator_training.random_stories(layout, 3, np.random.default_rng(layout.turn))
    total = sum(length for _, length in stories[0])
    assert chosen[:9] == list(range(9)) and chosen[-36:] == list(range(total - 36, total))
    assert [len(story) for story in stories] == [2 if layout.turn else 1] * 3
    num_latents = (len(chosen) - 9 - 1) // 4 + 1 + 3 if layout.is_late else (len(chosen) - 1) // 4 + 1
    assert num_latents == 12 + (1 + generator_training.ENCODER_WARM_UP if layout.is_late else 0)
    if layout.turn > 1:
        last = total // 12
        assert stories[0][0][1] == 12 * (last - 3 + layout.turn) - 3
