"""Checkpoints as trainers and toolkits leave them, and which of several transformers is taken."""

import argparse
import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.checkpoints import read_transformer
from longlive.weights.formats.key_mapping import transformer_to_released
from tests.support.tiny_transformer import tiny_transformer

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def ours() -> State:
    return tiny_transformer().state_dict()


@pytest.fixture(scope="module")
def wan(ours: State) -> State:
    return transformer_to_released(ours)


def pre(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def plus(state: State, number: float) -> State:
    return {name: tensor + number for name, tensor in state.items()}


def read(content: object, path: Path, key: str | None = None) -> tuple[State, str]:
    torch.save(content, path)
    checkpoint = read_transformer(path, key)
    return checkpoint.state, checkpoint.about


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "DDP": lambda s: pre("module.", s),
    "DDP in a dict": lambda s: {"generator": pre("module.model.", s)},
    "DDP of a compiled model": lambda s: pre("module._orig_mod.", s),
    "a pipeline's": lambda s: pre("transformer.", s),
    "DiffSynth": lambda s: pre("pipe.dit.", s),
    "ComfyUI's whole checkpoint": lambda s: (
        pre("model.diffusion_model.", s) | {"first_stage_model.conv1.weight": torch.ones(2)}
    ),
    "rCM": lambda s: pre("net.", s),
    "Lightning": lambda s: {"state_dict": pre("model.", s), "epoch": 3, "hyper_parameters": {"lr": 1e-4}},
    "DeepSpeed": lambda s: {"module": s, "optimizer": None, "ds_version": "0.15"},
    "params": lambda s: {"params": s},
    "weights": lambda s: {"weights": s},
    "ema alone": lambda s: {"ema": s},
    "torch's AveragedModel": lambda s: pre("module.", s) | {"n_averaged": torch.tensor(7)},
    "a tensor beside the dict": lambda s: {"generator": pre("model.", s), "loss": torch.tensor(0.2)},
    "an image beside the dict": lambda s: {"generator": s, "preview": torch.ones(3, 4)},
    "a step among the tensors": lambda s: s | {"step": torch.tensor([700])},
    "an optimizer beside it": lambda s: {
        "model": s,
        "optimizer": {"state": {"blocks.0.ffn.0.weight": {"exp_avg": torch.ones(2)}}, "param_groups": []},
    },
    "deeply nested": lambda s: {"checkpoint": {"app": {"model": s}}},
    "all names in one dict": lambda s: pre("generator.model.", s) | pre("critic.model.", plus(s, 1)),
    "options beside it": lambda s: {"generator": s, "args": argparse.Namespace(lr=1e-4)},
    "NumPy's numbers beside it": lambda s: {"generator": s, "loss": np.float64(0.2), "step": np.int64(3)},
    "a defaultdict beside it": lambda s: {
        "generator": collections.OrderedDict(s),
        "log": collections.defaultdict(list),
    },
    "parameters": lambda s: {"model": {name: torch.nn.Parameter(tensor) for name, tensor in s.items()}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("names", ["released", "ours"])
def test_every_layout_gives_the_same_transformer(
    layout: str, names: str, ours: State, wan: State, tmp_path: Path
) -> None:
    state, _ = read(LAYOUTS[layout](wan if names == "released" else ours), tmp_path / "w.pt")
    assert state.keys() == ours.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("file", "key", "added"),
    [
        ("model.pt", None, 1),
        ("self_forcing_sid.pt", None, 1),
        ("chunkwise/ar/model.pt", None, 1),
        ("framewise/causal_forcing.pt", None, 1),
        ("chunkwise/causal_forcing.pt", None, 0),
        ("longlive_mine.pt", None, 0),
        ("LongLive/model.pt", None, 1),
        ("model.pt", "generator", 0),
        ("longlive_mine.pt", "generator_ema", 1),
        ("model.pt", "critic", 2),
    ],
)
def test_of_several_transformers_the_one_that_the_authors_run_is_taken_and_named(
    file: str, key: str | None, added: int, ours: State, wan: State, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "generator": pre("model.", wan),
        "generator_ema": pre("model._fsdp_wrapped_module.", plus(wan, 1)),
        "critic": pre("model.", plus(wan, 2)),
        "step": 3,
    }
    state, about = read(content, path, key)
    assert torch.equal(state["proj_out.bias"], ours["proj_out.bias"] + added)
    names = ("generator.model", "generator_ema.model", "critic.model")
    assert about.startswith(f"{path.name}: {names[added]} is taken; it also holds ")
    assert all(name in about for name in names)
    assert "--weights-key" in about


def test_a_lone_transformer_is_taken_without_a_line(wan: State, tmp_path: Path) -> None:
    assert read({"generator_ema": wan}, tmp_path / "w.pt")[1] == ""


def test_an_average_of_a_few_weights_only_is_not_taken(ours: State, wan: State, tmp_path: Path) -> None:
    few = {name: tensor + 1 for name, tensor in wan.items() if "ffn" in name}
    state, about = read({"generator": wan, "generator_ema": few}, tmp_path / "w.pt")
    assert torch.equal(state["blocks.0.ffn.net.2.bias"], ours["blocks.0.ffn.net.2.bias"])
    assert "generator is taken; it also holds generator_ema" in about


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        (lambda s: {"a": s, "b": s}, None, "holds several transformers: a, b. Say which with --weights-key"),
        (lambda s: {"critic": s}, None, "no generator, but other models: critic"),
        (lambda s: {"generator": s}, "ema", "has no transformers under 'ema'. It holds generator: give one"),
        (lambda s: {"step": 3}, None, r"holds no transformer of this family, but no tensors \(step\)"),
        (lambda s: s | {"img_emb.proj.0.weight": torch.ones(2)}, None, "img_emb.*an image-to-video model"),
        (lambda s: s | {"blocks.0.ffn.0.scale_weight": torch.tensor(2.0)}, None, "8-bit weights with scales"),
        (lambda s: s | {"scaled_fp8": torch.ones(1)}, None, "8-bit weights with scales"),
        (
            lambda s: s | {"blocks.0.ffn.0.weight.absmax": torch.ones(2)},
            None,
            "4 bits by bitsandbytes. Give the file in bf16",
        ),
        (lambda s: s | {"blocks.0.ffn.0.lora_A.weight": torch.ones(2)}, None, "a LoRA. Give the base model"),
        (lambda s: pre("model.", s) | {"model.vace_blocks.0.x": torch.ones(2)}, None, "Not read: VACE"),
        (
            lambda s: s | {"blocks.0.memory_ffn.weight": torch.ones(2)},
            None,
            "unexpected.*memory_ffn",
        ),
        (lambda s: {"model.layers.0.mlp.weight": torch.ones(2)}, None, "Not read: another architecture"),
        (lambda s: s | {"freqs": torch.ones(2)}, None, "unexpected keys: freqs. Is it a checkpoint of this"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(
    change: Callable[[State], Any], key: str | None, message: str, wan: State, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(change(wan), tmp_path / "w.pt", key)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_table_of_positions_that_was_saved_with_the_weights_is_left_out(
    prefix: str, ours: State, wan: State, tmp_path: Path
) -> None:
    table = {f"{prefix}freqs": torch.zeros(4, 2, dtype=torch.complex64)}
    state, _ = read(pre(prefix, wan) | table, tmp_path / "w.pt")
    assert state.keys() == ours.keys()
