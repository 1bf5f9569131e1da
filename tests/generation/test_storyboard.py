import re
from dataclasses import replace
from pathlib import Path

import pytest

from longlive import ModelBundle, Session
from longlive.errors import ConfigError, PromptError, SessionFileError
from longlive.generation.storyboard import (
    Scene,
    play,
    read_scenes,
    read_storyboard,
    storyboard_of_record,
    storyboard_seconds,
    unreached_scenes,
)
from longlive.training.data.prompt_files import read_prompt_pairs, read_prompts

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
    with pytest.raises(ConfigError, match=r"^line is 2.*has 2 lines"):
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


@pytest.mark.parametrize(
    "row",
    [
        '{"prompts": ["a red ball", "a blue cube"]}',
        '{"source": "0123", "prompt": "a red ball", "next": "a blue cube"}',
        '{"prompts": ["a red ball", {"text": "a blue cube"}], "note": "one\u2028line"}',
    ],
)
@pytest.mark.parametrize(("before", "end"), [("", "\n"), ("\ufeff", "\r\n"), ("\ufeff\n", "\r")])
def test_a_line_is_read_as_training_reads_it(tmp_path: Path, row: str, before: str, end: str) -> None:
    path = tmp_path / "story.JSONL"
    path.write_bytes(f"{before}{row}{end}{row}{end}".encode())
    assert read_storyboard(path, switch_every=2, line=1) == [Scene(0, RED), Scene(2, BLUE)]
    assert read_prompts(path) == [RED, BLUE] * 2
    assert [pair.next_prompt for pair in read_prompt_pairs(path)] == [BLUE] * 2


def test_a_storyboard_with_a_byte_order_mark_and_capitals_is_read(tmp_path: Path) -> None:
    text = '{"prompts": [{"at": 0, "text": "a red ball"}]}'
    for data in (b"\xef\xbb\xbf" + text.encode(), b"\xff\xfe" + text.encode("utf-16-le")):
        (tmp_path / "Story.JSON").write_bytes(data)
        assert read_storyboard(tmp_path / "Story.JSON") == [Scene(0, RED)]


def test_a_text_file_has_a_prompt_per_line(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffa red ball\r\n\r\na blue cube\r\n", "prompts.TXT")
    assert read_storyboard(path) == [Scene(0, RED)]
    assert read_storyboard(path, line=1) == [Scene(0, BLUE)]


@pytest.mark.parametrize("line", [-1, 2])
def test_a_line_that_is_not_there_is_refused(tmp_path: Path, line: int) -> None:
    path = written(tmp_path, "a red ball\na blue cube\n", "prompts.txt")
    with pytest.raises(ConfigError, match=rf"^line is {line}, but .* has 2 lines"):
        read_storyboard(path, line=line)


def test_no_class_name_of_python_stands_in_a_message(tmp_path: Path) -> None:
    for text in ("{", "[]", "3", '{"prompt": "a"}', "[" * 100_000, '{"prompts": [{"at": NaN, "text": "a"}]}'):
        with pytest.raises(ConfigError) as error:
            read_storyboard(written(tmp_path, text))
        assert not re.search(r"\w+Error|\(char", str(error.value).split("]")[0]), error.value


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"prompts": ["caf\xe9"]}')
    with pytest.raises(ConfigError, match=r"not UTF-8: byte 17 is 0xe9.*save it as UTF-8"):
        read_storyboard(tmp_path / "a.json")


@pytest.mark.parametrize("seconds", [0.5, 0.6, 1.4, 2.0, 3.0])
def test_the_scenes_that_are_not_reached_are_those_that_play_does_not_show(
    tiny_models: ModelBundle, seconds: float
) -> None:
    scenes = [Scene(0.1, BLUE), Scene(0.2, STAR, "hard"), Scene(1.3, RED), Scene(1.9, BLUE), Scene(9, STAR)]
    unreached = unreached_scenes(Session(tiny_models, RED), scenes, seconds)
    session = Session(tiny_models, RED)
    chunks = list(play(session, scenes, seconds))
    assert len(unreached) == len(scenes) - (len({chunk.prompt_index for chunk in chunks}) - 1)
    assert unreached == scenes[len(scenes) - len(unreached) :]


def test_the_length_of_a_storyboard_shows_its_last_scene() -> None:
    assert storyboard_seconds([Scene(0, RED)], 10) == 10
    assert storyboard_seconds([Scene(0, RED), Scene(7, BLUE)], 4) == 11


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


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "2"])
def test_a_video_of_no_length_is_refused(tiny_models: ModelBundle, seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"^seconds is"):
        list(play(Session(tiny_models, RED), [], seconds))


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ("a red ball", "^prompts is 'a red ball', but it must be a list"),
        ([], "1 to 1000 prompts"),
        ([{"at": 0, "text": "a"}] * 1001, "is 1001, but at most 1000 are read"),
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


def test_a_scene_holds_a_cleaned_prompt_or_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    assert Scene(0.0, "  a red   ball ").text == RED
    with pytest.raises(PromptError, match="The prompt is empty"):
        read_storyboard(written(tmp_path, '{"prompts": ["  "]}'))


def test_a_recorded_video_gives_its_storyboard_for_another_model(tiny_models: ModelBundle) -> None:
    """Where the other model has as long chunks, each prompt comes at its chunk again."""
    with Session(tiny_models, RED, seed=7) as session:
        scenes = [Scene(1.0, BLUE, "hard"), Scene(2.0, STAR)]
        chunks = sum(1 for _ in play(session, scenes, 3.0))
        record = replace(session.record(), num_frames=48)
    board, seconds = storyboard_of_record(record, tiny_models.config)
    assert (seconds, [scene.text for scene in board]) == (3.0, [RED, BLUE, STAR])
    assert [scene.switch for scene in board] == [None, "hard", None], "a cut stays; the rest is the model's"
    with Session(tiny_models, board[0].text, seed=record.seed) as again:
        assert sum(1 for _ in play(again, board[1:], seconds)) == chunks
        assert again.prompts == record.prompts and again.digests == record.chunks
    one = replace(tiny_models.config, chunk=1, window=9, sink=1)
    assert storyboard_of_record(record, one) == (board, seconds), (
        "seconds do not depend on the other model's chunks"
    )
    pending = replace(record, chunks=record.chunks[:2], num_frames=None)
    short, seconds = storyboard_of_record(pending, tiny_models.config)
    assert [scene.text for scene in short] == [RED] and seconds == 21 / 16


def test_what_cannot_be_made_with_another_model_is_said(tiny_models: ModelBundle) -> None:
    with Session(tiny_models, RED) as session:
        record = session.record()
    with pytest.raises(SessionFileError, match="has no chunks"):
        storyboard_of_record(record, tiny_models.config)
    with pytest.raises(SessionFileError, match="begins with a picture or a video"):
        storyboard_of_record(replace(record, chunks=("a",), start="x"), tiny_models.config)
