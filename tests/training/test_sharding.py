"""FSDP2 in one process: sharded models give the losses and weights of whole ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from longlive import load_models
from longlive.training.export import export
from longlive.training.lora import split_lora
from longlive.training.trainer import Trainer
from tests.support.tiny_recipe import tiny_recipe, tiny_trainer


@pytest.fixture
def process_group() -> Iterator[None]:
    """Ends the process group that sharding makes for a process alone."""
    yield
    dist.destroy_process_group()


CASES = {
    "streaming": {},
    "streaming, checkpointed": {"run": {"checkpointing": True}},
    "streaming, by lora": {"generator": {"lora_rank": 4}, "critic": {"lora_rank": 4}},
    "streaming, with leaks": {"quirks": {"leaks_gradients": True}},
    "init": {},
    "init, checkpointed": {"run": {"checkpointing": True}},
}


def trained(models: Path, folder: Path, case: str, *, shard: bool) -> tuple[Trainer, list[dict[str, float]]]:
    """A trainer after three steps, the last two of them after a resume; its numbers."""
    sections = dict(CASES[case])
    sections["run"] = sections.get("run", {}) | {"shard": shard, "steps": 3}
    recipe = tiny_recipe(models, folder / "prompts", **sections)
    begun = tiny_trainer(recipe, folder, case.partition(",")[0])
    numbers = [begun.step(0)]
    begun.save(1)
    resumed = tiny_trainer(recipe, folder, case.partition(",")[0])
    return resumed, numbers + [resumed.step(step) for step in (1, 2)]


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_sharding_changes_no_number(
    case: str, tiny_folder: Path, tmp_path: Path, process_group: None
) -> None:
    whole, expected = trained(tiny_folder, tmp_path / "whole", case, shard=False)
    sharded, numbers = trained(tiny_folder, tmp_path / "sharded", case, shard=True)
    for found, wanted in zip(numbers, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)
    before = whole.stage.learners["generator"].whole_state()
    after = sharded.stage.learners["generator"].whole_state()
    assert set(split_lora(after)[1]) == set(split_lora(before)[1])
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_a_sharded_model_makes_samples_and_leaves_a_model(
    tiny_folder: Path, tmp_path: Path, process_group: None
) -> None:
    run = {"shard": True, "steps": 1, "sample_every": 1, "sample_latents": 6}
    trainer = tiny_trainer(tiny_recipe(tiny_folder, tmp_path / "prompts", run=run), tmp_path / "run")
    trainer.run()
    assert [path.name for path in (tmp_path / "run/samples").iterdir()] == ["sample-0000001.gif"]
    export(trainer.stage, tmp_path / "run")
    weights = load_models(tmp_path / "run/model").transformer.state_dict()
    assert not torch.equal(weights["proj_out.weight"], load_models(tiny_folder).transformer.proj_out.weight)
