"""Startup: the first preset that fits is taken, a smaller one is tried once, and progress is reported."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from longlive import CheckpointError, ConfigError, FitError, ModelBundle, Session, load_models
from longlive.models.bundle import RuntimeProfile
from longlive.runtime.memory import GB, Preset
from longlive.runtime.startup import (
    RuntimeOptions,
    downgrade_models,
    downgrade_path,
    first_that_fits,
    plan_for,
    ready_models,
    start,
    warm,
)
from longlive.weights.registry import config_of
from tests.support.tiny_model import write_tiny_model

LARGE, MIDDLE, SMALL = Preset("resident"), Preset("streamed"), Preset("streamed", cache="fp8")


def test_progress_is_reported_until_a_model_is_ready(tiny_folder: Path) -> None:
    lines: list[str] = []

    def first_chunk(models: ModelBundle) -> tuple[int, ...]:
        with Session(models, "a red ball") as session:
            return session.next_chunk().frames.shape

    made = start(str(tiny_folder), RuntimeOptions(device="cpu"), lines.append, prepare=first_chunk)
    assert made == (9, 32, 48, 3)
    assert [line.split()[0] for line in lines] == ["looking", "fits:", "loading", "making", "ready"]
    assert "(float32 on cpu)" in lines[2]


def test_on_a_cpu_nothing_is_moved_rounded_or_reported_unasked(tiny_folder: Path) -> None:
    lines: list[str] = []
    models = ready_models(str(tiny_folder), RuntimeOptions(device="cpu", decoder="auto"), lines.append)
    assert not lines
    assert (models.decoder_name, models.runtime.quantization, models.runtime.cache) == ("wan", "off", "full")
    assert models.runtime.max_streams == 16
    assert models.transformer.blocks[0].attn1.fused_weight is not None, "optimized"


def pretend_cpu(monkeypatch: pytest.MonkeyPatch, capability: str, kernels: str) -> None:
    """A CPU that has one capability, and the instructions that torch's kernels may use."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kernels)


@pytest.mark.parametrize(
    ("capability", "kernels", "is_fast"),
    [("avx512_bf16", "AVX512", True), ("avx512_f", "AVX512", False), ("amx_bf16", "AVX2", False)],
)
def test_the_decoder_takes_bfloat16_where_the_cpu_is_fast_at_it_and_latents_are_the_same(
    capability: str, kernels: str, is_fast: bool, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cpu(monkeypatch, capability, kernels)
    models = ready_models(str(tiny_folder), RuntimeOptions(device="cpu"), print)
    exact = ready_models(str(tiny_folder), RuntimeOptions(device="cpu", decoder_dtype="float32"), print)
    assert next(models.decoder.parameters()).dtype is (torch.bfloat16 if is_fast else torch.float32)
    assert next(models.vae.parameters()).dtype is models.dtype is torch.float32, "start pictures stay exact"
    with Session(models, "a red ball", seed=3) as one, Session(exact, "a red ball", seed=3) as other:
        for _ in range(2):
            latents, same = one.next_latents(), other.next_latents()
            assert torch.equal(latents.latents, same.latents)
            pictures, wanted = one.decode(latents).frames, other.decode(same).frames
            error = np.abs(pictures.astype(float) - wanted).max()
            assert (0 < error < 8) if is_fast else error == 0


def test_the_decoder_is_exact_where_rollouts_overlap_as_later_latents_depend_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_cpu(monkeypatch, "amx_bf16", "AVX512")
    options = RuntimeOptions(device="cpu")
    assert options.torch_decoder_dtype(config_of("longlive-1.3b")) is torch.bfloat16
    assert options.torch_decoder_dtype(config_of("causvid")) is torch.float32


def test_what_is_asked_for_is_what_runs(tiny_folder: Path) -> None:
    choices = RuntimeOptions(device="cpu", quantize="int8", cache="fp8", text="cpu", dtype="float32")
    models = ready_models(str(tiny_folder), choices, print)
    assert (models.runtime.quantization, models.runtime.cache_dtype) == ("int8", torch.float8_e4m3fn)
    with Session(models, "a red ball") as session:
        assert session.next_chunk().frames.shape == (9, 32, 48, 3)
    assert torch.get_num_threads() == 1


def test_a_budget_decides_before_anything_is_loaded(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.runtime.startup.load", None)
    with pytest.raises(FitError, match="does not fit"):
        start(str(tiny_folder), RuntimeOptions(device="cpu"), print, prepare=print, free=1000)
    roomy = plan_for(str(tiny_folder), RuntimeOptions(device="cpu"), free=GB)
    assert (roomy.preset.text, roomy.preset.streams) == ("resident", 16)
    tight = plan_for(str(tiny_folder), RuntimeOptions(device="cpu"), free=int(roomy.needed))
    assert tight.preset.streams < 16
    assert 0.95 * roomy.needed >= tight.needed
    smallest = roomy.smaller[-1]
    assert (smallest.text, smallest.streams) == ("cpu", 1), "the text encoder stays in its file"
    assert [one.text for one in roomy.smaller].count("cpu") == 1


def test_an_impossible_precision_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="8-bit floats need a GPU, not cpu"):
        plan_for("no such model", RuntimeOptions(device="cpu", quantize="fp8"))


def test_a_decoder_that_the_model_lacks_is_named_with_the_cure(tiny_folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tiny decoder .*use the decoder wan"):
        plan_for(str(tiny_folder), RuntimeOptions(device="cpu", decoder="tiny"))


@pytest.mark.parametrize(("failures", "expected"), [(0, LARGE), (1, MIDDLE)])
def test_after_memory_ran_out_the_next_smaller_preset_is_tried(failures: int, expected: Preset) -> None:
    tried: list[Preset] = []
    lines: list[str] = []

    def attempt(preset: Preset) -> Preset:
        tried.append(preset)
        if len(tried) <= failures:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return preset

    assert first_that_fits([LARGE, MIDDLE, SMALL], attempt, lines.append) == expected
    assert len(lines) == failures
    assert not failures or "out of memory with auto decoder, text encoder on the device; trying" in lines[0]


def test_only_one_smaller_preset_is_tried() -> None:
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


def test_all_is_freed_before_the_smaller_preset_is_tried() -> None:
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


def test_running_streams_are_downgraded_to_a_preset_that_frees_memory_of_a_single_stream() -> None:
    fewer = Preset("resident", streams=3)
    path = downgrade_path(Preset("resident", streams=4), [fewer, LARGE, MIDDLE, SMALL])
    assert isinstance(path, partial) and path.keywords == {"preset": MIDDLE}
    path = downgrade_path(MIDDLE, [fewer, LARGE, MIDDLE, SMALL])
    assert isinstance(path, partial) and path.keywords == {"preset": SMALL}
    assert downgrade_path(SMALL, [MIDDLE, SMALL]) is None
    assert downgrade_path(LARGE, [fewer]) is None


def test_a_model_is_downgraded_while_a_session_goes_on(tiny_folder: Path) -> None:
    models = ready_models(str(tiny_folder), RuntimeOptions(device="cpu"), print)
    assert models.runtime.downgrade is None, "a CPU has one memory for all"
    with Session(models, "a red ball", seed=1) as session, Session(models, "a red ball", seed=1) as plain:
        for one in (session, plain):
            one.next_chunk()
        session.models = smaller = downgrade_models(models, Preset("streamed", "wan", streams=1))
        assert smaller.runtime == RuntimeProfile(max_streams=1)
        assert smaller.decoder is models.decoder
        assert models.text_encoder.placement == "streamed"
        for one in (session, plain):
            one.set_prompt("a blue ball")
        assert np.array_equal(session.next_chunk().frames, plain.next_chunk().frames)
    assert downgrade_models(models, Preset("streamed", "wan", cache="fp8")).runtime.cache == "fp8"


def test_what_is_compiled_is_warmed_up_for_each_number_of_tokens(tmp_path: Path) -> None:
    passes = {}
    for sizes in ((), ((48, 80),), ((48, 80), (64, 64))):
        write_tiny_model(tmp_path / str(len(sizes)), height=48, width=80, sizes=sizes)
        models = load_models(tmp_path / str(len(sizes)))
        passes[len(sizes)] = len(list(warm(models, RuntimeOptions(compile="default"))))
    assert passes[1] == passes[0], "swapped sides have the same tokens"
    assert passes[2] == 2 * passes[0]


@pytest.mark.parametrize(("least_width", "expected"), [(30, "nvenc"), (40, "x264")])
def test_nvenc_is_taken_where_it_opens_for_every_size(
    two_size_folder: Path, monkeypatch: pytest.MonkeyPatch, least_width: int, expected: str
) -> None:
    def choose(name: str, device: torch.device, width: int, height: int) -> str:
        return "nvenc" if width >= least_width else "x264"

    monkeypatch.setattr("longlive.runtime.startup.choose_encoder", choose)
    models = ready_models(str(two_size_folder), RuntimeOptions(device="cpu"), str)
    assert models.runtime.encoder == expected
