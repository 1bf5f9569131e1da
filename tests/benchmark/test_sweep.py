"""Sweeps over variants, and ratios to what was measured earlier."""

import json
from pathlib import Path
from typing import Any

import pytest

from longlive.benchmark.sweep import (
    COLUMNS,
    NAMES,
    Variant,
    ratios,
    read_results,
    sweep,
    sweep_table,
    variants_of,
)
from longlive.errors import ConfigError


def result(**changes: Any) -> dict[str, Any]:
    plain = {"model": "tiny", "device": "cpu", "decoder": "wan", "dtype": "float32", "compile": "off"}
    plain |= {"quantization": "off", "cache": "full"}
    return plain | {"attention": "sdpa", "frames": 72} | {name: 10.0 for name in COLUMNS} | changes


@pytest.mark.slow
def test_each_word_is_measured_with_each() -> None:
    fixed = {"dtype": ["float32"], "quantization": ["off"], "cache": ["full"], "attention": ["auto"]}
    variants = variants_of(decoder=["wan", "tiny"], compile=["off", "default"], **fixed)
    assert variants[1] == Variant("wan", "float32", "off", "full", "default", "auto")
    assert len(set(variants)) == 4
    measured = list(sweep(variants, lambda variant: result(**vars(variant))))
    assert [(one["decoder"], one["compile"]) for one in measured] == [
        ("wan", "off"),
        ("wan", "default"),
        ("tiny", "off"),
        ("tiny", "default"),
    ]


@pytest.mark.slow
def test_a_variant_that_fails_costs_the_others_nothing() -> None:
    fixed = {"dtype": ["float32"], "quantization": ["off"], "cache": ["full"], "attention": ["auto"]}
    variants = variants_of(decoder=["wan", "tiny"], compile=["off", "default"], **fixed)

    def measure(variant: Variant) -> dict[str, Any]:
        if variant.compile == "default":
            raise RuntimeError("no compiler")
        return result(**vars(variant))

    measured = list(sweep(variants, measure))
    assert [one.get("error") for one in measured] == [None, "RuntimeError: no compiler"] * 2
    lines = sweep_table(measured).splitlines()
    assert len(lines) == 1 + 4 + 2
    assert lines[-1] == "failed: tiny float32 off full default auto: RuntimeError: no compiler"
    with pytest.raises(RuntimeError):
        list(sweep(variants[1:2], measure))


def test_the_table_has_one_line_per_result_below_its_head() -> None:
    lines = sweep_table([result(), result(decoder="tiny", fps_end_to_end=123.5)]).splitlines()
    assert lines[0].split()[:7] == [*NAMES, "fps_end_to_end"]
    assert [line.split()[6] for line in lines[1:]] == ["10.0", "123.5"]


def test_above_one_is_better_for_rates_times_and_memory() -> None:
    new = result(fps_end_to_end=20.0, chunk_ms_p50=5.0, peak_memory_bytes=40, frames=144, tflops=0.0)
    found = ratios(new, [result()])
    assert (found["fps_end_to_end"], found["chunk_ms_p50"], found["peak_memory_bytes"]) == (2.0, 2.0, 0.25)
    assert "frames" not in found and "tflops" not in found


def test_the_reference_most_alike_is_taken() -> None:
    references = [result(fps_end_to_end=40.0), result(decoder="tiny", fps_end_to_end=5.0)]
    assert ratios(result(decoder="tiny"), references)["fps_end_to_end"] == 2.0
    assert ratios(result(), references)["fps_end_to_end"] == 0.25


def test_files_hold_one_result_or_several_and_may_begin_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "ref.json"
    path.write_text(json.dumps(result()))
    assert read_results(path) == [result()]
    path.write_text("a table\nfor people\n" + json.dumps({"runs": [result(), result(decoder="tiny")]}) + "\n")
    assert [one["decoder"] for one in read_results(path)] == ["wan", "tiny"]


@pytest.mark.parametrize("text", [None, "", "a table", "[1]", "{}", '{"runs": [{}]}'])
def test_a_file_without_results_is_refused_by_name(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ref.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"against.*ref\.json"):
        read_results(path)


def test_runs_that_failed_are_no_reference(tmp_path: Path) -> None:
    path = tmp_path / "ref.json"
    path.write_text(json.dumps({"runs": [{"decoder": "tiny", "error": "RuntimeError"}, result()]}))
    assert read_results(path) == [result()]
