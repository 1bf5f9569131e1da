"""The trials are the same for the same seed, and change what they say."""

from longlive.evaluation.trials import (
    changed_attributes,
    draw_single_scenes,
    draw_switches,
    draw_trials,
)
from longlive.storybook.world.drawing import is_held_out


def test_a_fifth_of_the_prompts_asks_for_unseen_combinations():
    trials = draw_trials(50, 0)
    assert sum(is_held_out(trial.scene) for trial in trials) == 10
    assert all(trial.scene.action != trial.turned.action for trial in trials)
    assert draw_trials(50, 0) == trials and draw_trials(50, 1) != trials


def test_every_trial_switches_the_action_and_two_fifths_the_setting_or_colour() -> None:
    trials = draw_switches(25, 0)
    kinds = [changed_attributes(trial) for trial in trials]
    assert all("action" in kind for kind in kinds)
    assert [kinds.count(k) for k in (("action",), ("setting", "action"), ("colour", "action"))] == [15, 5, 5]
    assert draw_switches(25, 0) == trials and draw_switches(25, 1) != trials


def test_more_scenes_begin_with_the_same_ones_and_another_seed_gives_others() -> None:
    assert draw_single_scenes(3, 0) == draw_single_scenes(5, 0)[:3]
    assert draw_single_scenes(1, 1) != draw_single_scenes(1, 0)
