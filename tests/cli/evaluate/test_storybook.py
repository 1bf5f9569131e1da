"""``evaluate``, from options to JSON; bad options are refused in one line before anything is loaded."""

import json
from pathlib import Path

import pytest

from longlive.cli import main
from longlive.cli.evaluate import storybook as cli
from longlive.cli.main import build_parser
from longlive.evaluation.experiments import windows


@pytest.mark.slow
def test_fig7_prints_a_report_and_draws(
    noise_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        windows, "window_choices", lambda _: [{"window": 3, "sink": 0}, {"window": 6, "sink": 3}]
    )
    options = ["--model", str(noise_folder), "--prompts", "1", "--seconds", "4", "--workers", "1"]
    assert main(["evaluate", "fig7", *options, "--figure", str(tmp_path / "f.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["window"] for row in told["result"]["windows"]] == [3, 6]
    assert told["models"][str(noise_folder)]["name"] == "tiny"
    assert (tmp_path / "f.png").stat().st_size > 5000


@pytest.mark.slow
def test_table4_prints_a_table_and_shows_the_pictures(
    noise_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", str(noise_folder), "--prompts", "1", "--workers", "1"]
    assert main(["evaluate", "table4", *options, "--figure", str(tmp_path / "f.png")]) == 0
    assert (tmp_path / "f.png").stat().st_size > 5000
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["no_cache", "keep_cache", "recache", "ceiling"]
    assert any(line.startswith("obeyed_after") for line in lines)
    assert any(line.startswith("recache above keep_cache in obeyed_after") for line in lines)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("table4 --prompts 0", "prompts is 0"),
        ("table4 --workers 0", "workers is 0"),
        ("table4 --seed -1", "seed is -1"),
        ("table4 --model nowhere/at-all-there", "nowhere/at-all-there"),
        ("fig7 --seconds 1", "seconds is 1.0"),
        ("fig7 --figure /nowhere/f.png", "--figure is '/nowhere/f.png'"),
        ("long --seconds 25", "seconds is 25"),
        ("long --seconds 10", "seconds is 10"),
        ("long --models before", "--models is 'before'"),
        ("tableA --runs =x", "--runs is '=x'"),
        ("tableA --runs 4=storybook 4=other", "4"),
        ("tableA --runs 4=storybook --prompts 3", "prompts is 3"),
        ("storybook --prompts 4", "prompts is 4"),
        ("storybook --workers 0", "workers is 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    words: str, complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(cli, "MEASURES", {})
    assert main(["evaluate", *words.split()]) == 2
    told = capsys.readouterr()
    assert told.out == "" and complaint in told.err and len(told.err.strip().splitlines()) == 1


def test_the_storybooks_own_evaluation_has_its_options() -> None:
    args = build_parser().parse_args(["evaluate", "storybook", "--prompts", "9"])
    assert (args.what, args.prompts, args.model) == ("storybook", 9, "storybook")
