"""Table 1: every row runs at tiny width or says what it needs; one that fails leaves the others."""

import json
import sys
from pathlib import Path

import pytest
import torch

from longlive.benchmark.systems import comparison, pipelines
from longlive.benchmark.systems.checkout_runs import Checkout, measure_checkout, missing
from longlive.benchmark.systems.comparison import Comparison
from longlive.benchmark.systems.counting import count_system
from longlive.benchmark.systems.engine import config_of_system, measure_engine
from longlive.benchmark.systems.facts import SYSTEMS
from longlive.benchmark.systems.measurement import Measurement
from longlive.cli import main
from longlive.errors import CheckpointError
from longlive.evaluation.vbench.scores import aggregate
from longlive.runtime.startup import RuntimeOptions
from tests.support.fake_checkouts import write_checkout

CPU = torch.device("cpu")
OPTIONS = RuntimeOptions(device="cpu", dtype="float32")


def measurement(denoise: float = 2.0, *, steps_measured: int = 4) -> Measurement:
    seconds: dict[str, float | None] = {
        "text": 1.0,
        "denoise": denoise,
        "decode": 3.0,
        "encode": 0.5,
        "other": 0.1,
    }
    return Measurement(seconds, 100, 32, 48, steps=40, steps_measured=steps_measured)


def test_a_whole_video_follows_from_the_steps_that_ran() -> None:
    found = measurement()
    assert found.is_extrapolated and not measurement(steps_measured=40).is_extrapolated
    assert found.whole_video() == {
        "text": 1.0,
        "denoise": 20.0,
        "decode": 3.0,
        "encode": 0.5,
        "other": 1.0,
        "end_to_end": 25.5,
    }
    assert found.fps()["end_to_end"] == pytest.approx(100 / 25.5)
    assert found.fps()["denoise_decode"] == pytest.approx(100 / 24)
    assert found.fps()["decode"] == pytest.approx(100 / 3)


def test_rows_take_turns_and_one_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def engine(name: str, *_: object, **__: object) -> Measurement:
        asked.append(name)
        return measurement(1.0 + len(asked) / 10)

    def pipeline(name: str, *_: object, **__: object) -> Measurement:
        asked.append(name)
        if name == "ltx-video":
            raise RuntimeError("no memory\nleft")
        return measurement(8.0)

    monkeypatch.setattr(comparison.engine, "measure_engine", engine)
    monkeypatch.setattr(comparison.pipelines, "measure_pipeline", pipeline)
    names = ("longlive", "ltx-video", "wan2.1", "nova")
    table = Comparison(
        names=names, repeats=2, count=False, checkouts={"nova": Checkout(None, sys.executable, None)}
    )
    *_, rows = table.rows()
    assert asked == ["longlive", "ltx-video", "wan2.1", "longlive", "wan2.1"]
    found = {row["name"]: row for row in rows}
    assert found["ltx-video"]["error"] == "RuntimeError: no memory left" and "fps" not in found["ltx-video"]
    assert "--nova-repo" in found["nova"]["needs"] and "BAAI/nova" in found["nova"]["needs"]
    ratio, turns = found["wan2.1"]["ratio"], found["wan2.1"]["fps_turns"]
    assert ratio["turns"] == len(turns) == 2 and ratio["least"] < ratio["median"] < ratio["most"] < 1
    assert found["longlive"]["ratio"]["least"] == found["longlive"]["ratio"]["most"] == 1
    assert found["wan2.1"]["paper_fps"] == 0.78 and found["wan2.1"]["extrapolated"]


def test_our_recipes_are_those_of_the_family_at_both_widths() -> None:
    framewise, tiny = (config_of_system("self-forcing-framewise", tiny=tiny) for tiny in (False, True))
    assert framewise.chunk == tiny.chunk == 1 and framewise.window == tiny.window == 21
    assert (framewise.transformer.num_layers, tiny.transformer.num_layers) == (30, 2)
    assert config_of_system("causvid", tiny=True).overlap == 3


def test_a_row_of_our_engine_counts_its_pictures_and_has_no_text_encoder() -> None:
    found = measure_engine("causvid", OPTIONS, seconds=1.0, tiny=True, weights=None)
    assert (found.height, found.width) == (32, 48) and found.pictures >= 16 and not found.is_extrapolated
    assert found.seconds["text"] is None
    assert all((found.seconds[stage] or 0) > 0 for stage in ("denoise", "decode", "encode"))


@pytest.mark.parametrize("name", list(pipelines.RECIPES))
def test_every_pipeline_of_diffusers_runs_and_its_stages_are_found(name: str) -> None:
    found = pipelines.measure_pipeline(name, CPU, torch.float32, steps_measured=2, tiny=True, weights=None)
    assert found.pictures == {"framepack": 13, "helios": 33}.get(name, 9) and (found.height, found.width) == (
        32,
        32,
    )
    assert (found.steps, found.steps_measured) == (SYSTEMS[name].steps, 2)
    assert all((value or 0) > 0 for value in found.seconds.values())


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="WanPipeline"):
        pipelines.measure_pipeline(
            "wan2.1", CPU, torch.float32, steps_measured=1, tiny=True, weights=str(tmp_path)
        )


@pytest.mark.parametrize(
    ("name", "size", "pictures", "steps"),
    [("nova", (16, 32), 9, 2), ("pyramid-flow", (64, 64), 9, 10), ("magi-1", (16, 32), 24, 64)],
)
def test_a_checkout_is_run_by_its_own_program(
    name: str, size: tuple[int, int], pictures: int, steps: int, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"runtime_config": {"num_steps": 64}}))
    weights = {"nova": "weights", "pyramid-flow": "pyramid-flow-miniflux", "magi-1": str(config)}[name]
    checkout = Checkout(write_checkout(name, tmp_path / "repo"), sys.executable, weights)
    assert missing(name, checkout) is None
    found = measure_checkout(name, checkout, CPU, torch.float32, steps_measured=2, tiny=True)
    assert (found.height, found.width, found.pictures, found.steps) == (*size, pictures, steps)
    assert all(found.seconds[stage] is not None for stage in ("text", "denoise", "decode", "encode"))


def test_what_is_wrong_with_a_checkout_is_said(tmp_path: Path) -> None:
    repo = write_checkout("nova", tmp_path)

    def measure(name: str, checkout: Checkout) -> None:
        measure_checkout(name, checkout, CPU, torch.float32, steps_measured=1, tiny=True)

    with pytest.raises(CheckpointError, match="no checkout of jy0205/Pyramid-Flow"):
        measure("pyramid-flow", Checkout(repo, sys.executable, "somewhere"))
    with pytest.raises(CheckpointError, match="nowhere/python cannot be started: No such file"):
        measure("nova", Checkout(repo, "nowhere/python", "weights"))
    with pytest.raises(CheckpointError, match=r"NOVA ended with an error .ModuleNotFoundError: .* Install"):
        measure("nova", Checkout(repo, sys.executable, None))
    assert "cannot be built with random weights" in (missing("magi-1", Checkout(repo, "p", None)) or "")


def test_flops_are_those_that_were_counted_before() -> None:
    assert count_system("ltx-video") == {
        "tflop_pass": 58.2,
        "tflop_picture": 24.4,
        "how": "FakeTensorMode, plain attention, at the published size",
    }
    assert count_system("pyramid-flow") is None and "by hand" in (count_system("framepack") or {})["how"]


@pytest.mark.slow
def test_one_command_makes_the_whole_table_at_tiny_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiny", "--repeats", "1", "--seconds", "1", "--steps", "1", "--no-count", "--json"]
    nova = ["--nova-repo", str(write_checkout("nova", tmp_path / "nova")), "--weights", "nova=weights"]
    out, scores = tmp_path / "table1.json", tmp_path / "vbench.json"
    totals = aggregate({"subject_consistency": 0.9}) | {"videos": 3, "mode": "custom input"}
    scores.write_text(json.dumps({"result": totals}))
    words += ["--vbench", f"causvid={scores}"]
    assert main(["evaluate", "table1", *words, *nova, "--out", str(out)]) == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert table == json.loads(out.read_text())
    rows = {row["name"]: row for row in table["rows"]}
    assert list(rows) == list(SYSTEMS)
    assert [name for name, row in rows.items() if "needs" in row] == ["pyramid-flow", "magi-1"]
    measured = [row for row in rows.values() if "needs" not in row]
    assert all(row["fps"]["end_to_end"] > 0 and row["ratio"]["turns"] == 1 for row in measured)
    found = rows["causvid"]["vbench"]
    assert found["quality"] == totals["quality"] and found["quality_is_partial"] and found["total"] is None
    assert rows["longlive"]["vbench"] is None and "partial" in table["definitions"]
    assert rows["wan2.1"]["random_weights"] and not rows["nova"]["random_weights"]
    assert table["tiny"] and "extrapolated" in table["definitions"] and table["hardware"]["cores"]


def test_the_table_has_the_columns_of_vbench_where_a_result_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "vbench.json"
    totals = aggregate({"subject_consistency": 0.9}) | {"videos": 3, "mode": "custom input"}
    scores.write_text(json.dumps({"result": totals}))
    words = ["--tiny", "--systems", "magi-1", "nova", "--no-count", "--repeats", "1"]
    assert main(["evaluate", "table1", *words, "--vbench", f"nova={scores}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "VBench quality" in lines[0] and f"{totals['quality']} (partial)" in lines[2]
    assert "MAGI-1 needs" in "\n".join(lines) and "(partial)" not in lines[1]
