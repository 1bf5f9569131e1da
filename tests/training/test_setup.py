"""From recipe to stage: what is trained, in which precision, from which prompts and clips."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from longlive import ConfigError, load_models
from longlive.training.data.clips import ShardedClips
from longlive.training.distillation import Distillation
from longlive.training.objectives.texts import read_texts
from longlive.training.processes import Processes
from longlive.training.setup import compute_in, new_stage, reset_parameters
from tests.conftest import write_tiny_model
from tests.support.tiny_recipe import tiny_recipe
from tests.support.tiny_transformer import random_latents, random_prompt, tiny_transformer


def test_only_the_generator_and_the_critic_are_trained(tiny_folder: Path, tmp_path: Path) -> None:
    stage = new_stage("streaming", tiny_recipe(tiny_folder, tmp_path), Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert set(stage.learners) == {"generator", "critic"}
    assert not any(value.requires_grad for value in stage.scores.teacher.parameters())
    assert not any(value.requires_grad for value in stage.models.text_encoder.model.parameters())
    critic, teacher = stage.scores.critic.state_dict(), stage.scores.teacher.state_dict()
    assert all(torch.equal(value, critic[name]) for name, value in teacher.items())
    assert stage.scores.critic is not stage.scores.teacher


def test_each_process_gets_neighbouring_streams_of_its_own() -> None:
    assert [list(Processes(rank, 2).streams(4)) for rank in (0, 1)] == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match="must be the same for each of 2 processes"):
        Processes(0, 2).streams(3)


def test_half_precision_stays_inside_the_models() -> None:
    transformer = tiny_transformer()
    wanted = transformer(random_latents(3), 500.0, random_prompt(transformer))
    compute_in(transformer, torch.bfloat16, "cpu")
    output = transformer(random_latents(3), 500.0, random_prompt(transformer))
    assert output.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in transformer.parameters())
    assert not torch.equal(output, wanted)
    torch.testing.assert_close(output, wanted, rtol=0.1, atol=0.1)


def test_a_fresh_transformer_says_nothing_at_first_and_its_seed_decides_it() -> None:
    transformer, other = tiny_transformer(), tiny_transformer()
    reset_parameters(transformer, 1)
    torch.manual_seed(9)
    reset_parameters(other, 1)
    assert not transformer(random_latents(3), 500.0, random_prompt(transformer)).any()
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in transformer.state_dict().items())


def test_texts_are_read_in_batches_as_one_by_one(tiny_folder: Path) -> None:
    encoder = load_models(tiny_folder).text_encoder
    prompts = ["a red ball", "the  blue cube &amp; star"]
    together = read_texts(encoder, prompts)
    for row, prompt in zip(together, prompts, strict=True):
        torch.testing.assert_close(row, encoder.encode(prompt).tokens[0])
    empty = read_texts(encoder, [""])
    assert empty[:, 0].any(), "the end of the text"
    assert not empty[:, 1:].any()


def test_a_teacher_with_another_text_encoder_reads_by_its_own(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_folder, tmp_path)
    stage = new_stage("dmd", recipe, Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert stage.score_reader is None
    weights = tmp_path / "other"
    write_tiny_model(weights)
    path = weights / "text_encoder/model.safetensors"
    save_file({name: value + 0.1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    other = tiny_recipe(tiny_folder, tmp_path, models={"teacher": str(weights)})
    stage = new_stage("dmd", other, Processes(), folder=tmp_path)
    assert isinstance(stage, Distillation)
    assert stage.score_reader is not None


def test_a_teacher_of_other_latents_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "wide", width=64)
    recipe = tiny_recipe(tiny_folder, tmp_path, models={"teacher": str(tmp_path / "wide")})
    with pytest.raises(ConfigError, match=r"latent_shape is \(4, 4, 8\), but the generator's is \(4, 4, 6\)"):
        new_stage("dmd", recipe, Processes(), folder=tmp_path)


def test_a_folder_of_shards_gives_its_clips_by_seed_and_index(tmp_path: Path) -> None:
    for shard in range(2):
        latents = torch.arange(3).view(3, 1, 1, 1, 1).expand(3, 6, 4, 4, 6) + 10.0 * shard
        prompts = [f"clip {number + 10 * shard}" for number in range(3)]
        save_file(
            {"latents": latents.half()}, tmp_path / f"{shard}.safetensors", {"prompts": json.dumps(prompts)}
        )
    clips = ShardedClips.read(tmp_path)
    drawn = [clips.clip_at(1, index) for index in range(30)]
    assert {clip.prompt for clip in drawn} == {f"clip {number}" for number in (0, 1, 2, 10, 11, 12)}
    assert all(clip.prompt == f"clip {int(clip.latents.mean())}" for clip in drawn)
    assert torch.equal(clips.clip_at(1, 4).latents, drawn[4].latents)


@pytest.mark.parametrize("metadata", [{}, {"prompts": "[]"}, {"prompts": "no list"}])
def test_shards_without_a_prompt_for_each_clip_are_refused(metadata: dict[str, str], tmp_path: Path) -> None:
    save_file({"latents": torch.zeros(1, 6, 4, 4, 6)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(ConfigError, match="prompt"):
        ShardedClips.read(tmp_path)
