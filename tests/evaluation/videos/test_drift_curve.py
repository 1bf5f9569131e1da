"""A curve for any video or session file; broken ones are named, and the others kept."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longlive import Session, load_models
from longlive.chunks import FrameChunk
from longlive.cli import main
from longlive.errors import MediaError
from longlive.evaluation.videos.broken_clips import drawn_clip, textured_clip
from longlive.evaluation.videos.drift_curve import measure_curves
from longlive.evaluation.videos.reading import find_files, read_windows
from longlive.media.mp4 import write_video


def write_clip(path: Path, *clips: np.ndarray, scale: int = 1) -> Path:
    frames = np.concatenate(clips)
    write_video(path, [FrameChunk(0, 0, "", 0, frames, 16)], scale)
    return path


def pictures(seed: int, *, textured: bool = False) -> np.ndarray:
    """uint8 (32, H, W, 3): 2 s."""
    clip = textured_clip(seed) if textured else drawn_clip(seed)
    return clip.permute(0, 2, 3, 1).contiguous().numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A steady video, one that changes into another, of another size, and what is broken; to be read only."""
    tmp_path = tmp_path_factory.mktemp("videos")
    steady = write_clip(tmp_path / "a_steady.mp4", pictures(1), pictures(1)[::-1], pictures(1))
    write_clip(
        tmp_path / "b_changed.mp4",
        pictures(2),
        pictures(3, textured=True),
        pictures(3, textured=True),
        scale=2,
    )
    (tmp_path / "c_cut.mp4").write_bytes(steady.read_bytes()[:400])
    (tmp_path / "d_empty.mp4").write_bytes(b"")
    (tmp_path / "e_text.mp4").write_text("no video")
    write_clip(tmp_path / "f_short.mp4", pictures(4)[:5])
    (tmp_path / "notes.txt").write_text("not looked at")
    return tmp_path


def test_a_changed_video_drifts_and_a_steady_one_does_not(folder: Path) -> None:
    result = measure_curves(find_files([folder]), window_s=1.0)
    names = [Path(one["file"]).stem for one in result["files"]]
    assert names == ["a_steady", "b_changed"]
    steady, changed = (one["windows"] for one in result["files"])
    assert [window["from_s"] for window in changed] == [0, 1, 2, 3, 4, 5]
    assert changed[1]["similarity"] > changed[4]["similarity"] + 20
    assert min(window["similarity"] for window in steady) > changed[4]["similarity"] + 10
    assert result["files"][1]["drift"] == pytest.approx(changed[5]["similarity"] - changed[0]["similarity"])
    assert result["chance"] < 80 and result["drift"]["n"] == 2
    assert result["curve"][3]["similarity"]["n"] == 2
    assert measure_curves(find_files([folder])[:1], window_s=1.0)["files"] == result["files"][:1]
    reasons = {Path(one["file"]).stem: one["reason"] for one in result["failed"]}
    assert list(reasons) == ["c_cut", "d_empty", "e_text", "f_short"]
    assert "c_cut.mp4 is a video of a kind" in reasons["c_cut"] and "no video" in reasons["e_text"]
    assert "is shorter than 0.5 s" in reasons["f_short"]


def test_the_command_draws_the_curves_and_names_what_it_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure, out = tmp_path / "curves.png", tmp_path / "drift.json"
    words = [str(folder), "--window", "1", "--figure", str(figure), "--out", str(out), "--json"]
    assert main(["evaluate", "drift", *words]) == 1
    told = capsys.readouterr()
    result = json.loads(told.out.splitlines()[-1])
    assert result == json.loads(out.read_text())
    assert len(result["result"]["files"]) == 2 and "similarity" in result["definitions"]
    assert told.err.count("left out:") == 4
    colours = {colour for _, colour in Image.open(figure).convert("RGB").getcolors(2**24) or []}
    assert {(0xC2, 0x41, 0x0C), (0x1D, 0x4E, 0xD8)} <= colours


def test_a_full_disk_costs_the_file_and_not_the_result(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        raise OSError(errno.ENOSPC, "No space left on device")
        yield path

    monkeypatch.setattr("longlive.cli.evaluate.common.atomic_write", full)
    words = [str(folder / "a_steady.mp4"), "--window", "1", "--out", str(tmp_path / "drift.json"), "--json"]
    assert main(["evaluate", "drift", *words]) == 0
    told = capsys.readouterr()
    assert "No space left" in told.err and len(json.loads(told.out.splitlines()[-1])["result"]["files"]) == 1


def test_a_session_file_is_made_again(tiny_folder: Path, tmp_path: Path) -> None:
    with Session(load_models(tiny_folder), "a red ball", seed=3) as session:
        frames = np.concatenate([session.next_chunk().frames for _ in range(4)])
        session.save(tmp_path / "run.json")
    windows = list(read_windows(tmp_path / "run.json", 1.0))
    assert [window.start_s for window in windows] == [0, 1, 2]
    assert all(window.fps == pytest.approx(16) for window in windows)
    read = np.concatenate([window.pictures.permute(0, 2, 3, 1).numpy() for window in windows])
    assert np.array_equal(read, frames[: len(read)]) and len(read) == 45


def test_a_slow_video_and_a_fast_one_are_read_at_their_rates(tmp_path: Path) -> None:
    for fps, expected in ((8, 8), (48, 16)):
        path = tmp_path / f"{fps}.mp4"
        write_video(path, [FrameChunk(0, 0, "", 0, pictures(5), fps)])
        (first, *_) = read_windows(path, 0.9)
        assert first.fps == pytest.approx(expected, rel=0.01)


def test_one_broken_file_in_a_hundred_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.evaluation.videos.network.is_installed", lambda: False)  # these are slow
    monkeypatch.setattr("longlive.evaluation.videos.drift_curve.pixel_scores", lambda *_: {})
    first = write_clip(tmp_path / "000.mp4", pictures(6)[:8])
    for number in range(1, 100):
        (tmp_path / f"{number:03}.mp4").write_bytes(first.read_bytes()[: 300 if number == 42 else None])
    result = measure_curves(find_files([tmp_path]), window_s=0.5)
    assert len(result["files"]) == result["drift"]["n"] == 99
    assert [Path(one["file"]).name for one in result["failed"]] == ["042.mp4"]


def test_what_is_wrong_with_a_session_file_is_said_and_the_others_are_kept(
    tiny_folder: Path, tmp_path: Path
) -> None:
    good = write_clip(tmp_path / "good.mp4", pictures(7))
    with Session(load_models(tiny_folder), "a red ball", seed=3) as session:
        session.next_chunk()
        session.save(tmp_path / "run.json")
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "moved.json").write_text(json.dumps(facts | {"model": str(tmp_path / "gone")}))
    (tmp_path / "other.json").write_text("[1, 2]")
    result = measure_curves([tmp_path / "moved.json", tmp_path / "other.json", good], window_s=1.0)
    assert [one["file"] for one in result["files"]] == [str(good)]
    moved, other = (one["reason"] for one in result["failed"])
    assert "gone" in moved and "other.json" in other


def test_nothing_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no video"):
        find_files([tmp_path])
    result = measure_curves([tmp_path / "gone.mp4"], window_s=1.0)
    assert result["files"] == [] and "There is no file" in result["failed"][0]["reason"]
    assert result["drift"]["value"] is None and result["chance"] is None
