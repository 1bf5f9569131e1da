"""The picture-book world: its pictures show what its scenes say."""

import numpy as np
import pytest
import torch

from longlive.storybook.world.drawing import (
    ACTIONS,
    COLOURS,
    FADE_FRAMES,
    SETTINGS,
    SHAPES,
    WALK_SPEED,
    WIDTH,
    Scene,
    backdrop_of,
    draw_story,
    is_held_out,
    move,
    random_scene,
    story_motion,
    subject_cells,
)

BALL = Scene("meadow", "ball", "red", "stand")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_world_is_as_rich_as_promised():
    assert len(SETTINGS) >= 4 and len(COLOURS) >= 5 and len(SHAPES) >= 3 and len(ACTIONS) >= 6


def test_the_same_story_is_drawn_twice_alike():
    assert torch.equal(draw_story([(BALL, 12)], rng(3)), draw_story([(BALL, 12)], rng(3)))


def test_a_standing_subject_does_not_move():
    pictures = draw_story([(BALL, 12)], rng())
    assert torch.equal(pictures[0], pictures[-1])


def test_every_setting_looks_different():
    looks = [backdrop_of(Scene(s, "ball", "red", "stand")) for s in SETTINGS]
    for i, look in enumerate(looks):
        assert all((look - other).abs().mean() > 0.01 for other in looks[:i])


@pytest.mark.parametrize(("action", "sign"), [("left", -1), ("right", 1)])
def test_walking_goes_round_the_world_at_the_walking_speed(action: str, sign: int):
    x = move([(action, 200)], 40.0).x
    steps = (np.diff(x) + WIDTH / 2) % WIDTH - WIDTH / 2
    assert np.allclose(steps, sign * WALK_SPEED, atol=1e-3)
    assert x.min() >= 0 and x.max() < WIDTH


def test_place_turn_and_size_carry_over_from_scene_to_scene():
    one, two = move([("right", 30)], 40.0), move([("right", 30), ("spin", 10)], 40.0)
    assert np.allclose(two.x[:30], one.x)
    assert abs(two.x[30] - one.x[-1]) < 1e-6
    assert np.abs(np.diff(move([("pulse", 30), ("stand", 20)], 40.0).size)).max() < 0.13


def test_a_spin_ends_upright_when_another_action_begins():
    angle = move([("spin", 31), ("stand", 30)], 40.0).angle
    assert angle[30] > 0.5 and angle[-1] == 0


def test_a_new_setting_fades_in():
    other = Scene("night", "ball", "red", "stand")
    pictures = draw_story([(BALL, 9), (other, 24)], rng(), start_x=48.0).float()
    before, after = pictures[8], pictures[-1]
    halfway = pictures[9 + FADE_FRAMES // 2 - 1]
    assert (halfway - (before + after) / 2).abs().max() < 3
    assert torch.equal(pictures[9 + FADE_FRAMES], after)


def test_subject_cells_cover_where_the_subject_is_and_little_else():
    parts = [(Scene("snow", "star", "blue", "right"), 40)]
    pictures = draw_story(parts, rng(), start_x=80.0).float() / 255
    different = (pictures - backdrop_of(parts[0][0])).abs().sum(1) > 0.6
    cells = torch.from_numpy(subject_cells(story_motion(parts, 80.0)))
    touched = different.unflatten(1, (10, 8)).unflatten(3, (16, 8)).any(4).any(2)
    assert (touched & ~cells).sum() <= 0.02 * touched.sum()
    assert cells.float().mean() < 0.4


def test_a_tenth_of_the_combinations_is_held_out_and_never_drawn_for_training():
    scenes = [Scene(s, h, c, a) for s in SETTINGS for h in SHAPES for c in COLOURS for a in ACTIONS]
    assert 0.05 < np.mean([is_held_out(scene) for scene in scenes]) < 0.15
    for values, index in ((SETTINGS, 0), (SHAPES, 1), (COLOURS, 2), (ACTIONS, 3)):
        trained = {scene.attributes[index] for scene in scenes if not is_held_out(scene)}
        assert trained == set(values), "every word must be learnt from something"
    source = rng(1)
    assert not any(is_held_out(random_scene(source)) for _ in range(300))
    assert all(is_held_out(random_scene(source, held_out=True)) for _ in range(30))
