"""An untrained third edition in the layout of a model: it loads, streams and decodes, and trains on."""

from pathlib import Path

import pytest
import torch

from longlive.generation.session import Session
from longlive.media.mp4 import write_video
from longlive.storybook.generator import StorybookModel
from longlive.storybook.sources import SOURCES
from longlive.storybook.third_edition.clips import make_shards, read_shards
from longlive.storybook.third_edition.codec import Codec
from longlive.storybook.third_edition.generator import third_edition_config
from longlive.storybook.third_edition.reader import read_prompt
from longlive.storybook.third_edition.release import save_parts
from longlive.storybook.third_edition.vocabulary import tokenizer_of
from longlive.storybook.third_edition.world.scene import is_held_out
from longlive.training.processes import Processes
from longlive.training.recipe import Recipe
from longlive.training.setup import new_stage
from longlive.training.trainer import Trainer
from longlive.weights.loading import load_models


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with random weights, and two encoded clips in ``clips`` beside it."""
    folder = tmp_path_factory.mktemp("third")
    torch.manual_seed(0)
    codec, tokenizer = Codec().eval(), tokenizer_of(folder, num_captions=300, vocab_size=250)
    make_shards(folder / "clips", codec, num_shards=2, clips=1, num_pictures=21)
    model = StorybookModel(third_edition_config(), len(tokenizer))
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.02)
    save_parts(folder / "model", model, codec, tokenizer)
    return folder


@pytest.mark.parametrize("decoder", ["wan", "tiny"])
def test_it_streams_pictures_of_256x160(release: Path, tmp_path: Path, decoder: str) -> None:
    models = load_models(release / "model", decoder=decoder)
    config = models.config
    assert (config.height, config.width, config.spatial_scale) == (160, 256, 16)
    assert config.latent_shape == (48, 10, 16) and config.tokens_per_latent == 40
    session = Session(models, "a red cat with a hat dances at a castle")
    chunks = [session.next_chunk()]
    session.set_prompt("the cat takes off the hat")
    chunks.append(session.next_chunk())
    assert [tuple(chunk.frames.shape) for chunk in chunks] == [(9, 160, 256, 3), (12, 160, 256, 3)]
    assert write_video(tmp_path / "video.mp4", chunks).stat().st_size > 1000


def test_shards_that_are_there_are_kept_and_scenes_are_for_training(release: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (release / "clips").iterdir()}
    make_shards(release / "clips", Codec(), num_shards=2, clips=1, num_pictures=21)
    assert before == {path: path.stat().st_mtime_ns for path in (release / "clips").iterdir()}
    latents, scenes = read_shards(release / "clips")
    assert latents.shape == (2, 6, 48, 10, 16) and latents.dtype == torch.float16
    assert len(scenes) == 2 and not any(is_held_out(scene) for scene in scenes)


@pytest.mark.parametrize("name", ["teacher", "dmd", "streaming"])
def test_the_papers_stages_train_it(release: Path, tmp_path: Path, name: str) -> None:
    model = str(release / "model")
    tables = {
        "models": {"generator": model, "teacher": model},
        "data": {"prompts": "storybook-third", "clips": str(release / "clips")},
        "run": {"steps": 2, "global_batch": 1, "generator_every": 1, "save_every": 0, "log_every": 1},
        "sequences": {"clip": 6, "new_latents": 3, "max_latents": 9},
        "teaching": {"drop": 0.0},
    }
    processes, recipe = Processes(), Recipe.of(tables)
    stage = new_stage(name, recipe, processes, folder=tmp_path, sources=SOURCES)
    trainer = Trainer(stage, recipe, tmp_path, processes, name=name)
    trained = stage.learners[stage.subject].parameters
    before = {key: value.detach().clone() for key, value in trained.items()}
    trainer.step(0)
    trainer.step(1)
    moved = [key for key, value in before.items() if not value.equal(trained[key])]
    assert len(moved) > len(before) / 2
    asked = [read_prompt(prompt) for prompt in stage.prompts()]
    assert asked and any(values for values in asked), "captions of the third edition's world"
