"""longlive-1.3b from a Hub on this machine: fetched, converted, merged, loaded; and all that may go wrong."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from longlive import Session, load_models
from longlive.errors import CheckpointError
from longlive.weights import registry as hub
from longlive.weights.assembly import assemble, cache_folder, print_download_plan
from longlive.weights.formats.key_mapping import transformer_from_released
from longlive.weights.formats.lora import merge_lora
from longlive.weights.formats.lora_reading import pair_up
from longlive.weights.layout import FACTS, WEIGHTS, ModelFolder, model_digest, verify_digests
from longlive.weights.released import LoraSource
from tests.support import published_weights as published
from tests.support.hub_fixtures import FakeHub, go_offline
from tests.support.published_weights import BASE, LORA, SOURCES, TEXT, WITHOUT_DECODERS

LONGLIVE, WAN = SOURCES.weights.repository, SOURCES.parts.repository
TRANSFORMER = f"transformer/{WEIGHTS}"


def test_fetch_convert_merge_load_generate(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.RELEASED, "longlive-1.3b", SOURCES)
    models = load_models("longlive-1.3b", decoder="tiny")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pairs = published.lora()
    expected = merge_lora(transformer_from_released(published.released()), pair_up(pairs))
    loaded = models.transformer.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name].bfloat16().float()) for name in expected)
    assert models.text_encoder.model.shared.weight.dtype == torch.bfloat16, "stored so, and kept so"
    assert models.config == SOURCES.config
    with Session(models, "a red ball", seed=1) as session:
        assert [session.next_chunk().frames.shape for _ in range(2)] == [(9, 32, 48, 3), (12, 32, 48, 3)]
    with Session(load_models("longlive-1.3b", decoder="light"), "a red ball") as session:
        assert session.next_chunk().frames.std() > 0
    assert load_models("longlive-1.3b").digest == models.digest


def test_a_folder_of_an_earlier_version_learns_the_sizes_and_stays_the_same_model(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.RELEASED, "longlive-1.3b", SOURCES)
    folder = hub.find_model("longlive-1.3b")
    digest = model_digest(ModelFolder.read(folder))
    facts = json.loads((folder / FACTS).read_text())
    assert facts.pop("sizes") == [[32, 48]] and facts["card"].pop("about_sizes")
    (folder / FACTS).write_text(json.dumps(facts))
    assert ModelFolder.read(folder).config.sizes == ()
    assert hub.find_model("longlive-1.3b") == folder
    read = ModelFolder.read(folder)
    assert read.config == SOURCES.config and "tuned at 832x480" in read.card.about_sizes
    assert model_digest(read) == digest


def test_only_what_is_needed_is_fetched_and_only_once(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub.find_model("longlive-1.3b")
    assert not fake.got("transformer/diffusion_pytorch_model.safetensors")
    assert not fake.got("scheduler/scheduler_config.json")
    assert fake.got(BASE) == fake.got(LORA) == fake.got(TEXT) == [""]
    asked = len(fake.asked)
    assert hub.find_model("longlive-1.3b") == folder
    assert len(fake.asked) == asked
    shutil.rmtree(constants.HF_HUB_CACHE)
    go_offline(monkeypatch)
    assert hub.find_model("longlive-1.3b") == folder, "a converted model needs neither network nor Hub cache"
    verify_digests(folder)


def test_sizes_and_free_space_are_told_before_anything_is_fetched(fake: FakeHub) -> None:
    lines: list[str] = []
    print_download_plan(SOURCES, lines.append)
    size = (fake.root / LONGLIVE / BASE).stat().st_size
    assert any(BASE in line and f"{size / 1e6:.2f} MB" in line for line in lines)
    assert "in all; to write: at most" in lines[-1]
    assert "free: " in lines[-1]
    assert not [path for method, path, _ in fake.asked if method == "GET"]


def test_a_disk_that_fills_while_converting_leaves_nothing_half_and_the_rest_is_kept(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longlive.weights import conversion

    write, made = conversion.write_weights, []

    def full(path: Path, *rest: Any) -> str:
        made.append(path.name)
        if "text_encoder" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "write_weights", full)
        with pytest.raises(CheckpointError, match=r"No space left on device.*HF_HOME.*is kept"):
            hub.find_model("longlive-1.3b")
    (partial,) = cache_folder().glob("longlive-1.3b-*")
    assert partial.suffix == ".partial"
    assert not list(partial.rglob("*.unfinished"))
    kept = (partial / TRANSFORMER).stat().st_mtime_ns
    folder = hub.find_model("longlive-1.3b")
    assert (folder / TRANSFORMER).stat().st_mtime_ns == kept, "what was finished is not made again"
    assert not partial.exists()
    verify_digests(folder)


def test_a_checkpoint_of_ones_own_is_converted_once_and_again_when_it_changes(
    fake: FakeHub, tmp_path: Path
) -> None:
    file, state = tmp_path / "mine.pt", published.released()
    torch.save({"generator_ema": state}, file)
    sources = dataclasses.replace(
        WITHOUT_DECODERS,
        config=dataclasses.replace(SOURCES.config, name="mine", sink=0),
        weights=file,
        loras=(),
    )
    folder = assemble(sources)
    assert folder.name.startswith("mine-")
    assert not fake.got(BASE), "LongLive's own weights are not needed for it"
    models = load_models(folder)
    assert models.config.sink == 0
    expected = transformer_from_released(state)["proj_out.bias"].bfloat16().float()
    assert torch.equal(models.transformer.proj_out.bias, expected)
    assert assemble(sources) == folder
    assert assemble(dataclasses.replace(sources, dtype=torch.float32)) != folder
    assert assemble(dataclasses.replace(sources, weights_key="generator_ema")) != folder
    torch.save({"generator_ema": {name: tensor + 1 for name, tensor in state.items()}}, file)
    assert assemble(sources) != folder


def test_a_loras_config_and_what_was_found_belong_to_the_conversion(fake: FakeHub, tmp_path: Path) -> None:
    file, lora, lines = tmp_path / "mine.pt", tmp_path / "adapter_model.safetensors", []
    torch.save({"generator": published.released(), "generator_ema": published.released()}, file)
    save_file(published.lora(), lora)
    config = dataclasses.replace(SOURCES.config, name="mine")
    own = {"config": config, "weights": file, "loras": (LoraSource(lora),)}
    sources = dataclasses.replace(WITHOUT_DECODERS, **own)
    folder = assemble(sources, lines.append)
    assert any("mine.pt: generator_ema is taken; it also holds generator" in line for line in lines)
    found = "LoRA adapter_model.safetensors: 20 pairs of rank 4"
    assert any(f"{found}, no alpha is stated: scale 1" in line for line in lines)
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 8}')
    assert assemble(sources, lines.append) != folder
    assert f"{found}, alpha 8 (adapter_config.json): scale 2" in lines


def test_a_model_works_without_the_further_decoders_and_they_can_come_later(fake: FakeHub) -> None:
    decoders = SOURCES.tiny_vae.repository
    fake.refusals[decoders] = "RepoNotFound"
    lines: list[str] = []
    folder = assemble(SOURCES, lines.append)
    assert any("no tiny_vae" in line and "works without it" in line for line in lines)
    assert any("no light_vae" in line for line in lines)
    with pytest.raises(CheckpointError, match=r"has no tiny decoder.*Fetch the model again"):
        load_models(folder, decoder="tiny")
    fake.refusals.clear()
    digest = load_models(folder).digest
    assert assemble(SOURCES) == folder
    assert load_models(folder, decoder="tiny").digest == digest


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!doctype html><html>Entry not found</html>", "is a web page, not a checkpoint"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of Git LFS"),
        (None, "is broken, or was cut off"),
    ],
)
@pytest.mark.parametrize("plan", [assemble, print_download_plan])
def test_a_file_that_is_no_checkpoint_is_refused_before_anything_is_fetched(
    fake: FakeHub, tmp_path: Path, data: bytes | None, words: str, plan: Any
) -> None:
    file = tmp_path / "mine.pt"
    torch.save(published.released(), file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if data is None else data)
    with pytest.raises(CheckpointError, match=words) as error:
        plan(dataclasses.replace(WITHOUT_DECODERS, weights=file, loras=()))
    assert "weights_only" not in str(error.value)
    assert not fake.asked


def test_names_and_shapes_of_ones_own_files_are_compared_before_anything_is_fetched(
    fake: FakeHub, tmp_path: Path
) -> None:
    file, state = tmp_path / "mine.pt", published.released()
    name = next(name for name, tensor in state.items() if tensor.ndim == 2)
    torch.save(state | {name: torch.zeros(3, 3)}, file)
    with pytest.raises(CheckpointError, match=r"mine\.pt"):
        assemble(dataclasses.replace(WITHOUT_DECODERS, weights=file, loras=()))
    (tmp_path / "lora.pt").write_text("<html>")
    with pytest.raises(CheckpointError, match=r"lora\.pt is a web page"):
        assemble(dataclasses.replace(WITHOUT_DECODERS, loras=(LoraSource(tmp_path / "lora.pt"),)))
    assert not fake.asked
