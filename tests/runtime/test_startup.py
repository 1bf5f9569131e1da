"""Starting: what fits is taken, a smaller way is tried once, and people hear what is done."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from longlive import CheckpointError, ConfigError, FitError, ModelBundle, Session
from longlive.runtime.memory import GB, Preset
from longlive.runtime.startup import (
    RuntimeOptions,
    downgrade_models,
    downgrade_path,
    first_that_fits,
    fit_of,
    ready_models,
    start,
)

LARGE, MIDDLE, SMALL = Preset(24, "resident"), Preset(12, "streamed"), Preset(8, "streamed", cache="fp8")


def test_a_person_hears_what_is_done_until_a_model_is_ready(tiny_folder: Path) -> None:
    said: list[str] = []

    def first_chunk(models: ModelBundle) -> tuple[int, ...]:
        with Session(models, "a red ball") as session:
            return session.next_chunk().frames.shape

    made = start(str(tiny_folder), RuntimeOptions(device="cpu"), said.append, prepare=first_chunk)
    assert made == (9, 32, 48, 3)
    assert [line.split()[0] for line in said] == ["looking", "fits:", "loading", "making", "ready"]
    assert "(float32 on cpu)" in said[2]


def test_on_a_cpu_nothing_is_moved_rounded_or_told_unasked(tiny_folder: Path) -> None:
    said: list[str] = []
    models = ready_models(str(tiny_folder), RuntimeOptions(device="cpu", decoder="auto"), said.append)
    assert not said
    assert (models.decoder_name, models.quantization, models.cache_dtype) == ("wan", "off", None)
    assert models.streams == 16
    assert models.transformer.blocks[0].attn1._fused is not None, "made quick"


def test_what_is_asked_for_is_what_runs(tiny_folder: Path) -> None:
    choices = RuntimeOptions(device="cpu", quantize="int8", cache="fp8", text="cpu", dtype="float32")
    models = ready_models(str(tiny_folder), choices, print)
    assert (models.quantization, models.cache_dtype) == ("int8", torch.float8_e4m3fn)
    with Session(models, "a red ball") as session:
        assert session.next_chunk().frames.shape == (9, 32, 48, 3)
    assert torch.get_num_threads() == 1


def test_a_budget_decides_before_anything_is_loaded(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.runtime.startup.load_models", None)
    with pytest.raises(FitError, match="does not fit"):
        start(str(tiny_folder), RuntimeOptions(device="cpu"), print, prepare=print, free=1000)
    roomy = fit_of(str(tiny_folder), RuntimeOptions(device="cpu"), free=GB)
    assert (roomy.preset.text, roomy.preset.streams) == ("resident", 16)
    tight = fit_of(str(tiny_folder), RuntimeOptions(device="cpu"), free=int(roomy.needed))
    assert tight.preset.streams < 16
    assert 0.95 * roomy.needed >= tight.needed


def test_an_impossible_precision_is_told_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="8-bit floats need a GPU, not cpu"):
        fit_of("no such model", RuntimeOptions(device="cpu", quantize="fp8"))


def test_a_decoder_that_the_model_lacks_is_told_with_the_cure(tiny_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tiny decoder .*use the decoder wan"):
        fit_of(str(tiny_folder), RuntimeOptions(device="cpu", decoder="tiny"))


@pytest.mark.parametrize(("failures", "expected"), [(0, LARGE), (1, MIDDLE)])
def test_after_the_memory_ran_out_the_next_smaller_way_is_tried(failures: int, expected: Preset) -> None:
    tried: list[Preset] = []
    said: list[str] = []

    def attempt(preset: Preset) -> Preset:
        tried.append(preset)
        if len(tried) <= failures:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return preset

    assert first_that_fits([LARGE, MIDDLE, SMALL], attempt, said.append) == expected
    assert len(said) == failures
    assert not failures or "out of memory with auto decoder, text encoder on the device; trying" in said[0]


def test_only_one_smaller_way_is_tried() -> None:
    tried: list[Preset] = []

    def attempt(preset: Preset) -> None:
        tried.append(preset)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(FitError, match=r"The memory ran out with .*brought in for each prompt"):
        first_that_fits([LARGE, MIDDLE, SMALL], attempt, print)
    assert tried == [LARGE, MIDDLE]
    tried.clear()
    with pytest.raises(FitError, match="The memory ran out"):
        first_that_fits([LARGE], attempt, print)


def test_all_is_freed_before_the_smaller_way_is_tried() -> None:
    """What the first attempt made hangs on its error, and would be there beside the second."""
    import weakref

    class Weights:
        pass

    alive: list[weakref.ref[Weights]] = []

    def attempt(preset: Preset) -> str:
        if preset is LARGE:
            weights = Weights()
            alive.append(weakref.ref(weights))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "gone" if alive[0]() is None else "still there"

    assert first_that_fits([LARGE, MIDDLE], attempt, print) == "gone"


def test_the_smaller_way_for_a_story_that_goes_on_is_one_that_frees_something_of_it() -> None:
    fewer = Preset(48, "resident", streams=3)
    way = downgrade_path(Preset(80, "resident", streams=4), [fewer, LARGE, MIDDLE, SMALL])
    assert isinstance(way, partial) and way.keywords == {"preset": MIDDLE}
    way = downgrade_path(MIDDLE, [fewer, LARGE, MIDDLE, SMALL])
    assert isinstance(way, partial) and way.keywords == {"preset": SMALL}
    assert downgrade_path(SMALL, [MIDDLE, SMALL]) is None
    assert downgrade_path(LARGE, [fewer]) is None


def test_a_model_shrinks_while_a_story_goes_on(tiny_folder: Path) -> None:
    models = ready_models(str(tiny_folder), RuntimeOptions(device="cpu"), print)
    assert models.smaller is None, "a CPU has one memory for all"
    with Session(models, "a red ball", seed=1) as session, Session(models, "a red ball", seed=1) as plain:
        for one in (session, plain):
            one.next_chunk()
        session.models = smaller = downgrade_models(models, Preset(8, "streamed", "wan", streams=1))
        assert (smaller.streams, smaller.smaller, smaller.decoder) == (1, None, models.decoder)
        assert models.text_encoder.slots == "streamed"
        for one in (session, plain):
            one.set_prompt("a blue ball")
        assert np.array_equal(session.next_chunk().frames, plain.next_chunk().frames)
    assert downgrade_models(models, Preset(8, "streamed", "wan", cache="fp8")).cache == "fp8"
