"""The recipe of .ci/fullsize, with files of a few kilobytes."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import UMT5EncoderModel

from longlive.models.transformer import CausalWanTransformer
from longlive.weights.formats.key_mapping import transformer_to_released
from tests.support import fullsize
from tests.support import published_weights as published


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have been run."""
    folder = tmp_path_factory.mktemp("fullsize")
    assert fullsize.main([str(folder), "--tiny"]) == 0
    return folder


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "fullsize.jsonl").read_text().splitlines()]


def test_each_stage_writes_a_line_with_what_it_took(finished: Path) -> None:
    found = {line["stage"]: line for line in lines(finished)}
    assert [*found] == [*fullsize.STAGES]
    for line in found.values():
        assert line["peak_resident_bytes"] >= line["peak_anonymous_bytes"] > 10**7
        assert line["peak_disk_bytes"] >= line["disk_bytes"] > 10**6
    assert found["generate"]["chunks"] == 2
    assert found["generate"]["switches"] == [[0, None], [1, "soft"]]
    assert found["replay"]["verified"]
    assert b"avc1" in (finished / "video.mp4").read_bytes()


def test_what_is_done_is_not_done_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = lines(finished)
    assert fullsize.main([str(finished), "--tiny"]) == 0
    assert lines(finished) == before
    assert not capsys.readouterr().out


def test_a_stage_that_fails_says_why_and_ends_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fullsize.main([str(tmp_path), "--tiny", "replay", "write"]) == 1
    (line,) = lines(tmp_path)
    assert line["stage"] == "replay" and "session.json" in str(line["failed"]) + capfd.readouterr().err


def test_a_stage_whose_process_is_killed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fullsize.STAGES, "write", lambda recipe: os.kill(os.getpid(), 9))
    assert fullsize.main([str(tmp_path), "--tiny", "write"]) == 1
    assert lines(tmp_path)[0]["failed"] == "ended with -9"


def test_the_files_are_of_the_size_that_was_published() -> None:
    """LongLive-1.3B's model card: 5.68 GB and 2.80 GB; Wan's encoder: 11.36 GB."""
    recipe = fullsize.full(Path("unused"), threads=1)
    with torch.device("meta"):
        released = transformer_to_released(
            CausalWanTransformer(recipe.sources.config.transformer).state_dict()
        )
        encoder = published.umt5_names(UMT5EncoderModel(recipe.text_encoder).state_dict())
    numbers = sum(weight.numel() for weight in released.values())
    pairs = sum(rows * columns for rows, columns in published.lora_shapes(released, recipe.rank).values())
    text = sum(weight.numel() for weight in encoder.values())
    assert [round(size / 1e9, 2) for size in (4 * numbers, 2 * 4 * pairs, 2 * text)] == [5.68, 2.8, 11.36]


def test_when_it_is_stopped_so_is_the_stage(tmp_path: Path) -> None:
    child = tmp_path / "child"

    def endless(recipe: fullsize.Recipe) -> dict[str, object]:
        child.write_text(str(os.getpid()))
        time.sleep(300)
        return {}

    def stop() -> None:
        while not (child.exists() and child.read_text()):  # a file is there before what it holds
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fullsize.STAGES, "write", endless)
        threading.Thread(target=stop).start()
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                fullsize.main([str(tmp_path), "--tiny", "write"])
        finally:
            signal.signal(signal.SIGTERM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
