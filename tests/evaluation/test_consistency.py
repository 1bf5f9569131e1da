"""Scores of drawn pictures whose consistency is known."""

import dataclasses

import pytest
import torch

from longlive.evaluation.consistency import (
    CHANGE,
    SubjectConsistency,
    background_change,
    codec_changes,
    scaled,
    subject_consistency,
    take_consistency,
)
from longlive.evaluation.subject import look
from longlive.storybook.world.drawing import ACTIONS, HEIGHT, SETTINGS, backdrop_of
from tests.support.drawn_takes import MIDDLE, SCENE, draw


def across(first: torch.Tensor, later: torch.Tensor) -> SubjectConsistency:
    return subject_consistency(look(first), look(later), look(torch.cat([first[-8:], later[:16]])))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_subject_that_only_acts_keeps_everything(action: str) -> None:
    pictures = draw(dataclasses.replace(SCENE, action=action), 48)
    found = across(pictures[:24], pictures[24:])
    assert min(dataclasses.astuple(found)) > 97
    assert found.as_scores()["subject_consistency"] > 99


def test_a_jump_to_another_place_lowers_place_alone() -> None:
    found = across(draw(), draw(x=MIDDLE - 40))
    assert found.place == 0 and min(found.colour, found.shape, found.area) > 97
    assert found.as_scores()["subject_consistency"] == pytest.approx(75, abs=1)
    assert background_change(draw(), draw(x=MIDDLE - 40)) == 0


def test_another_colour_lowers_colour_alone() -> None:
    found = across(draw(), draw(dataclasses.replace(SCENE, colour="blue")))
    assert found.colour == 0 and min(found.shape, found.place, found.area) > 97


def test_another_shape_lowers_shape_and_not_place() -> None:
    found = across(draw(), draw(dataclasses.replace(SCENE, shape="star")))
    assert found.shape == 0 and min(found.colour, found.place) > 97


def test_a_subject_seen_half_of_the_time_keeps_half() -> None:
    pictures = draw()
    empty = (backdrop_of(SCENE) * 255).round().to(torch.uint8).expand(12, -1, -1, -1)
    whole, half = look(pictures), look(torch.cat([pictures[:12], empty]))
    found = subject_consistency(whole, half, whole)
    assert found.colour == pytest.approx(50, abs=1) and found.shape == 50 and found.place == 100
    assert subject_consistency(whole, whole, half).place == 50


def test_a_take_counts_jumps_between_its_pieces_and_slow_change_against_its_beginning() -> None:
    still, far = draw(num_frames=64), draw(num_frames=64, x=MIDDLE - 40)
    first = look(still)
    assert min(dataclasses.astuple(take_consistency(first, still))) > 99
    found = take_consistency(first, torch.cat([still, far]))
    assert found.place == pytest.approx(75) and found.colour > 97
    blue = draw(dataclasses.replace(SCENE, colour="blue"), 64)
    assert take_consistency(first, torch.cat([still, blue])).colour == pytest.approx(50, abs=1)


def test_another_background_lowers_background_alone() -> None:
    pictures = draw()
    tinted = pictures.clone()
    tinted[:, :, : HEIGHT // 4] = (tinted[:, :, : HEIGHT // 4].float() * 0.94).to(torch.uint8)
    assert background_change(pictures, pictures) == 0
    assert 0.02 < background_change(pictures, tinted) < 0.06
    assert min(dataclasses.astuple(across(pictures, tinted))) > 97


def test_another_setting_changes_the_background_far_more() -> None:
    others = [draw(dataclasses.replace(SCENE, setting=name)) for name in SETTINGS if name != SCENE.setting]
    assert min(background_change(draw(), other) for other in others) > 0.04


def test_a_subject_before_the_background_does_not_change_it() -> None:
    jumping = draw(dataclasses.replace(SCENE, action="jump"), 48)
    assert background_change(jumping[:16], jumping[-16:]) == 0


def test_a_background_that_is_covered_wholly_is_not_taken_for_kept() -> None:
    flooded = draw()
    flooded[:] = torch.tensor([230, 33, 41], dtype=torch.uint8)[:, None, None]
    assert background_change(draw(), flooded) > 0.1


def test_background_consistency_is_the_codecs_change_over_the_own() -> None:
    assert scaled({CHANGE: 0.004, "a": 7.0}, 0.002) == {"background_consistency": 50.0, "a": 7.0}
    assert scaled({CHANGE: 0.001}, 0.002) == scaled({CHANGE: 0.0}, 0.0) == {"background_consistency": 100.0}
    assert scaled({"a": 7.0}, 0.002) == {"a": 7.0}


def test_the_codecs_change_is_its_mean_in_each_setting() -> None:
    truth = [{CHANGE: 1.0}, {CHANGE: 3.0}, {CHANGE: 5.0}, {"other": 9.0}]
    assert codec_changes(truth, ["snow", "snow", "night", "beach"]) == {
        "snow": 2.0,
        "night": 5.0,
        "beach": 0.0,
    }
