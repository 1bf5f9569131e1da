"""Published models: pinned sources, built-in shapes, and the sources of a checkpoint of one's own."""

import re
from pathlib import Path

import pytest

from longlive.errors import CheckpointError, ConfigError
from longlive.weights.family import BUILT_IN, RELEASED
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.registry import KNOWN_MODELS, config_of
from longlive.weights.released import LONGLIVE_SOURCES, MID_SIZE, LoraSource, sources_for_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "self_forcing_dmd.pt"
    path.write_bytes(b"")
    return path


def test_what_a_model_needs_is_pinned_to_a_commit() -> None:
    assert len(LONGLIVE_SOURCES.needed) == 4
    assert all(re.fullmatch("[0-9a-f]{40}", source.revision) for source in LONGLIVE_SOURCES.needed)
    assert all(name == sources.config.name for name, sources in RELEASED.items())
    assert set(RELEASED) <= set(KNOWN_MODELS)


def test_built_in_shapes_need_no_files() -> None:
    assert config_of("longlive-1.3b").tokens_per_latent == 1560
    assert config_of("mid-size") is MID_SIZE
    assert (MID_SIZE.tokens_per_latent, MID_SIZE.transformer.dim, MID_SIZE.window) == (15 * 26, 512, 12)
    assert all(name == config.name for name, config in BUILT_IN.items())


def test_a_checkpoint_replaces_the_transformer_and_brings_its_facts(checkpoint: Path) -> None:
    sources = sources_for_checkpoint(checkpoint, window=21, sink=0, steps=[1000, 500])
    assert (sources.config.name, sources.config.window, sources.config.sink) == ("self_forcing_dmd", 21, 0)
    assert sources.config.steps == (1000, 500)
    assert (sources.weights, sources.loras) == (checkpoint, ())
    assert sources.text_encoder == LONGLIVE_SOURCES.text_encoder
    assert sources.needed == [LONGLIVE_SOURCES.text_encoder, LONGLIVE_SOURCES.parts]
    assert LONGLIVE_SOURCES.loras[0].scale == 1, "alpha = rank there, and the file states neither"
    assert sources.config.sizes == ((480, 832),) and "tuned at 832x480" in sources.card.about_sizes
    other = sources_for_checkpoint(checkpoint, height=720, width=1280)
    assert other.config.all_sizes == ((1280, 720),) and not other.card.about_sizes
    upright = sources_for_checkpoint(checkpoint, sizes=[[480, 832], [624, 624]])
    assert upright.config.sizes == ((480, 832), (624, 624)) and not upright.card.about_sizes
    named = sources_for_checkpoint(checkpoint, [LoraFile(checkpoint, 0.7, 0.5)], name="mine")
    assert (named.config.name, named.loras) == ("mine", (LoraSource(checkpoint, 0.7, 0.5),))
    assert named.card.about == f"Made from {checkpoint.name} with the LoRA {checkpoint.name} at 0.7."


def test_mistakes_are_named(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"There is no file gone.pt"):
        sources_for_checkpoint(Path("gone.pt"))
    with pytest.raises(CheckpointError, match=r"There is no file lora.pt"):
        sources_for_checkpoint(checkpoint, [LoraFile(Path("lora.pt"))])
    with pytest.raises(ConfigError, match=r"the facts of a model are.*window"):
        sources_for_checkpoint(checkpoint, colour="red")
    with pytest.raises(ConfigError, match=r"sizes is 5, but it must be a list of \[width, height\]"):
        sources_for_checkpoint(checkpoint, sizes=5)
    with pytest.raises(ConfigError, match=r"window is 0"):
        sources_for_checkpoint(checkpoint, window=0)
