from typing import Any

import pytest

from longlive.config import (
    ModelConfig,
    StreamConfig,
    TransformerConfig,
    parse_size,
    size_text,
    sizes_text,
)
from longlive.errors import ConfigError, LongLiveError

SHAPE: dict[str, Any] = dict(
    num_attention_heads=12,
    attention_head_dim=128,
    in_channels=16,
    out_channels=16,
    text_dim=4096,
    freq_dim=256,
    ffn_dim=8960,
    num_layers=30,
)
MODEL: dict[str, Any] = dict(name="wan", transformer=TransformerConfig(**SHAPE), height=480, width=832)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_layers", 0, "at least 1"),
        ("text_dim", 4096.0, "whole number"),
        ("patch_size", (2, 2, 2), "Wan 2.1"),
        ("attention_head_dim", 127, "even"),
        ("prediction", "noise", "velocity"),
    ],
)
def test_an_impossible_shape_names_field_value_rule_and_cure(field: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        TransformerConfig(**(SHAPE | {field: value}))
    assert caught.value.field == field
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("height", 488, r"multiple of 16 pixels\. Try 480"),
        ("width", 0, "at least 1"),
        ("fps", "16", "whole number"),
        ("steps", (250, 500), "fall from at most 1000"),
        ("steps", (1200, 500), "fall from at most 1000"),
        ("steps", (), "fall from"),
        ("steps", (500, 0), "above 0"),
        ("shift", 0.0, "above 0"),
        ("display_scale", 0, "at least 1"),
    ],
)
def test_an_impossible_fact_names_field_value_rule_and_cure(field: str, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ModelConfig(**(MODEL | {field: value}))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overlap": 4}, r"a multiple of the chunk \(3\).*Use 3, or 0"),
        ({"overlap": -3}, "a multiple of the chunk"),
        ({"window": 20, "overlap": 3}, r"a multiple of the chunk \(3\) above that.*Try 21"),
        ({"window": 12, "overlap": 12}, "rollouts that overlap by 12"),
        ({"window": -1, "overlap": 3}, "rollouts that overlap by 3"),
        ({"sink": -1}, "negative"),
        ({"window": 5}, r"must hold the sink \(3\) and the chunk \(3\).*at least 6"),
        ({"window": 0}, "at least 6"),
        ({"chunk": 0}, "at least 1"),
        ({"positions": "sideways"}, "absolute"),
        ({"context_noise": 1001}, "timestep"),
        ({"windw": 9}, "options of a stream are"),
    ],
)
def test_an_impossible_choice_names_field_value_rule_and_cure(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        StreamConfig.of(ModelConfig(**MODEL), **changes)
    assert caught.value.field == next(iter(changes))
    assert isinstance(caught.value, LongLiveError)


def test_sizes_follow_from_the_facts() -> None:
    model = ModelConfig(**MODEL)
    assert (model.latent_shape, model.tokens_per_latent, model.transformer.dim) == ((16, 60, 104), 1560, 1536)
    assert [model.num_frames(latents) for latents in (0, 1, 3, 120)] == [0, 1, 9, 477]
    assert model.chunk_seconds() == 0.75
    assert [model.chunk_start_s(chunk) for chunk in range(3)] == [0, 9 / 16, 21 / 16]


def test_a_stream_is_what_the_model_was_tuned_with_unless_it_is_told_otherwise() -> None:
    model = ModelConfig(**(MODEL | {"window": 9, "positions": "relative"}))
    assert StreamConfig.of(model) == StreamConfig(window=9, positions="relative")
    assert StreamConfig.of(model, window=-1, sink=0) == StreamConfig(window=-1, sink=0, positions="relative")


def test_the_facts_that_came_later_are_named_where_they_differ() -> None:
    assert ModelConfig(**MODEL).later_facts == {}
    changed = ModelConfig(**MODEL, switch="keep", overlap=3, first_steps=(1000, 500))
    assert changed.later_facts == {"first_steps": (1000, 500), "overlap": 3, "switch": "keep"}
    assert "overlap" not in StreamConfig().options
    assert StreamConfig(window=21, overlap=3).options["overlap"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first_steps": (500, 1000)}, "timesteps must fall"),
        ({"first_steps": (1000, 0)}, "every timestep must be above 0"),
        ({"switch": "fade"}, "it must be one of"),
    ],
)
def test_an_impossible_later_fact_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**MODEL, **changes)


def test_a_model_at_another_of_its_sizes_is_the_same_but_for_that() -> None:
    config = ModelConfig(**MODEL, sizes=[[480, 832], [624, 624]])  # type: ignore[arg-type]
    assert config.all_sizes == ((832, 480), (480, 832), (624, 624))
    upright = config.at((480, 832))
    assert upright.latent_shape == (16, 104, 60) and upright.tokens_per_latent == config.tokens_per_latent
    assert upright.all_sizes == ((480, 832), (832, 480), (624, 624))
    assert upright.at((832, 480)) == config and config.at(None) is config.at((832, 480)) is config
    assert config.at((624, 624)).tokens_per_latent == 1521


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (((480, 840),), r"height is 840, but it must be a multiple of 16 pixels\. Try 832"),
        (((476, 832),), r"width is 476, but it must be a multiple of 16 pixels\. Try 480"),
        (((1280, 720),), "'832x480 or 1280x720', but no size may have more than 1.125 times as many pixels"),
        (((320, 320),), "more than 1.125 times"),
        (((480, 832, 3),), r"list of \[width, height\]"),
        (((480, -832),), r"list of \[width, height\]"),
        (((480.0, 832),), r"list of \[width, height\]"),
        (("480x832",), r"list of \[width, height\]"),
        (7, r"list of \[width, height\]"),
    ],
)
def test_impossible_further_sizes_are_named(sizes: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ModelConfig(**MODEL, sizes=sizes)


def test_a_size_that_a_model_does_not_have_is_told_with_those_that_it_has() -> None:
    config = ModelConfig(**MODEL, sizes=((480, 832),))
    with pytest.raises(ConfigError, match="the pictures of wan have 832x480 or 480x832"):
        config.at((624, 624))


def test_a_size_is_read_as_people_write_it() -> None:
    assert parse_size("480x832") == (480, 832) and size_text((480, 832)) == "480x832"
    assert sizes_text([(1, 2), (3, 4), (5, 6)]) == "1x2, 3x4 or 5x6" and sizes_text([(1, 2)]) == "1x2"
    for text in (
        "",
        "480",
        "480x",
        "480 x 832",
        "480X832",
        "-480x832",
        "0x0",
        "٤x٤",
        "9" * 99 + "x1",
        "portrait",
    ):
        with pytest.raises(ConfigError, match=r"width x height in pixels\. Try 832x480"):
            parse_size(text)
