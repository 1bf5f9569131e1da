"""Table 2: segments under their prompts, by CLIP or by the oracle; two runs give the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from longlive import load_models
from longlive.cli import main
from longlive.errors import ConfigError, MediaError
from longlive.evaluation.experiments.interactive import (
    StoryTask,
    drawn_stories,
    draws_storybook,
    measure_stories,
    read_stories,
)
from longlive.evaluation.trials import ATTRIBUTES
from longlive.storybook.world.drawing import draw_story
from tests.support.paths import ROOT
from tests.support.tiny_clip import write_tiny_clip

SET = ROOT / "assets/prompts/interactive_160x6.jsonl"


def test_drawn_stories_change_the_action_at_every_prompt() -> None:
    stories = drawn_stories(5, 1, 6)
    assert stories == drawn_stories(5, 1, 6) != drawn_stories(5, 2, 6)
    changed = set()
    for story in stories:
        assert len(story.prompts) == len(story.scenes) == 6
        for before, after in zip(story.scenes, story.scenes[1:], strict=False):
            assert before.action != after.action and before.shape == after.shape
            changed |= {name for name in ATTRIBUTES if getattr(before, name) != getattr(after, name)}
    assert changed == {"action", "setting", "colour"}


def test_the_open_set_is_read_and_what_is_wrong_with_another_is_said(tmp_path: Path) -> None:
    stories = read_stories(SET, 160, 0, 6)
    assert len(stories) == 160 and {len(story.prompts) for story in stories} == {6}
    assert [len(story.prompts) for story in read_stories(SET, 2, 0, 1)] == [1, 1]
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"prompts": ["a\u2028b", "c"]}\r{"prompt": "d", "next": "e"}', encoding="utf-16")
    assert [story.prompts for story in read_stories(odd, 2, 0, 2)] == [("a\u2028b", "c"), ("d", "e")]
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompts": ["a", "b"]}\n')
    for path, count, number in (
        (SET, 161, 6),
        (few, 1, 6),
        (tmp_path / "gone", 1, 1),
        (ROOT / "LICENSE", 1, 1),
    ):
        with pytest.raises(ConfigError, match="--stories"):
            read_stories(path, count, 0, number)


@pytest.mark.slow
def test_the_oracle_takes_clips_place_and_a_drawn_video_would_get_the_ceiling(
    noise_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, stories = {"m": load_models(noise_folder)}, drawn_stories(2, 0, 2)
    assert draws_storybook(models["m"])

    def drawn(models: object, task: StoryTask) -> tuple[torch.Tensor, None]:
        scenes = [(scene, 48) for scene in task.story.scenes]
        return draw_story(scenes, np.random.default_rng(3)), None

    options = {"segment_s": 3.0, "clip": None, "videos": None, "num_workers": 1}
    first, last = measure_stories(models, {"m": stories}, **options)
    assert (first["runs"][0]["stories"], last["runs"][0]["stories"]) == (1, 2)
    noise = last["runs"][0]
    monkeypatch.setattr("longlive.evaluation.experiments.interactive._generate", drawn)
    *_, last = measure_stories(models, {"m": stories}, **options)
    truth = last["runs"][0]
    assert truth["scored_by"] == noise["scored_by"] == "oracle"
    assert truth["mean_oracle_score"]["value"] > 90 > noise["mean_oracle_score"]["value"]
    assert truth["mean_chance_oracle_score"]["value"] < 60
    assert [segment["segment"] for segment in truth["segments"]] == [1, 2]
    assert truth["segments"][0]["oracle_score"]["n"] == truth["pixel_motion"]["n"] == 2


@pytest.mark.slow
def test_table_2_runs_with_a_tiny_clip_and_gives_the_same_numbers_again(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stories = tmp_path / "stories.jsonl"
    lines = [
        {
            "prompts": [
                f"a {colour} {action}" for action in ("ball", "cube", "star", "meadow", "ball spins", "x")
            ]
        }
        for colour in ("red", "blue")
    ]
    stories.write_text("\n".join(map(json.dumps, lines)))
    words = ["--models", f"tiny={tiny_folder}", "--prompts", "2", "--seconds", "3", "--workers", "1"]
    words += ["--stories", str(stories), "--clip", str(write_tiny_clip(tmp_path / "clip")), "--json"]
    found = []
    for number in range(2):
        videos = tmp_path / f"videos{number}"
        assert main(["evaluate", "table2", *words, "--videos", str(videos)]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
        assert [path.name for path in sorted(videos.iterdir())] == ["tiny_000.mp4", "tiny_001.mp4"]
    first, second = (one["result"] for one in found)
    assert first == second
    (run,) = first["runs"]
    assert run["scored_by"] == "clip" and run["stories"] == 2 and len(run["segments"]) == 6
    assert -100 < run["mean_clip_score"]["ci_low"] <= run["mean_clip_score"]["ci_high"] < 100
    assert first["clip_model"]["picture_size"] == 32 and len(first["clip_model"]["weights_sha256"]) == 64
    assert {"clip_score", "clip_pictures", "clip_prompts", "segments"} <= set(found[0]["definitions"])


def test_a_full_disk_costs_the_videos_and_not_the_scores(
    noise_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise MediaError(f"the video {path.name} cannot be written: no space left")

    monkeypatch.setattr("longlive.evaluation.experiments.interactive.write_video", full)
    words = ["--models", f"m={noise_folder}", "--prompts", "1", "--seconds", "3", "--workers", "1"]
    assert main(["evaluate", "table3", *words, "--videos", str(tmp_path), "--json"]) == 1
    told = capsys.readouterr()
    (run,) = json.loads(told.out.splitlines()[-1])["result"]["runs"]
    assert run["mean_oracle_score"]["n"] == 1
    assert run["videos_not_kept"] == ["the video m_000.mp4 cannot be written: no space left"]
    assert "no space left" in told.err


def test_table_3_has_one_prompt_and_prints_a_table(
    noise_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--models", f"m={noise_folder}", "--prompts", "1", "--seconds", "4", "--workers", "1"]
    assert main(["evaluate", "table3", *words]) == 0
    text = capsys.readouterr().out
    assert "segment 1, oracle_score" in text and "segment 2" not in text and "pixel_consistency" in text


def test_a_clip_model_that_is_missing_is_said_before_anything_is_made(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "longlive.evaluation.experiments.interactive.measure_stories", lambda *_, **__: pytest.fail("made")
    )
    words = ["--models", f"m={tiny_folder}", "--prompts", "1", "--clip", str(tmp_path)]
    assert main(["evaluate", "table2", *words]) == 2
    assert "cannot be had" in capsys.readouterr().err
