"""Errors of the system stand in messages in plain words, without their numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from longlive.benchmark.sweep import read_results
from longlive.errors import LongLiveError
from longlive.media.gif import write_gif
from longlive.media.mp4 import write_video
from longlive.media.webm import write_webm
from longlive.training.data.next_scene import SceneFile
from longlive.training.data.prompt_grammar import read_grammar, write_prompt_set
from longlive.training.recipe import Recipe
from tests.support.pictures import make_chunk


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: write_video(folder / "gone" / "v.mp4", [make_chunk(0)]),
        lambda folder: write_webm(folder / "gone" / "v.webm", [make_chunk(0)]),
        lambda folder: write_gif(folder, [make_chunk(0)]),
        lambda folder: write_prompt_set(folder),
        lambda folder: read_grammar(folder),
        lambda folder: Recipe.read(folder / "gone.toml", "dmd", {}),
        lambda folder: read_results(folder),
        lambda folder: SceneFile(Path(__file__) / "x.jsonl"),
    ],
    ids=["mp4", "webm", "gif", "prompt set", "grammar", "recipe", "results", "scenes"],
)
def test_a_reason_has_no_number_of_the_system(use: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(
        LongLiveError, match=r"No such file|[Ii]s a directory|File exists|Not a dir"
    ) as caught:
        use(tmp_path)
    assert "Errno" not in str(caught.value)
