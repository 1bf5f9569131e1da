"""``fetch``: a checkpoint of one's own, mistakes, and where a model lies."""

from pathlib import Path

import pytest

from longlive.cli import main
from longlive.weights.released import ModelSources


def test_fetch_converts_a_checkpoint_under_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[ModelSources] = []
    monkeypatch.setattr(
        "longlive.weights.assembly.assemble", lambda sources, progress: asked.append(sources) or tmp_path
    )
    file = tmp_path / "self_forcing_dmd.pt"
    file.write_bytes(b"")
    options = (
        "--checkpoint",
        str(file),
        "--set",
        "window=21",
        "--set",
        "sink=0",
        "--set",
        "steps=[1000, 500]",
    )
    assert main(["fetch", "self-forcing", *options]) == 0
    config = asked[0].config
    assert (config.name, config.window, config.sink, config.steps) == ("self-forcing", 21, 0, (1000, 500))
    assert (asked[0].weights, asked[0].loras) == (file, ())
    assert capsys.readouterr().out.strip() == str(tmp_path)


def test_a_folder_of_parts_a_key_and_a_scale_reach_the_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ModelSources] = []
    monkeypatch.setattr(
        "longlive.weights.assembly.assemble", lambda sources, progress: asked.append(sources) or tmp_path
    )
    options = ["--checkpoint", str(tmp_path), "--lora", str(tmp_path)]
    assert main(["fetch", "mine", *options]) == 0
    assert main(["fetch", "mine", *options, "--weights-key", "generator", "--lora-scale", "0.5"]) == 0
    assert [(s.weights, s.weights_key, s.loras[0].scale) for s in asked] == [
        (tmp_path, None, None),
        (tmp_path, "generator", 0.5),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--checkpoint", "gone.pt"), "There is no file gone.pt"),
        (("--checkpoint", __file__, "--set", "window"), "--set is 'window', but it must be FACT=VALUE"),
        (("--checkpoint", __file__, "--set", "colour=1"), "the facts of a model are"),
        (("--checkpoint", __file__, "--set", "window=0"), "window is 0"),
        (("--checkpoint", __file__, "--set", "window=2"), "window is 2"),
        (("--checkpoint", __file__, "--set", "sink=21"), "the window must hold the sink (21)"),
        (("--checkpoint", __file__, "--set", "sink=true"), "sink is True, but it must be a whole number"),
        (("--checkpoint", __file__, "--set", "positions=rope"), "positions is 'rope'"),
        (
            ("--checkpoint", __file__, "--set", 'context_noise="x"'),
            "context_noise is 'x', but it must be a number",
        ),
        (("--checkpoint", __file__, "--set", "context_noise=NaN"), "context_noise is nan"),
        (("--checkpoint", __file__, "--set", "shift=fast"), "shift is 'fast', but it must be a number"),
        (
            ("--checkpoint", __file__, "--set", "steps=4"),
            "steps is 4, but it must be a list of whole numbers",
        ),
        (("--checkpoint", __file__, "--set", 'steps=["a"]'), "steps is ['a']"),
        (("--checkpoint", __file__, "--set", "transformer=1"), "the facts of a model are"),
    ],
)
def test_fetch_reports_what_is_wrong_with_a_checkpoint(
    options: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "mine", *options]) == 2
    assert words in capsys.readouterr().err


def test_fetch_prints_where_a_model_lies(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(tiny_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(tiny_folder)
