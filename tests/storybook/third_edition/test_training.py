"""Both trainings, from the command line's options to weights, at a tiny size; and that they resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from longlive.storybook.third_edition import clip_pool, codec_training, generator_training
from longlive.storybook.third_edition.clip_pool import LONG_FRAMES, MAX_LEAD, ClipPool
from longlive.storybook.third_edition.codec_evaluation import evaluate_codec, picture_scores
from longlive.storybook.third_edition.generator import LAYOUT_SHARES, WindowLayout
from longlive.storybook.third_edition.vocabulary import tokenizer_of
from longlive.storybook.third_edition.world.drawing import draw_stories
from longlive.storybook.third_edition.world.scene import Scene
from longlive.training.processes import Processes


def train_codec(folder: Path, steps: int, *more: str) -> None:
    options = ["--folder", str(folder), "--steps", str(steps), "--batch", "1", "--pool", "2", "--draw", "2"]
    options += ["--height", "80", "--evaluation-clips", "0", *more]
    codec_training.train_codec(codec_training.parse_options(options), Processes())


@pytest.mark.slow
def test_the_codec_trains_and_resumes_then_the_generator_does(tmp_path: Path) -> None:
    train_codec(tmp_path, 1)
    train_codec(tmp_path, 2)
    steps = [json.loads(line)["step"] for line in (tmp_path / "codec/log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    codec = codec_training.read_codec(tmp_path, torch.device("cpu"))
    assert codec.std > 0 and codec.mean.abs().max() > 0
    tokenizer = tokenizer_of(tmp_path, num_captions=300, vocab_size=250)
    options = ["--folder", str(tmp_path), "--batch", "2", "--draw", "1", "--windows-on-disk"]
    for steps in ("1", "2"):
        parsed = generator_training.parse_options([*options, "--steps", steps, "--renew-every", "1"])
        generator_training.train_generator(parsed, Processes())
    assert len(list((tmp_path / "windows").iterdir())) == 2
    pool = generator_training.WindowPool(
        codec, tokenizer, windows=9, drawn_at_once=1, seed=0, folder=tmp_path / "windows"
    )
    kept = {layout: len(parts) for layout, parts in pool._parts.items() if parts}
    assert sum(kept.values()) == 2, "what was drawn before"
    state = load_file(tmp_path / "generator.safetensors")
    assert state["text_encoder.shared.weight"].shape[0] == len(tokenizer)
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.slow
def test_on_most_steps_the_tiny_decoder_learns_alone_if_so_wished(tmp_path: Path) -> None:
    train_codec(tmp_path / "start", 1)
    before = load_file(tmp_path / "start/codec.safetensors")
    more = ["--start-from", str(tmp_path / "start"), "--encoder-every", "3", "--pool-on-disk"]
    more += ["--evaluate-every", "2", "--curve-clips", "1", "--ema", "0"]
    train_codec(tmp_path / "on", 1, *more)
    first = load_file(tmp_path / "on/codec.safetensors")
    train_codec(tmp_path / "on", 3, *more)
    then = load_file(tmp_path / "on/codec.safetensors")
    learnt = {name.split(".")[0] for name, value in then.items() if not torch.equal(value, first[name])}
    assert learnt - {"mean", "std"} == {"tiny"}
    assert all(not torch.equal(first[name], before[name]) for name in ("wan.quant_conv.weight",))
    lines = (tmp_path / "on/curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2]
    assert json.loads((tmp_path / "on/clips.json").read_text())["filled"] == 2


def test_a_pool_on_disk_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def pool(clips: int = 3) -> ClipPool:
        return ClipPool(clips, 1, (80, 128), torch.device("cpu"), 0, folder=tmp_path)

    first = pool()
    first.renew()
    first.renew()
    again = pool()
    assert again.filled == 2 and torch.equal(again._clips[:2], first._clips[:2])
    again.renew()
    assert again.filled == 3 and not torch.equal(again._clips[2], again._clips[0])
    assert pool(4).filled == 0, "another shape"


def test_clips_begin_anywhere_in_a_story_and_each_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = Scene("forest", "cat", "orange", "right")
    monkeypatch.setattr(clip_pool, "random_story", lambda num_frames, rng: [(walk, num_frames)])
    pool = ClipPool(3, 1, (80, 128), torch.device("cpu"), 0)
    for _ in range(3):
        pool.renew()
    parts = list(pool.each_once(2))
    assert [len(part) for part in parts] == [2, 1]
    clips = torch.cat(parts)
    whole = draw_stories([[(walk, MAX_LEAD + LONG_FRAMES)]], size=(80, 128)).transpose(1, 2) * 2 - 1
    first = [int((whole - clip[:, :1]).abs().mean((0, 1, 3, 4)).argmin()) for clip in clips]
    assert len(set(first)) == 3 and max(first) > LONG_FRAMES
    for clip, start in zip(clips, first, strict=True):
        torch.testing.assert_close(clip, whole[0, :, start : start + LONG_FRAMES], atol=0.01, rtol=0)


def test_the_evaluation_scores_a_codec_on_fresh_clips() -> None:
    codec = codec_training.Codec().eval()
    scores = evaluate_codec(codec, 9, 2, (80, 128))
    assert set(scores) == {
        f"{decoder}_{name}"
        for decoder in ("wan", "tiny")
        for name in ("psnr", "psnr_at_edges", "edge_energy", "psnr_standard_error")
    }
    alone = evaluate_codec(codec, 9, 1, (80, 128))
    assert "wan_psnr_standard_error" not in alone and scores["wan_psnr_standard_error"] == pytest.approx(
        abs(scores["wan_psnr"] - alone["wan_psnr"]), abs=2e-4
    ), "of two values, half their difference"
    assert all(1 < scores[f"{decoder}_psnr"] < 20 for decoder in ("wan", "tiny")), "untrained"
    truth = torch.rand(1, 3, 1, 8, 8) * 2 - 1
    assert picture_scores(truth, truth)["edge_energy"] == 1


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
