"""Downloads that break off, are refused, come spoiled or find no room; whatever is whole is kept."""

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from safetensors.torch import load_file

from longlive.errors import CheckpointError
from longlive.weights import registry as hub
from longlive.weights.assembly import cache_folder
from longlive.weights.downloads import hub_errors
from longlive.weights.layout import WEIGHTS
from tests.support.hub_fixtures import FakeHub, etag, go_offline, set_sleep
from tests.support.published_weights import BASE, LORA, SOURCES

LONGLIVE, WAN = SOURCES.weights.repository, SOURCES.parts.repository
TRANSFORMER = f"transformer/{WEIGHTS}"


def leftovers() -> list[str]:
    return [str(path) for path in cache_folder().rglob("*") if path.suffix in (".unfinished", ".longlive")]


def test_nothing_is_fetched_when_something_cannot_be(fake: FakeHub) -> None:
    fake.refusals[SOURCES.text_encoder.repository] = "GatedRepo"
    with pytest.raises(CheckpointError, match="accept terms first"):
        hub.find_model("longlive-1.3b")
    assert not fake.got(BASE)


def test_a_connection_that_breaks_off_is_resumed_where_it_stopped(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    fake.cuts[BASE] = 20_000
    hub.find_model("longlive-1.3b")
    size = (fake.root / LONGLIVE / BASE).stat().st_size
    assert fake.got(BASE) == ["", *(f"bytes={begin}-" for begin in range(20_000, size, 20_000))]


def test_a_connection_that_stays_bad_is_an_error_and_what_has_come_is_kept(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)
    fake.cuts[BASE] = 20_000
    with monkeypatch.context() as patch:
        set_sleep(patch, lambda _: fake.cuts.update({BASE: 0}))
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
def test_a_repository_that_is_refused_is_reported_with_the_cure(
    fake: FakeHub, refusal: str, words: str
) -> None:
    fake.refusals[LONGLIVE] = refusal
    with pytest.raises(CheckpointError, match=words):
        hub.find_model("longlive-1.3b")


def test_without_network_a_cold_cache_is_an_error_and_a_warm_one_is_converted(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        go_offline(patch)
        with pytest.raises(
            CheckpointError, match=r"not in the local cache.*Check the network and HF_HUB_OFFLINE"
        ):
            hub.find_model("longlive-1.3b")
    folder = hub.find_model("longlive-1.3b")
    shutil.rmtree(cache_folder())
    go_offline(monkeypatch)
    assert hub.find_model("longlive-1.3b") == folder
    assert load_file(folder / TRANSFORMER)


def test_a_hub_that_cannot_be_reached_is_reported(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}")
    with pytest.raises(CheckpointError, match=rf"{LONGLIVE}.*the Hub cannot be reached. Check the network"):
        hub.find_model("longlive-1.3b")


def test_a_half_warm_cache_without_network_is_an_error(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub.find_model("longlive-1.3b")
    shutil.rmtree(cache_folder())
    (pointer,) = Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{LORA}")
    pointer.resolve().unlink()
    pointer.unlink()
    go_offline(monkeypatch)
    with pytest.raises(CheckpointError, match="not in the local cache as a whole"):
        hub.find_model("longlive-1.3b")
    assert not folder.exists()


def test_a_disk_without_room_is_reported_before_anything_is_fetched(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longlive.weights.downloads.free_disk_bytes", lambda folder: 1_000)
    with pytest.raises(CheckpointError, match=r"MB are needed in .*only 0.00 MB are free.*HF_HOME"):
        hub.find_model("longlive-1.3b")
    assert not fake.got(BASE)


@pytest.mark.parametrize(
    "fault",
    [ImportError("Using SOCKS proxy, but"), ValueError("Unknown scheme for proxy URL URL('socks://')")],
)
def test_a_proxy_of_a_kind_that_cannot_be_used_is_named(fault: Exception) -> None:
    with pytest.raises(CheckpointError, match=r"through the proxy.*pip install socksio"), hub_errors("a/b"):
        raise fault
    with pytest.raises(ValueError, match="something else"), hub_errors("a/b"):
        raise ValueError("something else")
