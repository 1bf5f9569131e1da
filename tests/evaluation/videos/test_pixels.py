"""The stand-ins part good clips from shuffled, mixed, frozen, noisy and jittered ones."""

import pytest
import torch

from longlive.evaluation.experiments.standins import BETTER, judge_standins
from longlive.evaluation.videos.broken_clips import BREAKS, KINDS, drawn_clip, textured_clip
from longlive.evaluation.videos.pixels import NAMES, describe, pixel_scores, shrink


@pytest.mark.slow
def test_every_defect_is_seen_on_both_kinds_of_clips() -> None:
    """With fewer clips than the published figures; chance is 50, the ceiling 100."""
    result = judge_standins(num_clips=2, seed=7, num_workers=1)
    assert [kind["kind"] for kind in result["kinds"]] == list(KINDS)
    for kind in result["kinds"]:
        assert list(kind["defects"]) == [*BREAKS, "mixed, by the network"] and list(BREAKS) == list(BETTER)
        for defect, found in kind["defects"].items():
            least = 50 if defect.startswith("mixed") else 99  # two scenes of one setting can be alike
            assert found["paired"]["value"] >= least, (kind["kind"], defect)
            assert found["unpaired"]["value"] >= 50, (kind["kind"], defect)
        good, mixed = (kind["scores"][name]["pixel_consistency"]["value"] for name in ("good", "mixed"))
        assert good > mixed
        assert kind["scores"]["frozen"]["pixel_motion"]["value"] == pytest.approx(0, abs=1e-3)
        assert set(kind["scores"]["good"]) == {*NAMES, "network_consistency"}


def test_the_same_clip_has_the_same_scores_again() -> None:
    assert pixel_scores(textured_clip(4)[:8], 16) == pixel_scores(textured_clip(4)[:8], 16)


def test_scores_do_not_depend_on_the_size_of_a_picture() -> None:
    clip = textured_clip(1)[:8]
    large = clip.repeat_interleave(3, -1).repeat_interleave(3, -2)
    small, same = pixel_scores(clip, 16), pixel_scores(large, 16)
    assert small == pytest.approx(same, rel=1e-3)
    assert max(shrink(large).shape[-2:]) == 128


def test_pictures_of_one_colour_are_smooth_and_do_not_move() -> None:
    scores = pixel_scores(torch.full((4, 3, 24, 32), 90, dtype=torch.uint8), 8)
    assert scores["pixel_smoothness"] == 100 and scores["pixel_motion"] == scores["pixel_flicker"] == 0


def test_similarity_is_highest_for_the_same_picture() -> None:
    one, other = (describe(shrink(clip[:2])) for clip in (drawn_clip(0), drawn_clip(1)))
    assert one.similarity(one).tolist() == pytest.approx([100, 100], abs=1e-3)
    assert float(one.similarity(other).max()) < 90
    assert float(one.mean().similarity(one).min()) > 99


def test_a_flash_is_flicker() -> None:
    clip = textured_clip(2)[:6].clone()
    steady = pixel_scores(clip, 16)["pixel_flicker"]
    clip[3] = (clip[3].float() * 0.7).to(torch.uint8)
    assert pixel_scores(clip, 16)["pixel_flicker"] > 2 * steady
