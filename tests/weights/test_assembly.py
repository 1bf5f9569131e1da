"""longlive-1.3b from a Hub on this machine: fetched, converted, merged, loaded; and all that may go wrong."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from longlive import Session, load_models
from longlive.errors import CheckpointError
from longlive.weights import registry as hub
from longlive.weights.assembly import add_decoders, assemble, cache_folder, print_download_plan
from longlive.weights.key_mapping import transformer_from_released
from longlive.weights.layout import WEIGHTS, verify
from longlive.weights.lora import merge_lora
from tests.support import published_weights as published
from tests.support.hub_fixtures import FakeHub, etag, serving
from tests.support.published_weights import RECIPE

BASE, LORA = "models/longlive_base.pt", "models/lora.pt"
TEXT, TINY, LIGHT = "models_t5_umt5-xxl-enc-bf16.pth", "taew2_1.pth", "lightvaew2_1.pth"
LONGLIVE, WAN = RECIPE.weights.repository, RECIPE.parts.repository
TRANSFORMER = f"transformer/{WEIGHTS}"
WITHOUT_DECODERS = dataclasses.replace(RECIPE, tiny_vae=None, light_vae=None)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    published.publish(root)
    return root


@pytest.fixture
def fake(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with the published repositories, and an empty cache; large is what has over 10 kB.

    The further decoders, which are as large as the real ones, are left out but where a test puts them in.
    """
    monkeypatch.setattr("longlive.weights.downloads.LARGE", 10_000)
    monkeypatch.setitem(hub.RECIPES, "longlive-1.3b", WITHOUT_DECODERS)
    fake = FakeHub(repositories, published.revisions())
    with serving(fake, tmp_path / "cache" / "hub", monkeypatch):
        yield fake


@pytest.fixture
def own(fake: FakeHub, tmp_path: Path) -> FakeHub:
    """The same, with repositories that a test may spoil."""
    fake.root = Path(shutil.copytree(fake.root, tmp_path / "own"))
    return fake


def offline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(constants, "HF_HUB_OFFLINE", True)


def leftovers() -> list[str]:
    return [str(path) for path in cache_folder().rglob("*") if path.suffix in (".unfinished", ".longlive")]


def test_fetch_convert_merge_load_generate(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.RECIPES, "longlive-1.3b", RECIPE)
    models = load_models("longlive-1.3b", decoder="tiny")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pairs = published.lora()
    expected = merge_lora(transformer_from_released(published.released()), pairs, 1.0)
    loaded = models.transformer.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name].bfloat16().float()) for name in expected)
    assert models.text_encoder.model.shared.weight.dtype == torch.bfloat16, "stored so, and kept so"
    assert models.config == RECIPE.config
    with Session(models, "a red ball", seed=1) as session:
        assert [session.next_chunk().frames.shape for _ in range(2)] == [(9, 32, 48, 3), (12, 32, 48, 3)]
    with Session(load_models("longlive-1.3b", decoder="light"), "a red ball") as session:
        assert session.next_chunk().frames.std() > 0
    assert load_models("longlive-1.3b").digest == models.digest


def test_only_what_is_needed_is_fetched_and_only_once(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub.find_model("longlive-1.3b")
    assert not fake.got("transformer/diffusion_pytorch_model.safetensors")
    assert not fake.got("scheduler/scheduler_config.json")
    assert fake.got(BASE) == fake.got(LORA) == fake.got(TEXT) == [""]
    asked = len(fake.asked)
    assert hub.find_model("longlive-1.3b") == folder
    assert len(fake.asked) == asked
    shutil.rmtree(constants.HF_HUB_CACHE)
    offline(monkeypatch)
    assert hub.find_model("longlive-1.3b") == folder, "a converted model needs neither network nor Hub cache"
    verify(folder)


def test_sizes_and_free_space_are_told_before_anything_is_fetched(fake: FakeHub) -> None:
    lines: list[str] = []
    print_download_plan(RECIPE, lines.append)
    size = (fake.root / LONGLIVE / BASE).stat().st_size
    assert any(BASE in line and f"{size / 1e6:.2f} MB" in line for line in lines)
    assert "in all; to write: at most" in lines[-1]
    assert "free: " in lines[-1]
    assert not [path for method, path, _ in fake.asked if method == "GET"]


def test_nothing_is_fetched_when_something_cannot_be(fake: FakeHub) -> None:
    fake.refusals[RECIPE.text_encoder.repository] = "GatedRepo"
    with pytest.raises(CheckpointError, match="accept terms first"):
        hub.find_model("longlive-1.3b")
    assert not fake.got(BASE)


def test_a_connection_that_breaks_off_is_taken_up_again_where_it_stopped(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    fake.cuts[BASE] = 20_000
    hub.find_model("longlive-1.3b")
    size = (fake.root / LONGLIVE / BASE).stat().st_size
    assert fake.got(BASE) == ["", *(f"bytes={begin}-" for begin in range(20_000, size, 20_000))]


def test_a_connection_that_stays_bad_is_told_and_what_has_come_is_kept(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    fake.cuts[BASE] = 20_000
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.time.sleep", lambda _: fake.cuts.update({BASE: 0}))
        with pytest.raises(CheckpointError, match=r"cannot be fetched: .*Try again; what has come is kept"):
            hub.find_model("longlive-1.3b")
    fake.cuts.clear()
    hub.find_model("longlive-1.3b")
    assert fake.got(BASE)[-1] == "bytes=20000-"


def test_a_process_that_ended_in_a_download_is_continued_by_the_next(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import file_download

    get = file_download.http_get

    def ended(url: str, file: Any, **options: Any) -> None:
        if url.endswith(BASE):
            get(url, file, **(options | {"expected_size": None}))
            file.truncate(12_345)
            raise KeyboardInterrupt
        get(url, file, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(file_download, "http_get", ended)
        hub.find_model("longlive-1.3b")
    assert not list(cache_folder().glob("longlive*"))
    folder = hub.find_model("longlive-1.3b")
    assert fake.got(BASE) == ["", "bytes=12345-"]
    assert (folder / TRANSFORMER).is_file()
    assert not leftovers()


def test_a_process_that_ended_with_its_file_whole_does_not_fetch_it_again(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: Any, **options: Any) -> Any:
        if not options.get("dry_run"):
            raise KeyboardInterrupt
        return snapshot(*_, **options)

    snapshot = huggingface_hub.snapshot_download
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(huggingface_hub, "snapshot_download", ended)
        hub.find_model("longlive-1.3b")
    hub.find_model("longlive-1.3b")
    assert fake.got(BASE) == [""]


def test_a_file_that_is_not_what_was_published_is_refused(own: FakeHub) -> None:
    file = own.root / LONGLIVE / BASE
    published_etag = etag(file)
    data = bytearray(file.read_bytes())
    data[-5000] ^= 1
    file.write_bytes(data)
    file.with_name(f".{file.name}.etag").write_text(published_etag)
    with pytest.raises(
        CheckpointError, match=rf"not what was published.*{published_etag[:12]}.*Delete .*blobs"
    ):
        hub.find_model("longlive-1.3b")
    assert not list(cache_folder().glob("longlive*"))


def test_a_file_that_the_repository_lacks_is_named(own: FakeHub) -> None:
    (own.root / WAN / "vae/config.json").unlink()
    with pytest.raises(CheckpointError, match=rf"{WAN}.*lacks vae/config.json.*update LongLive"):
        hub.find_model("longlive-1.3b")


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("GatedRepo", rf"does not hand out '{LONGLIVE}' yet.*huggingface.co/{LONGLIVE}.*hf auth login"),
        ("RepoNotFound", rf"does not know '{LONGLIVE}'.*Check the name"),
        ("RevisionNotFound", rf"'{LONGLIVE}' no longer has the revision.*--checkpoint"),
    ],
)
def test_a_repository_that_is_refused_is_told_with_the_cure(fake: FakeHub, refusal: str, words: str) -> None:
    fake.refusals[LONGLIVE] = refusal
    with pytest.raises(CheckpointError, match=words):
        hub.find_model("longlive-1.3b")


def test_without_network_a_cold_cache_is_told_and_a_warm_one_is_converted(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        offline(patch)
        with pytest.raises(
            CheckpointError, match=r"not in the local cache.*Check the network and HF_HUB_OFFLINE"
        ):
            hub.find_model("longlive-1.3b")
    folder = hub.find_model("longlive-1.3b")
    shutil.rmtree(cache_folder())
    offline(monkeypatch)
    assert hub.find_model("longlive-1.3b") == folder
    assert load_file(folder / TRANSFORMER)


def test_a_hub_that_cannot_be_reached_is_told(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}")
    with pytest.raises(CheckpointError, match=rf"{LONGLIVE}.*the Hub cannot be reached. Check the network"):
        hub.find_model("longlive-1.3b")


def test_a_half_warm_cache_without_network_is_told(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub.find_model("longlive-1.3b")
    shutil.rmtree(cache_folder())
    (pointer,) = Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{LORA}")
    pointer.resolve().unlink()
    pointer.unlink()
    offline(monkeypatch)
    with pytest.raises(CheckpointError, match="not in the local cache as a whole"):
        hub.find_model("longlive-1.3b")
    assert not folder.exists()


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.weights.downloads.free_bytes", lambda folder: 1_000)
    with pytest.raises(CheckpointError, match=r"MB are needed in .*only 0.00 MB are free.*HF_HOME"):
        hub.find_model("longlive-1.3b")
    assert not fake.got(BASE)


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
    assert not leftovers()
    kept = (partial / TRANSFORMER).stat().st_mtime_ns
    folder = hub.find_model("longlive-1.3b")
    assert (folder / TRANSFORMER).stat().st_mtime_ns == kept, "what was finished is not made again"
    assert not partial.exists()
    verify(folder)


def test_a_checkpoint_of_ones_own_is_converted_once_and_again_when_it_changes(
    fake: FakeHub, tmp_path: Path
) -> None:
    file, state = tmp_path / "mine.pt", published.released()
    torch.save({"generator_ema": state}, file)
    recipe = dataclasses.replace(
        WITHOUT_DECODERS,
        config=dataclasses.replace(RECIPE.config, name="mine", sink=0),
        weights=file,
        lora=None,
    )
    folder = assemble(recipe)
    assert folder.name.startswith("mine-")
    assert not fake.got(BASE), "LongLive's own weights are not needed for it"
    models = load_models(folder)
    assert models.config.sink == 0
    expected = transformer_from_released(state)["proj_out.bias"].bfloat16().float()
    assert torch.equal(models.transformer.proj_out.bias, expected)
    assert assemble(recipe) == folder
    assert assemble(dataclasses.replace(recipe, dtype=torch.float32)) != folder
    torch.save({"generator_ema": {name: tensor + 1 for name, tensor in state.items()}}, file)
    assert assemble(recipe) != folder


def test_a_model_works_without_the_further_decoders_and_they_can_come_later(fake: FakeHub) -> None:
    decoders = RECIPE.tiny_vae.repository
    fake.refusals[decoders] = "RepoNotFound"
    lines: list[str] = []
    folder = assemble(RECIPE, lines.append)
    assert any("no tiny_vae" in line and "works without it" in line for line in lines)
    with pytest.raises(CheckpointError, match=r"has no tiny decoder.*Fetch the model again"):
        load_models(folder, decoder="tiny")
    fake.refusals.clear()
    digest = load_models(folder).digest
    add_decoders(RECIPE, folder)
    assert load_models(folder, decoder="tiny").digest == digest


def test_a_converted_file_that_changed_is_found_by_verifying(fake: FakeHub) -> None:
    folder = hub.find_model("longlive-1.3b")
    path = folder / TRANSFORMER
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"not what was written.*Delete .* and fetch"):
        verify(folder)
