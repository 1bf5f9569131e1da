from pathlib import Path

import pytest

from longlive import ModelBundle, Session
from longlive.errors import ConfigError
from longlive.generation.storyboard import Scene, play, read_scenes, read_storyboard

RED, BLUE, STAR = "a red ball", "a blue cube", "the star jumps"


def written(folder: Path, text: str, name: str = "story.json") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_json_storyboard_gives_its_scenes_in_order_of_time(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"prompts": [{"at": 5, "text": "a blue cube", "switch": "hard"}, {"at": 0, "text": "a red ball"}]}',
    )
    assert read_storyboard(path) == [Scene(0.0, RED), Scene(5.0, BLUE, "hard")]


def test_lines_of_prompts_without_times_are_spread_evenly(tmp_path: Path) -> None:
    """LongLive's own files."""
    lines = '{"prompts": ["a red ball", "a blue cube"]}\n\n{"prompts": ["a blue cube", "the star jumps"]}\n'
    path = written(tmp_path, lines, "stories.jsonl")
    assert read_storyboard(path, switch_every=4) == [Scene(0, RED), Scene(4, BLUE)]
    assert read_storyboard(path, switch_every=4, line=1) == [Scene(0, BLUE), Scene(4, STAR)]
    with pytest.raises(ConfigError, match=r"^line is 2.*fewer lines"):
        read_storyboard(path, line=2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it must hold"),
        ("[]", "it must hold"),
        ('{"prompts": [{"text": 3, "at": "soon"}]}', "it must hold"),
        ('{"prompts": [{"at": 0}]}', "it must hold"),
        ('{"prompts": [{"at": 0, "text": "a", "switch": "fade"}]}', "switch is 'fade'"),
        ('{"prompts": []}', "list of 1 to 1000 prompts"),
        ('{"prompts": [{"at": 1, "text": "a"}]}', "first prompt must be at 0"),
    ],
)
def test_a_file_that_is_no_storyboard_is_refused_with_the_reason(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read_storyboard(written(tmp_path, text))


def test_a_missing_storyboard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.json.*cannot be read"):
        read_storyboard(tmp_path / "gone.json")


def test_a_scene_begins_at_the_first_boundary_not_before_its_time(tiny_models: ModelBundle) -> None:
    """Boundaries lie at 9/16, 21/16, 33/16 … seconds."""
    session = Session(tiny_models, RED)
    chunks = list(play(session, [Scene(1.4, STAR, "hard"), Scene(9 / 16, BLUE)], 3.0))
    assert [event.chunk for event in session.prompts] == [0, 1, 3]
    assert [event.switch for event in session.prompts] == [None, "soft", "hard"]
    assert chunks[-1].start_seconds < 3.0 <= chunks[-1].start_seconds + chunks[-1].seconds


def test_two_scenes_due_at_one_boundary_get_a_chunk_each(tiny_models: ModelBundle) -> None:
    session = Session(tiny_models, RED)
    chunks = list(play(session, [Scene(0.1, BLUE), Scene(0.2, STAR)], 2.5))
    assert [chunk.prompt for chunk in chunks] == [RED, BLUE, STAR, STAR]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_video_of_no_length_is_refused(tiny_models: ModelBundle, seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"^seconds is"):
        list(play(Session(tiny_models, RED), [], seconds))


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("a red ball", "^prompts is 'a red ball', but it must be a list"),
        ([], "1 to 1000 prompts"),
        ([{"at": 0, "text": "a"}] * 1001, "1 to 1000 prompts"),
        ([RED, {"at": -1, "text": "a"}], r"^prompts\[1\].at is -1"),
        ([{"at": float("nan"), "text": "a"}], "at is nan"),
        ([{"at": True, "text": "a"}], "at is True"),
        ([{"at": 0}], r"prompts\[0\] is .* must hold a text"),
        ([3], r"prompts\[0\] is 3"),
        ([{"text": "a", "switch": "slow"}], r"prompts\[0\].switch is 'slow'"),
    ],
)
def test_prompts_that_cannot_be_read_are_named(prompts: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_scenes(prompts)
