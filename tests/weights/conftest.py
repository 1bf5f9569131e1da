"""The published repositories on a Hub of this machine, and a copy of the tiny model to spoil."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from longlive.weights import registry
from tests.support import published_weights as published
from tests.support.hub_fixtures import FakeHub, serving


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    published.publish(root)
    return root


@pytest.fixture
def fake(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with the published repositories, and an empty cache; large is what has over 10 kB.

    The optional decoders, which are as large as the real ones, are left out but where a test puts them in.
    """
    monkeypatch.setattr("longlive.weights.downloads.LARGE", 10_000)
    monkeypatch.setitem(registry.RELEASED, "longlive-1.3b", published.WITHOUT_DECODERS)
    fake = FakeHub(repositories, published.revisions())
    with serving(fake, tmp_path / "cache" / "hub", monkeypatch):
        yield fake


@pytest.fixture
def own(fake: FakeHub, tmp_path: Path) -> FakeHub:
    """The same, with repositories that a test may spoil."""
    fake.root = Path(shutil.copytree(fake.root, tmp_path / "own"))
    return fake


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))
