"""What can be known at the start is checked before the model is loaded."""

import argparse
import socket
from pathlib import Path

import pytest

from longlive.errors import ConfigError
from longlive.serving.runs.store.store_folder import lock_folder
from longlive.web import launch


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening an executor fails the test."""

    def open_executors(_: argparse.Namespace) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(launch, "open_executors", open_executors)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def options(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    launch.add_serving_options(parser)
    return parser.parse_args(list(map(str, arguments)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "192.0.2.7"), "--host is '192.0.2.7', but this machine cannot listen there"),
        (("--port", 0), "--port is 0, but it must be from 1"),
        (("--store-gb", 0), "--store-gb is 0.0, but it must be above 0"),
        (("--store-gb", "nan"), "--store-gb is nan"),
        (("--lease-s", -1), "--lease-s is -1.0"),
        (("--actors", 0), "--actors is 0"),
        (("--retention-s", 0), "retention_s is 0.0"),
        (("--store", "/dev/null/x"), "store is '/dev/null/x', but it cannot be made"),
        (
            ("--executor", "ray", "--model", "a", "b"),
            "--model is 'a b', but the executor ray serves a single",
        ),
        (("--model", "a", "b", "--lora", __file__), "a LoRA is merged into a single model"),
    ],
)
def test_an_impossible_option_is_refused_before_the_model_is_loaded(
    arguments: tuple[object, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        launch.open_engine(options("--port", free_port(), *arguments))


def test_a_taken_port_is_named_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port is {port}, but another program"):
            launch.open_engine(options("--port", port))


def test_a_second_start_on_a_store_is_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(ConfigError, match="another LongLive uses it"):
        launch.open_engine(options("--port", free_port(), "--store", tmp_path))


def test_a_package_that_an_option_needs_is_asked_for_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'--mcp is True.*pip install "gradio\[mcp\]"'):
        launch.open_engine(options("--mcp"))
