"""The command ``bench``: counts, sweeps, random weights and references."""

import json
from pathlib import Path

import pytest

from longlive.benchmark.sweep import COLUMNS
from longlive.cli import main


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_counting_needs_no_weights_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--model", "mid-size", "--count", "--dtype", "bfloat16"]) == 0
    costs = last_line(capsys)
    assert costs["kv_bytes"] == 2 * 8 * 12 * 390 * 512 * 2


@pytest.mark.slow
def test_a_sweep_with_random_weights_is_set_against_a_reference(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, seconds = (
        ["--model", str(tiny_folder), "--random-weights"],
        ["--seconds", "2.9", "--switch-every", "9"],
    )
    assert main(["bench", *model, *seconds, "--out", str(tmp_path / "one.json")]) == 0
    one = last_line(capsys)
    assert one == json.loads((tmp_path / "one.json").read_text())
    assert (one["random_weights"], one["decoder"], one["compile"]) == (True, "wan", "off")
    assert one["frames"] == 48

    sweep = ["--decoder", "wan", "tiny", "--dtype", "float32", "bfloat16"]
    assert main(["bench", *model, *seconds, *sweep, "--against", str(tmp_path / "one.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    runs = json.loads(lines[-1])["runs"]
    assert [(run["decoder"], run["dtype"]) for run in runs] == [
        ("wan", "float32"),
        ("wan", "bfloat16"),
        ("tiny", "float32"),
        ("tiny", "bfloat16"),
    ]
    assert lines[0].split()[:4] == ["decoder", "dtype", "quantization", "cache"]
    ratio = runs[0]["against"]["fps_end_to_end"]
    assert ratio == pytest.approx(runs[0]["fps_end_to_end"] / one["fps_end_to_end"], abs=1e-3)
    assert sum(line.startswith("times better") for line in lines) == 4


def test_each_result_is_written_at_once_and_a_failure_beside_the_others(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "sweep.json", []

    def measured(*_: object) -> dict[str, object]:
        seen.append(json.loads(out.read_text())["runs"] if out.exists() else [])
        if len(seen) == 2:
            raise RuntimeError("no memory")
        return {name: 1.0 for name in COLUMNS}

    monkeypatch.setattr("longlive.cli.bench._measure", measured)
    words = ["--model", str(tiny_folder), "--decoder", "wan", "tiny", "light", "--out", str(out)]
    assert main(["bench", *words]) == 1
    assert [len(runs) for runs in seen] == [0, 1, 2]
    assert [run.get("error") for run in last_line(capsys)["runs"]] == [None, "RuntimeError: no memory", None]
    assert len(json.loads(out.read_text())["runs"]) == 3


def test_results_that_exist_are_kept_unless_they_are_to_be_replaced(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.cli.bench._measure", lambda *_: dict.fromkeys(COLUMNS, 1.0))
    monkeypatch.setattr("longlive.benchmark.bench.table", lambda _: "")
    out = tmp_path / "one.json"
    out.write_text("before")
    words = ["bench", "--model", str(tiny_folder), "--out", str(out)]
    assert main(words) == 0
    assert out.read_text() == "before" and json.loads((tmp_path / "one-2.json").read_text())
    assert main([*words, "--force", "--against", str(out)]) == 2
    assert "is the same file" in capsys.readouterr().err and out.read_text() == "before"
    assert main([*words, "--force"]) == 0
    assert json.loads(out.read_text())


def test_what_is_missing_is_reported_in_one_line(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--model", str(tiny_folder), "--attention", "flash3", "--device", "cpu"]) == 2
    assert "flash3" in capsys.readouterr().err
    assert main(["bench", "--model", str(tiny_folder), "--against", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err


def test_bench_ends_with_one_json_object_that_has_the_agreed_fields(
    tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--model", str(tiny_folder), "--seconds", "8", "--switch-every", "2"]) == 0
    result = last_line(capsys)
    agreed = """model device dtype decoder quantization height width frames fps_denoise fps_decode fps_encode
        fps_end_to_end first_frame_ms switch_ms_p50 switch_ms_p95 chunk_ms_p50 chunk_ms_p95 peak_memory_bytes
        git_revision versions"""
    assert set(agreed.split()) <= set(result)
    assert min(result[f"fps_{stage}"] for stage in ("denoise", "decode", "encode", "end_to_end")) > 0
    assert result["switch_ms_p50"] > 0


def test_count_prints_only_json_and_needs_no_weights(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for config in ("longlive.json", "transformer/config.json", "vae/config.json"):
        (tmp_path / config).parent.mkdir(exist_ok=True)
        (tmp_path / config).write_text((tiny_folder / config).read_text())
    assert main(["bench", "--count", "--model", str(tmp_path), "--dtype", "bfloat16", "--window", "6"]) == 0
    assert json.loads(capsys.readouterr().out)["kv_bytes"] == 2 * 2 * 6 * 6 * 24 * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seconds", "inf"), "--seconds is inf"),
        (("--seconds", "nan"), "--seconds is nan"),
        (("--switch-every", "0"), "--switch-every is 0"),
        (("--window", "2"), "window is 2"),
        (("--out", "gone/one.json"), "there is no folder gone"),
        (("--out", "."), "it is a folder"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_loaded(
    options: tuple[str, ...],
    words: str,
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("longlive.cli.bench._load", lambda *_: pytest.fail("a model was loaded"))
    assert main(["bench", "--model", str(tiny_folder), *options]) == 2
    assert words in capsys.readouterr().err
