from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from longlive.errors import CheckpointError
from longlive.weights import registry as hub


def response_error(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    """One of the Hub's own errors, without a server to answer."""
    error = kind.__new__(kind)
    Exception.__init__(error, "the server said so")
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (response_error(errors.GatedRepoError), "accept terms first.*huggingface.co/someone/model"),
        (response_error(errors.RepositoryNotFoundError), "does not know.*Check the name"),
        (errors.LocalEntryNotFoundError("no"), "not in the local cache.*Check the network"),
        (ConnectionRefusedError("refused"), "cannot be fetched: refused"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_whatever_the_hub_says_is_told_in_words(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match=words) as caught:
        hub.find_model("someone/model")
    assert caught.value.__cause__ is error


def test_a_hub_id_fetches_only_the_files_of_our_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot(repository: str, *, allow_patterns: list[str]) -> str:
        asked[repository] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert hub.find_model("someone/model") == tmp_path
    assert asked == {"someone/model": ["longlive.json", "model_index.json", "*/*.json", "*/*.safetensors"]}


def test_an_uncached_model_without_network_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        hub.find_model("nobody-at-all/no-such-model")


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"'storybok'.*Did you mean 'storybook'\?.*longlive-1.3b"):
        hub.find_model("storybok")


@pytest.mark.parametrize("name", ["./no/such/folder", "/nowhere", "", "a/b/c"])
def test_a_folder_that_is_not_there_does_not_go_to_the_hub(name: str) -> None:
    with pytest.raises(CheckpointError, match="There is no model"):
        hub.find_model(name or " ")


def test_a_missing_embedded_model_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub.EMBEDDED, "storybook", tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"gone, is missing.*train storybook"):
        hub.find_model("storybook")


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert hub.find_model(tmp_path) == tmp_path
