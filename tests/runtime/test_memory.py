"""What fits is chosen from counted sizes; the budgets here are made up."""

import dataclasses

import pytest
import torch

from longlive.errors import FitError
from longlive.runtime.footprint import ModelFootprint, cache_bytes, work_bytes
from longlive.runtime.memory import (
    GB,
    PRESETS,
    USABLE,
    Preset,
    divide_memory,
    free_memory,
    needed_bytes,
    plan_memory,
    presets_for,
)
from longlive.weights.released import LONGLIVE_1_3B

ANYTHING = {"decoder": "auto", "quantize": "off", "cache": "full", "text": "auto"}

# LongLive-1.3B in bfloat16; the decoders' figures are those of performance.md.
SIZES = ModelFootprint(
    blocks=2 * 1_388_000_000,
    rest=2 * 31_000_000,
    text=11_360_000_000,
    text_block=400_000_000,
    decoders={"wan": 250_000_000, "tiny": 20_000_000, "light": 16_000_000},
    decoder_work={"wan": 920_000_000, "tiny": 610_000_000, "light": 230_000_000},
    decoder_state={"wan": 1_890_000_000, "tiny": 100_000_000, "light": 470_000_000},
    cache=cache_bytes(LONGLIVE_1_3B, 2),
    work=work_bytes(LONGLIVE_1_3B, 2),
    itemsize=2,
)


def test_keys_and_values_are_those_that_are_counted() -> None:
    assert cache_bytes(LONGLIVE_1_3B, 2) == 3_450_470_400 + 94_371_840


@pytest.mark.parametrize(
    ("device_gb", "text", "decoder", "cache", "streams"),
    [
        (80, "resident", "tiny", "full", 4),
        (48, "resident", "tiny", "full", 4),
        (24, "resident", "tiny", "full", 1),
        (16, "streamed", "tiny", "full", 2),
        (12, "streamed", "tiny", "full", 1),
        (8, "streamed", "tiny", "fp8", 1),
    ],
)
def test_each_size_of_device_has_a_preset_that_fits(
    device_gb: int, text: str, decoder: str, cache: str, streams: int
) -> None:
    fit = plan_memory(SIZES, int(0.97 * device_gb * GB), presets_for(SIZES, ANYTHING))
    found = fit.preset
    assert (found.text, found.decoder, found.cache, found.streams) == (text, decoder, cache, streams)
    assert fit.needed <= USABLE * fit.free
    assert f"needs {fit.needed / GB:.1f} of {fit.free / GB:.1f} GB" in str(fit)
    assert str(fit).startswith("fits: tiny decoder, text encoder ")


def test_the_first_session_takes_8_gb_without_a_resident_text_encoder() -> None:
    preset = Preset("streamed", decoder="tiny")
    assert needed_bytes(SIZES, preset) <= 8.5 * GB
    assert needed_bytes(SIZES, preset) - needed_bytes(SIZES, dataclasses.replace(preset, cache="fp8")) == (
        SIZES.cache // 2
    )
    assert needed_bytes(SIZES, dataclasses.replace(preset, quantize="fp8")) == (
        needed_bytes(SIZES, preset) - int(0.37 * SIZES.blocks)
    ), "a quarter of the products stay in 16 bits"
    assert needed_bytes(SIZES, dataclasses.replace(preset, quantize="int8")) == (
        needed_bytes(SIZES, preset) - SIZES.blocks // 2
    )
    more = dataclasses.replace(preset, streams=3)
    assert needed_bytes(SIZES, more) - needed_bytes(SIZES, preset) == 2 * (SIZES.cache + 100_000_000)


def test_a_smaller_preset_takes_less_and_the_largest_of_them_comes_first() -> None:
    fit = plan_memory(SIZES, 90 * GB, presets_for(SIZES, ANYTHING))
    needs = [needed_bytes(SIZES, preset) for preset in (fit.preset, *fit.smaller)]
    assert needs == sorted(set(needs), reverse=True)
    assert len(needs) == len(PRESETS)


def test_what_people_ask_for_stands_in_every_preset() -> None:
    wishes = {"decoder": "wan", "quantize": "fp8", "cache": "fp8", "text": "cpu"}
    for preset in presets_for(SIZES, wishes):
        assert (preset.decoder, preset.quantize, preset.cache, preset.text) == ("wan", "fp8", "fp8", "cpu")
    assert len(presets_for(SIZES, wishes)) == len({preset.streams for preset in PRESETS})


def test_a_model_without_a_tiny_vae_is_decoded_by_its_own() -> None:
    sizes = dataclasses.replace(SIZES, decoders={"wan": 1}, decoder_work={"wan": 1}, decoder_state={"wan": 1})
    assert {preset.decoder for preset in presets_for(sizes, ANYTHING)} == {"wan"}


def test_what_cannot_fit_is_refused_with_what_it_would_need() -> None:
    with pytest.raises(FitError, match=r"it needs \d+\.\d GB \(tiny decoder, .*fp8 keys.*3\.0 GB are free"):
        plan_memory(SIZES, 3 * GB, presets_for(SIZES, ANYTHING))


def test_a_cpu_has_the_memory_that_the_machine_can_give() -> None:
    assert free_memory(torch.device("cpu")) > 10**8


@pytest.mark.parametrize(("device_gb", "together"), [(80, True), (48, True), (24, True), (12, False)])
def test_memory_is_divided_so_that_each_model_is_planned_with_what_it_gets(
    device_gb: int, together: bool
) -> None:
    free, presets = int(0.97 * device_gb * GB), presets_for(SIZES, ANYTHING)
    shares = divide_memory({"a": (SIZES, presets), "b": (SIZES, presets)}, free)
    assert (shares is not None) == together
    if shares is not None:
        plans = [plan_memory(SIZES, share, presets) for share in shares.values()]
        assert sum(plan.needed for plan in plans) <= USABLE * free
        alone = plan_memory(SIZES, free, presets).preset
        assert all(plan.preset in presets[presets.index(alone) :] for plan in plans)
