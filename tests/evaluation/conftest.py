"""A tiny model of the world's own picture size, with random weights: what it draws is noise."""

from pathlib import Path

import pytest

from longlive.storybook.world.drawing import HEIGHT, WIDTH
from tests.conftest import write_tiny_model


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; tests may read it, and not change it."""
    folder = tmp_path_factory.mktemp("models") / "noise"
    write_tiny_model(folder, height=HEIGHT, width=WIDTH, window=6, text_len=48)
    return folder
