import pytest

from longlive import ModelBundle
from longlive.benchmark.bench import Bench, Sample, minutes_of, percentile, stages_of, table
from longlive.benchmark.cost import costs_of
from longlive.errors import ConfigError


def sample(seconds: float, chunk_ms: float, *, is_switch: bool = False, memory: int = 100) -> Sample:
    return Sample(seconds, 12, chunk_ms, chunk_ms / 2, {"switch": 5.0}, is_switch, memory)


@pytest.fixture(scope="module")
def bench(tiny_models: ModelBundle) -> Bench:
    bench = Bench(tiny_models, switch_every=2.0)
    for _ in bench.run(6.0):
        pass
    return bench


def test_minutes_have_their_own_medians_without_switches_and_their_peaks() -> None:
    rows = minutes_of(
        [
            sample(1, 10, memory=100),
            sample(30, 20, memory=300),
            sample(59, 900, is_switch=True, memory=200),
            sample(60, 40),
            sample(119.9, 60),
        ]
    )
    assert [row["minute"] for row in rows] == [1, 2]
    assert [row["chunk_ms_p50"] for row in rows] == [15.0, 50.0]
    assert [row["chunk_ms_spread"] for row in rows] == [5.0, 10.0]
    assert [row["peak_memory_bytes"] for row in rows] == [300, 100]


def test_percentiles_of_nothing_are_not_to_be_had() -> None:
    assert percentile([], 50) is None
    assert percentile([1.0, 2.0, 4.0], 50) == 2.0


def test_the_first_chunk_and_the_filling_of_the_window_are_left_out(bench: Bench) -> None:
    """Window 12 and chunk 3: chunks 0 to 4 are not measured."""
    assert bench.samples[0].start_seconds == 57 / 16
    assert bench.first_ms > 0
    assert bench.warm_first_ms > 0
    assert bench.result()["frames"] == 12 * len(bench.samples)


def test_switches_are_measured_apart_at_their_interval(bench: Bench) -> None:
    switched = [sample.start_seconds for sample in bench.samples if sample.is_switch]
    assert switched == [57 / 16, 69 / 16, 105 / 16, 129 / 16]
    assert all(("switch" in sample.stage_ms) == sample.is_switch for sample in bench.samples)


def test_a_chunk_is_measured_to_its_encoded_segment(bench: Bench) -> None:
    for sample in bench.samples:
        assert {"denoise", "decode", "encode"} <= set(sample.stage_ms)
        assert ("remember" in sample.stage_ms) != sample.is_switch, "a recache spares the clean pass before"
        assert sample.chunk_ms >= 0.99 * sum(sample.stage_ms.values())


def test_end_to_end_is_slower_than_each_stage(bench: Bench) -> None:
    result = bench.result()
    assert result["fps_end_to_end"] < min(result["fps_denoise"], result["fps_decode"], result["fps_encode"])
    assert (result["quantization"], result["cache"], result["overlap"]) == ("off", "full", False)
    assert result["encoder"] == "x264"
    assert result["peak_memory_bytes"] > 10_000_000


def test_chunks_made_ahead_are_switched_and_measured_alike(tiny_models: ModelBundle, bench: Bench) -> None:
    ahead = Bench(tiny_models, switch_every=2.0, overlap=True)
    for _ in ahead.run(6.0):
        pass
    pairs = list(zip(ahead.samples, bench.samples, strict=False))
    assert len(pairs) == len(bench.samples)
    for one, other in pairs:
        assert (one.start_seconds, one.is_switch) == (other.start_seconds, other.is_switch)
        assert set(one.stage_ms) == set(other.stage_ms)
    assert ahead.result()["overlap"]


def test_the_table_shows_every_figure_and_minute(bench: Bench) -> None:
    lines = table(bench.result()).splitlines()
    assert any(line.startswith("fps_end_to_end") for line in lines)
    assert lines[-1].split()[0] == "1"


def test_stages_have_their_median_and_their_95th_percentile() -> None:
    samples = [
        Sample(0, 12, 1, 1, {"denoise": float(ms)} | ({"switch": 7.0} if ms == 3 else {}), False, 0)
        for ms in range(1, 22)
    ]
    assert stages_of(samples) == {"denoise": {"p50": 11.0, "p95": 20.0}, "switch": {"p50": 7.0, "p95": 7.0}}


def test_the_work_of_a_pass_is_counted_and_set_against_the_machine(bench: Bench) -> None:
    result = bench.result()
    assert result["flops_chunk"] == costs_of(bench.models.config)["flops_chunk"]
    spent = [s.stage_ms["denoise"] + s.stage_ms["remember"] for s in bench.samples if not s.is_switch]
    reached = result["flops_chunk"] / percentile(spent, 50) / 1e9
    assert result["tflops"] == pytest.approx(reached, abs=1e-4)
    assert result["tflops_ceiling"] > result["tflops"]
    assert result["kernels_per_pass"] > 100
    assert result["waits_per_pass"] == 0
    assert result["pass_ms_p50"] > 0
    assert (result["attention"], result["compile"], result["random_weights"]) == ("sdpa", "off", False)


def test_too_short_a_run_measures_a_chunk_and_says_what_it_did_not_measure(tiny_models: ModelBundle) -> None:
    """Shorter than the warm-up, and without a switch: no figure is made up."""
    short = Bench(tiny_models, switch_every=60.0)
    assert len(list(short.run(0.1))) == 1 + 1 + 4 + 1, (
        "the first chunk in two parts, the others, one measured"
    )
    result = short.result()
    assert result["frames"] == 12
    assert result["fps_end_to_end"] > 0 and result["chunk_ms_p50"] > 0 and result["peak_memory_bytes"] > 0
    assert (result["switches"], result["switch_ms_p50"], result["recache_ms_p50"]) == (0, None, None)
    assert "switch_ms_p95              -" in table(result)


def test_seconds_are_measured_ones(bench: Bench, tiny_models: ModelBundle) -> None:
    assert len(bench.samples) == 8, "6 s of 12 pictures each, 16 a second"
    with pytest.raises(ConfigError, match="seconds"):
        next(iter(Bench(tiny_models).run(0)))


def test_a_switch_is_measured_from_its_prompt(bench: Bench) -> None:
    switches = [sample for sample in bench.samples if sample.is_switch]
    for sample in switches:
        assert sum(sample.stage_ms[name] for name in ("switch", "denoise")) < sample.switch_ms
        assert sample.switch_ms <= sample.chunk_ms
    assert not [sample for sample in bench.samples if not sample.is_switch and sample.switch_ms]
    assert bench.result()["switches"] == len(switches)


def test_an_impossible_interval_is_refused(tiny_models: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="switch_every"):
        Bench(tiny_models, switch_every=0)
