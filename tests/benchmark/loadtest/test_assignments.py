"""Whose video a viewer was shown, read from real pictures of the storybook."""

import numpy as np
import pytest
import torch

from longlive.benchmark.loadtest.assignments import (
    MAX_VIEWERS,
    PictureContent,
    PictureCounts,
    ViewerProfile,
    count_pictures,
    decode,
    profile,
    read_pictures,
    read_segment,
)
from longlive.chunks import FrameChunk
from longlive.media.segments import SegmentEncoder
from longlive.storybook.world.drawing import Scene, draw_story
from tests.support.fakes import draw_card

PROFILES = [profile(number) for number in range(MAX_VIEWERS)]


def scene(own: ViewerProfile, turn: int, action: str = "jump") -> Scene:
    return Scene(own.setting, own.shape, own.colour(turn), action)


def segment(own: ViewerProfile, turn: int = 0, num_frames: int = 12) -> bytes:
    pictures = draw_story([(scene(own, turn), num_frames)], np.random.default_rng(own.number))
    frames = pictures.permute(0, 2, 3, 1).numpy()
    return SegmentEncoder(scale=4).encode(FrameChunk(0, 0, "", 0, frames, 16)).data


def test_no_two_viewers_ask_for_the_same() -> None:
    keys = {(one.setting, one.colours) for one in PROFILES}
    assert len(keys) == MAX_VIEWERS == 15
    assert len({one.colours for one in PROFILES[:3]}) == 3
    assert len({(one.setting, one.shape) for one in PROFILES}) == MAX_VIEWERS
    for own in PROFILES:
        assert not any(
            other.owns(own.setting, own.colour(turn))
            for other in PROFILES
            for turn in (0, 1)
            if other is not own
        )


def test_a_new_prompt_asks_for_the_other_colour_and_another_action() -> None:
    first, second, third = (profile(0).prompt(turn) for turn in range(3))
    assert first == "a red ball stands still on a green meadow"
    assert second == "an orange ball walks left on a green meadow"
    assert third.startswith("a red ball walks right")
    assert profile(6).prompt(0) == "a blue star floats on the beach"


@pytest.mark.parametrize("own", PROFILES[::2], ids=str)
def test_a_viewer_s_own_pictures_are_its_own(own: ViewerProfile) -> None:
    for turn in (0, 1):
        seen = read_segment(segment(own, turn))
        assert seen == PictureContent(own.setting, own.shape, (own.colour(turn),) * 12)
        assert count_pictures(seen, own, [one for one in PROFILES if one is not own]) == PictureCounts(
            read=12
        )


def test_a_swapped_stream_is_found_out() -> None:
    for own, stranger in ((profile(0), profile(1)), (profile(0), profile(5)), (profile(3), profile(13))):
        seen = read_segment(segment(stranger))
        assert seen is not None
        assert count_pictures(seen, own, [stranger]) == PictureCounts(read=12, wrong=12)
        assert count_pictures(seen, own, []) == PictureCounts(read=12, unrecognized=12)


def test_a_stranger_in_the_same_setting_is_recognized_by_colour_and_shape_together() -> None:
    own, stranger = profile(0), profile(5)
    assert own.setting == stranger.setting and own.shape != stranger.shape
    mixed = ("red", "yellow", "orange", "green")
    assert count_pictures(PictureContent("meadow", stranger.shape, mixed), own, [stranger]) == PictureCounts(
        read=4, wrong=2
    )
    assert count_pictures(PictureContent("meadow", own.shape, mixed), own, [stranger]) == PictureCounts(
        read=4, unrecognized=2
    )
    assert count_pictures(PictureContent("beach", stranger.shape, mixed), own, [stranger]) == PictureCounts(
        read=4, unrecognized=4
    )
    assert count_pictures(PictureContent("beach", own.shape, mixed), own, [profile(1)]) == PictureCounts(
        read=4, wrong=2, unrecognized=2
    )


@pytest.mark.parametrize("own", [profile(0), profile(1), profile(2)], ids=str)
def test_a_fade_from_one_colour_to_the_other_is_nobody_else_s(own: ViewerProfile) -> None:
    pictures = draw_story([(scene(own, 0), 8), (scene(own, 1), 16)], np.random.default_rng(0))
    seen = read_pictures(pictures)
    assert (seen.colours[0], seen.colours[-1]) == own.colours
    assert count_pictures(seen, own, [one for one in PROFILES if one is not own]) == PictureCounts(read=24)


def test_other_models_pictures_and_short_segments_are_not_read() -> None:
    cards = np.stack([draw_card(number, 0) for number in range(12)])
    assert read_segment(SegmentEncoder(scale=4).encode(FrameChunk(0, 0, "", 0, cards, 16)).data) is None
    assert read_segment(segment(profile(0), num_frames=4)) is None
    small = decode(segment(profile(0), num_frames=4))
    assert small is not None and small.shape == (4, 3, 80, 128) and small.dtype == torch.uint8
