import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longlive.config import ModelConfig, StreamConfig, TransformerConfig
from longlive.errors import SessionFileError
from longlive.generation.session_file import PromptEvent, SessionRecord

RECORD = SessionRecord(
    model="storybook",
    model_digest="ab" * 32,
    code_version="0.1.0",
    dtype="float32",
    device="cpu",
    threads=2,
    attention="sdpa",
    height=64,
    width=96,
    seed=7,
    take=0,
    stream=StreamConfig(window=9, positions="relative"),
    prompts=(PromptEvent(0, "a red ball", None), PromptEvent(3, "a blue ball <b>", "hard")),
    chunks=("00ff", "11ee"),
)
TRANSFORMER = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=16,
    out_channels=16,
    text_dim=8,
    freq_dim=8,
    ffn_dim=16,
    num_layers=1,
)


def test_a_record_survives_being_written_and_read(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "s.json")
    assert SessionRecord.read(tmp_path / "s.json") == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_the_file_is_versioned_json_that_people_can_read(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "s.json")
    values = json.loads((tmp_path / "s.json").read_text())
    assert values["version"] == 1
    assert values["prompts"][1] == {"chunk": 3, "text": "a blue ball <b>", "switch": "hard"}
    assert values["stream"]["window"] == 9


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.json"
    path.write_text("old")

    def full(self: Path, *_: Any, **__: Any) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SessionFileError, match="No space left on device"):
        RECORD.write(path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["s.json"]


def test_a_broken_move_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(SessionFileError, match="cannot be written"):
        RECORD.write(tmp_path / "s.json")
    assert not list(tmp_path.iterdir())


def spoiled(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "s.json"
    RECORD.write(path)
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 2}, "has version 2, but this program reads version 1"),
        ({"version": ...}, "has version None"),
        ({"seed": ...}, "does not make sense.*seed"),
        ({"colour": 1}, "does not make sense.*colour"),
        ({"prompts": []}, "first prompt"),
        ({"prompts": [{"chunk": 2, "text": "a", "switch": None}]}, "first prompt"),
        ({"prompts": [{"chunk": 0, "text": "a", "switch": "fade"}]}, "switch is 'fade'"),
        ({"prompts": 3}, "does not make sense"),
        ({"stream": {"sink": -5}}, "sink is -5"),
        ({"stream": {"chunk": 10**300}}, "chunk of its stream is too large"),
        ({"stream": 7}, "does not make sense"),
        ({"seed": -1}, "seed is -1"),
        ({"take": "0"}, "take is '0'"),
        ({"height": 0}, "height must be a whole number above 0"),
        ({"num_frames": 1.5}, "num_frames must be a whole number"),
        ({"model": ["storybook"]}, "model must be text"),
        ({"start": 7}, "start must be text"),
        ({"prompts": [{"chunk": at, "text": "a", "switch": None} for at in (0, 5, 2)]}, "not in order"),
        ({"prompts": [{"chunk": 1e400, "text": "a", "switch": None}]}, "chunk must be a whole number"),
        ({"prompts": [[0, "a"]]}, "does not make sense"),
        ({"reseeds": [{"chunk": -1, "seed": 2}]}, "chunk is -1"),
    ],
)
def test_a_file_that_does_not_make_sense_is_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SessionFileError, match=words):
        SessionRecord.read(spoiled(tmp_path, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_file_that_is_no_session_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(SessionFileError, match=r"cannot be read|has version None"):
        SessionRecord.read(tmp_path / "s.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match=r"no session file .*gone\.json"):
        SessionRecord.read(tmp_path / "gone.json")


def test_times_of_chunks_count_the_pictures_that_cuts_leave_out() -> None:
    config = ModelConfig(name="any", transformer=TRANSFORMER, height=64, width=96)
    assert [RECORD.frames_before(chunk, config) for chunk in (0, 1, 3, 4)] == [0, 9, 33, 42]
    assert RECORD.duration(config) == 21 / 16
    assert replace(RECORD, num_frames=17).duration(config) == 17 / 16
