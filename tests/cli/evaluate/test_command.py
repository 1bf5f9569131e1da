"""What can be evaluated; bad options of any table are refused in words before anything is loaded."""

import re
from pathlib import Path

import pytest

from longlive.cli import main


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("table1 --systems sora", "--systems is 'sora'"),
        ("table1 --repeats 0", "--repeats is 0"),
        ("table1 --steps 0", "--steps is 0"),
        ("table1 --seconds nan", "--seconds is nan"),
        ("table1 --weights wan2.1", "--weights is 'wan2.1'"),
        ("table1 --weights sora=x", "'sora'"),
        ("table1 --vbench sora=x", "'sora'"),
        ("table1 --vbench wan2.1=gone.json", "--vbench is 'gone.json'"),
        ("table2 --prompts 0", "--prompts is 0"),
        ("table2 --seconds 1", "--seconds is 1.0"),
        ("table2 --models storybook", "--models is 'storybook'"),
        ("table2 --models a=storybook a=other", "no label may come twice"),
        ("table3 --vbench-python python3", "--videos is None"),
        ("drift gone.mp4 --window 0", "--window is 0.0"),
        ("drift . --figure gone/f.png", "--figure is gone/f.png"),
        ("standins --clips 1", "--clips is 1"),
        ("vbench", "--vbench-python is None"),
        ("vbench --vbench-python python3", "FILE is None"),
        ("vbench x.mp4 --vbench-python python3 --dimensions beauty", "--dimensions is 'beauty'"),
        ("vbench x.mp4 --vbench-python python3 --dimensions color", "VBench's own prompts"),
        ("vbench x.mp4 --vbench-python gone/python", "no Python that runs"),
        ("drift x.mp4 --out gone/x.json", "there is no folder gone"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    words: str,
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("longlive.weights.loading.load_models", lambda *_: pytest.fail("a model was loaded"))
    assert main(["evaluate", *words.split()]) == 2
    told = capsys.readouterr()
    assert told.out == "" and complaint in told.err and len(told.err.strip().splitlines()) == 1


def test_a_folder_without_videos_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "drift", str(tmp_path)]) == 2
    assert "holds no video" in capsys.readouterr().err


def test_what_can_be_evaluated_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    told = capsys.readouterr().out
    listed = re.findall(r"^    (\w+)", told, re.MULTILINE)
    assert listed == [
        *("storybook", "table4", "fig7", "tableA", "tableB", "long", "teacher", "starts"),
        *("table1", "table2", "table3", "drift", "standins", "vbench"),
    ]
