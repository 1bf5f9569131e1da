"""Whose story a viewer was shown, read off real pictures of the picture book."""

import numpy as np
import pytest
import torch

from longlive.benchmark.loadtest.assignments import (
    MOST_ROLES,
    Look,
    Verdict,
    ViewerProfile,
    decode,
    judge,
    look,
    look_at,
    profile,
)
from longlive.chunks import FrameChunk
from longlive.media.segments import SegmentEncoder
from longlive.storybook.world.drawing import Scene, draw_story
from tests.support.fakes import draw_card

ROLES = [profile(number) for number in range(MOST_ROLES)]


def scene(own: ViewerProfile, turn: int, action: str = "jump") -> Scene:
    return Scene(own.setting, own.shape, own.colour(turn), action)


def segment(own: ViewerProfile, turn: int = 0, num_frames: int = 12) -> bytes:
    pictures = draw_story([(scene(own, turn), num_frames)], np.random.default_rng(own.number))
    frames = pictures.permute(0, 2, 3, 1).numpy()
    return SegmentEncoder(scale=4).encode(FrameChunk(0, 0, "", 0, frames, 16)).data


def test_no_two_viewers_ask_for_the_same() -> None:
    keys = {(one.setting, one.colours) for one in ROLES}
    assert len(keys) == MOST_ROLES == 15
    assert len({one.colours for one in ROLES[:3]}) == 3
    assert len({(one.setting, one.shape) for one in ROLES}) == MOST_ROLES
    for own in ROLES:
        assert not any(
            other.owns(own.setting, own.colour(turn))
            for other in ROLES
            for turn in (0, 1)
            if other is not own
        )


def test_a_new_prompt_asks_for_the_other_colour_and_another_action() -> None:
    first, second, third = (profile(0).prompt(turn) for turn in range(3))
    assert first == "a red ball stands still on a green meadow"
    assert second == "an orange ball walks left on a green meadow"
    assert third.startswith("a red ball walks right")
    assert profile(6).prompt(0) == "a blue star floats on the beach"


@pytest.mark.parametrize("own", ROLES[::2], ids=str)
def test_a_viewer_s_own_pictures_are_its_own(own: ViewerProfile) -> None:
    for turn in (0, 1):
        seen = look_at(segment(own, turn))
        assert seen == Look(own.setting, own.shape, (own.colour(turn),) * 12)
        assert judge(seen, own, [one for one in ROLES if one is not own]) == Verdict(read=12)


def test_a_swapped_stream_is_found_out() -> None:
    for own, stranger in ((profile(0), profile(1)), (profile(0), profile(5)), (profile(3), profile(13))):
        seen = look_at(segment(stranger))
        assert seen is not None
        assert judge(seen, own, [stranger]) == Verdict(read=12, wrong=12)
        assert judge(seen, own, []) == Verdict(read=12, unlike=12)


def test_a_stranger_in_the_same_setting_is_known_by_colour_and_shape_together() -> None:
    own, stranger = profile(0), profile(5)
    assert own.setting == stranger.setting and own.shape != stranger.shape
    mixed = ("red", "yellow", "orange", "green")
    assert judge(Look("meadow", stranger.shape, mixed), own, [stranger]) == Verdict(read=4, wrong=2)
    assert judge(Look("meadow", own.shape, mixed), own, [stranger]) == Verdict(read=4, unlike=2)
    assert judge(Look("beach", stranger.shape, mixed), own, [stranger]) == Verdict(read=4, unlike=4)
    assert judge(Look("beach", own.shape, mixed), own, [profile(1)]) == Verdict(read=4, wrong=2, unlike=2)


@pytest.mark.parametrize("own", [profile(0), profile(1), profile(2)], ids=str)
def test_a_fade_from_one_colour_to_the_other_is_nobody_else_s(own: ViewerProfile) -> None:
    pictures = draw_story([(scene(own, 0), 8), (scene(own, 1), 16)], np.random.default_rng(0))
    seen = look(pictures)
    assert (seen.colours[0], seen.colours[-1]) == own.colours
    assert judge(seen, own, [one for one in ROLES if one is not own]) == Verdict(read=24)


def test_what_is_no_picture_book_or_too_short_is_not_read() -> None:
    cards = np.stack([draw_card(number, 0) for number in range(12)])
    assert look_at(SegmentEncoder(scale=4).encode(FrameChunk(0, 0, "", 0, cards, 16)).data) is None
    assert look_at(segment(profile(0), num_frames=4)) is None
    small = decode(segment(profile(0), num_frames=4))
    assert small is not None and small.shape == (4, 3, 80, 128) and small.dtype == torch.uint8
