"""The weather: what it changes, where, and that it repeats."""

import torch

from longlive.storybook.world.drawing import HEIGHT, SETTINGS, WIDTH, Scene, draw_story
from longlive.storybook.world.oracle import read
from longlive.storybook.world.weather import PERIODS, WEATHERS, add_weather, tinted
from tests.storybook.world.test_drawing import rng


def sky(weather: str, num_frames: int) -> torch.Tensor:
    pictures = torch.full((num_frames, 3, HEIGHT, WIDTH), 0.4)
    amounts = torch.eye(len(WEATHERS))[[WEATHERS.index(weather)] * num_frames]
    add_weather(pictures, amounts)
    return pictures


def test_fine_weather_changes_nothing():
    assert torch.equal(sky("clear", 3), torch.full((3, 3, HEIGHT, WIDTH), 0.4))


def test_drops_and_flakes_fall_and_come_again_after_a_period():
    for weather, period in PERIODS.items():
        pictures = sky(weather, period + 1)
        assert torch.equal(pictures[0], pictures[period])
        assert all(not torch.equal(pictures[0], pictures[k]) for k in range(1, period))
        covered = (pictures - tinted(torch.full((3, HEIGHT, WIDTH), 0.4), weather)).abs().sum(1) > 0.05
        assert 0.002 < covered.float().mean() < 0.1, "few and large"


def test_a_half_faded_weather_is_half_as_strong():
    pictures = torch.full((1, 3, HEIGHT, WIDTH), 0.4)
    add_weather(pictures, torch.tensor([[0.5, 0.5, 0.0]]))
    light = tinted(torch.full((3, HEIGHT, WIDTH), 0.4), "rain")
    assert torch.allclose(pictures.median(), (light.median() + 0.4) / 2, atol=0.02)


def test_the_oracle_reads_the_weather_in_every_setting():
    for setting in SETTINGS:
        for weather in WEATHERS:
            scene = Scene(setting, "ball", "red", "jump", weather)
            assert read(draw_story([(scene, 36)], rng())).attributes == scene.attributes


def test_light_without_drops_is_no_weather():
    pictures = draw_story([(Scene("meadow", "ball", "red", "stand", "rain"), 30)], rng())
    assert read(pictures[:1].repeat(30, 1, 1, 1)).weather == ""
