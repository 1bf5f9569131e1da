"""What all tests share: how their processes are prepared, and a tiny model that is written once."""

import functools
import gc
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import USUAL_THRESHOLD
from tests.support.prefork import start_template, stop_template

if TYPE_CHECKING:
    from longlive import ModelBundle


def pytest_configure(config: pytest.Config) -> None:
    """Import what takes long, once, and keep a process that has nothing but that (see prefork.py).

    Not in the process that only hands out the tests to others. Without a GPU, Triton's kernels are
    interpreted, which Triton decides when it is first imported.
    """
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    start_template()
    # httpx reads all certificates for each client, Gradio's makes one or more for each call, and each costs
    # 20 ms of a core; the tests speak plain HTTP with this machine.
    ssl.create_default_context = functools.cache(ssl.create_default_context)


def pytest_unconfigure() -> None:
    """End that process."""
    stop_template()


def pytest_collection_finish() -> None:
    """Leave out of every later search for garbage what the imports have made: it stays to the end.

    Some 700,000 objects, half a second at each ``gc.collect()``.
    """
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLD)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as the app does; tiny tensors gain nothing from threads, which wait for each other."""
    from longlive.runtime.allocator import configure_cpu

    configure_cpu(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of 32x48 pictures and 12 text tokens; tests may read it, and not change it."""
    from tests.support.tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tiny_folder: Path) -> "ModelBundle":
    """That model, loaded."""
    from longlive import load_models

    return load_models(tiny_folder)


@pytest.fixture(scope="session")
def two_size_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, whose pictures may be upright, too: 48x32 and 32x48."""
    from tests.support.tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("models") / "two-sizes"
    write_tiny_model(folder, name="two-sizes", sizes=((32, 48),))
    return folder


@pytest.fixture(scope="session")
def two_size_models(two_size_folder: Path) -> "ModelBundle":
    """That model, loaded."""
    from longlive import load_models

    return load_models(two_size_folder)


@pytest.fixture(scope="session")
def two_set_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a second set of weights for the clean pass, and ``keep`` as its switch, as SGF+ has."""
    from tests.support.tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("models") / "two-sets"
    write_tiny_model(folder, name="two-sets", context_transformer=True, switch="keep")
    return folder


@pytest.fixture(scope="session")
def two_set_models(two_set_folder: Path) -> "ModelBundle":
    """That model, loaded."""
    from longlive import load_models

    return load_models(two_set_folder)


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the picture size of the storybook, with pictures of noise; tests may not change it."""
    from longlive.storybook.world.drawing import HEIGHT, WIDTH
    from tests.support.tiny_model import write_tiny_model

    folder = tmp_path_factory.mktemp("models") / "noise"
    write_tiny_model(folder, height=HEIGHT, width=WIDTH, window=6, text_len=48)
    return folder
