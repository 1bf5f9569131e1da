"""What can be evaluated; bad options of any table are refused in words before anything is loaded."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from longlive.cli import main
from longlive.cli.evaluate.command import KINDS


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
        ("drift . --figure gone/f.png", "--figure is 'gone/f.png'"),
        ("standins --clips 1", "--clips is 1"),
        ("standins --workers 0", "--workers is 0"),
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


@pytest.mark.parametrize(
    "words",
    [
        "drift v.mp4 --out v.mp4",
        "drift v.mp4 --out link",
        "drift . --out v.mp4",
        "drift v.mp4 --figure f.png --out f.png",
        "vbench v.mp4 --vbench-python python3 --out v.mp4",
        "table1 --vbench wan2.1=v.mp4 --out v.mp4",
        "table2 --stories v.mp4 --out v.mp4",
    ],
)
def test_no_input_is_written_over(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v.mp4").write_bytes(b"a video")
    Path("link").symlink_to("v.mp4")
    assert main(["evaluate", *words.split(), "--force"]) == 2
    assert "is the same file" in capsys.readouterr().err
    assert Path("v.mp4").read_bytes() == b"a video"


def test_a_result_that_exists_is_kept_and_the_new_one_numbered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[Path, Path]] = []
    monkeypatch.setitem(
        KINDS, "drift", replace(KINDS["drift"], run=lambda args: asked.append((args.out, args.figure)) or 0)
    )
    for name in ("r.json", "f.png"):
        Path(name).touch()
    words = ["evaluate", "drift", "v.mp4", "--out", "r.json", "--figure", "f.png"]
    assert main(words) == main([*words, "--force"]) == 0
    assert asked == [(Path("r-2.json"), Path("f-2.png")), (Path("r.json"), Path("f.png"))]
    assert "r.json exists already and is kept" in capsys.readouterr().err


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
