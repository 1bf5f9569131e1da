"""The runners of the streaming goldens, on cases made by the plain implementation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule
from longlive.weights import key_mapping as names
from tests.support.golden_files import Goldens
from tests.support.golden_streaming import run_streaming_grad, run_streaming_rollout
from tests.support.plain_streaming import Plain
from tests.support.tiny_transformer import (
    CONFIG,
    TEXT_DIM,
    TEXT_LEN,
    TOKENS_PER_LATENT,
    random_latents,
    tiny_transformer,
)

STEPS = (1000, 750, 500, 250)
FACTS = {
    "dim": CONFIG.dim,
    "num_heads": CONFIG.num_attention_heads,
    "in_dim": CONFIG.in_channels,
    "out_dim": CONFIG.out_channels,
    "text_dim": TEXT_DIM,
    "freq_dim": CONFIG.freq_dim,
    "ffn_dim": CONFIG.ffn_dim,
    "num_layers": CONFIG.num_layers,
    "patch_size": [1, 2, 2],
    "cross_attn_norm": True,
    "eps": 1e-6,
}
BASE = {
    "config": FACTS,
    "config_name": "T",
    "weights": "weights_T_generator",
    "tokens_per_frame": TOKENS_PER_LATENT,
    "local_attn_size": 9,
    "sink_size": 3,
    "num_frame_per_block": 3,
    "global_sink": True,
    "context_noise": 0,
    "timestep_shift": 5.0,
    "denoising_step_list": list(STEPS),
    "denoising_step_list_warped": list(FlowSchedule(5.0, STEPS).warped_steps),
    "as_released": True,
    "chunk_lengths": [21, 18],
    "exit_steps": [1, 2],
    "switch_frame_index": None,
    "batch": 1,
}
ROLLOUTS = {
    "one prompt": {},
    "a switch while all is in the buffer": {"switch_frame_index": 21},
    "a switch that leaves zero sinks": {
        "chunk_lengths": [21, 18, 6],
        "exit_steps": [0, 1, 0],
        "switch_frame_index": 39,
    },
    "a switch within a clip": {"switch_frame_index": 25},
    "chunks of two, two samples": {
        "num_frame_per_block": 2,
        "local_attn_size": 5,
        "sink_size": 1,
        "batch": 2,
        "chunk_lengths": [20, 8],
    },
    "labelled context": {"context_noise": 40, "chunk_lengths": [9], "exit_steps": [3]},
    "corrected": {"as_released": False},
    "corrected, with a switch": {"as_released": False, "switch_frame_index": 21},
    "corrected, the sink follows": {"as_released": False, "switch_frame_index": 21, "global_sink": False},
}
GRADIENTS = {
    "leaky": {},
    "leaky, text read by the exit pass": {"chunk_lengths": [9], "exit_steps": [0]},
    "leaky and rolled without gradients": {"exit_steps": [0, 1]},
    "leaky and rolled with gradients": {"exit_steps": [1, 0]},
    "leaky in a buffer that is no multiple of the chunk": {
        "local_attn_size": 10,
        "chunk_lengths": [36],
        "exit_steps": [1],
    },
    "leaky after a switch": {"switch_frame_index": 21},
    "text read by the exit pass after a switch": {"switch_frame_index": 21, "exit_steps": [1, 0]},
    "leaky and checkpointed": {"gradient_checkpointing": True},
    "not leaky": {"prefix": "grad_detached."},
    "corrected": {"as_released": False, "switch_frame_index": 21},
    "corrected and checkpointed": {"as_released": False, "gradient_checkpointing": True},
}


def write_case(folder: Path, name: str, changes: dict[str, Any], *, with_grad: bool) -> Goldens:
    """A golden folder of one case, played by the plain implementation."""
    model = tiny_transformer()
    weights = names.transformer_to_released(model.state_dict())
    case = BASE | changes
    data = inputs(case)
    made, recached, plain = play(case, data, weights, with_grad)
    data["latents"] = made.detach()
    for half, kept in (("k", plain.keys), ("v", plain.values)):
        filled = plain.filled * plain.tokens
        data[f"final.{half}"] = torch.stack([layer[:, :filled].detach() for layer in kept])
    data |= recached
    if with_grad:
        data["loss_weight"] = random_latents(case["chunk_lengths"][-1], batch=case["batch"], seed=77)
        last = made[:, -case["chunk_lengths"][-1] :]
        loss = (last * data["loss_weight"]).sum()
        data["loss"] = loss.detach()
        slopes = torch.autograd.grad(loss, list(plain.weights.values()), allow_unused=True)
        prefix = case.get("prefix", "grad.")
        for key, slope in zip(plain.weights, slopes, strict=True):
            data[prefix + key] = torch.zeros_like(plain.weights[key]) if slope is None else slope
        case["calls"] = [
            {"frames": size, "requires_grad": number + 1 == len(case["chunk_lengths"])}
            for number, size in enumerate(case["chunk_lengths"])
        ]
    save_file({key: tensor.contiguous() for key, tensor in data.items()}, folder / f"{name}.safetensors")
    save_file(weights, folder / "weights_T_generator.safetensors")
    (folder / "index.json").write_text(json.dumps({name: case, "weights_T_generator": {}}))
    return Goldens(folder)


def inputs(case: dict[str, Any]) -> dict[str, Tensor]:
    total, batch = sum(case["chunk_lengths"]), case["batch"]
    rng = torch.Generator().manual_seed(3)
    context = {"context_renoise": random_latents(total, batch=batch, seed=60)} if case["as_released"] else {}
    return context | {
        "text": torch.randn(2, batch, TEXT_LEN, TEXT_DIM, generator=rng),
        "noise": random_latents(total, batch=batch, seed=50),
        "renoise": torch.stack([random_latents(total, batch=batch, seed=51 + step) for step in range(3)]),
    }


def play(case: dict[str, Any], data: dict[str, Tensor], weights: dict[str, Tensor], with_grad: bool) -> Any:
    """All latents, the caches right after a recache, and the plain stream at the end."""
    plain = Plain(
        {name: tensor.clone().requires_grad_(with_grad) for name, tensor in weights.items()},
        FACTS | case,
        data["text"][0],
        released=case["as_released"],
        leaks=case.get("prefix", "grad.") == "grad.",
        checkpointed=case.get("gradient_checkpointing", False),
    )
    every = [data["noise"], *data["renoise"], *([data["context_renoise"]] if case["as_released"] else [])]
    made, recached, position, switch = data["noise"][:, :0], {}, 0, case["switch_frame_index"]
    for number, size in enumerate(case["chunk_lengths"]):
        plain.detach()
        is_last = number + 1 == len(case["chunk_lengths"])
        for start in range(position, position + size, case["num_frame_per_block"]):
            if switch is not None and start >= switch:
                plain.switch(data["text"][1], made.detach(), start)
                filled = plain.filled * plain.tokens
                recached["recache0.k"] = torch.stack([k[:, :filled].detach().clone() for k in plain.keys])
                recached["recache0.v"] = torch.stack([v[:, :filled].detach().clone() for v in plain.values])
                switch = None
            noises = [tensor[:, start : start + case["num_frame_per_block"]] for tensor in every]
            with torch.set_grad_enabled(with_grad and is_last):
                clean = plain.chunk(
                    noises.__getitem__, start, case["exit_steps"][number], with_grad and is_last
                )
            made = torch.cat((made, clean), 1)
        position += size
    return made, recached, plain


@torch.no_grad()
@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_rollout_equals_the_plain_one_latent_by_latent_and_key_by_key(name: str, tmp_path: Path) -> None:
    goldens = write_case(tmp_path, "streaming_train_rollout_T", ROLLOUTS[name], with_grad=False)
    case = goldens.index["streaming_train_rollout_T"]
    run_streaming_rollout(goldens, case, goldens.tensors("streaming_train_rollout_T"))


@torch.no_grad()
def test_a_wrong_latent_or_an_unknown_tensor_fails_by_name(tmp_path: Path) -> None:
    goldens = write_case(
        tmp_path, "streaming_train_rollout_T", {"chunk_lengths": [9], "exit_steps": [1]}, with_grad=False
    )
    case, data = goldens.index["streaming_train_rollout_T"], goldens.tensors("streaming_train_rollout_T")
    with pytest.raises(AssertionError, match=r"does not know: call0\.mystery, riddle"):
        run_streaming_rollout(goldens, case, data | {"riddle": torch.ones(3), "call0.mystery": torch.ones(3)})
    with pytest.raises(AssertionError, match="latents of call 0: largest difference"):
        run_streaming_rollout(goldens, case, data | {"latents": data["latents"] + 1e-4})
    with pytest.raises(AssertionError, match=r"final\.v of latent"):
        run_streaming_rollout(goldens, case, data | {"final.v": data["final.v"] + 1e-4})


@torch.no_grad()
def test_tensors_may_come_call_by_call_under_other_names(tmp_path: Path) -> None:
    goldens = write_case(tmp_path, "streaming_train_rollout_T", {"switch_frame_index": 21}, with_grad=False)
    case, data = goldens.index["streaming_train_rollout_T"], goldens.tensors("streaming_train_rollout_T")
    lengths, exits = case.pop("chunk_lengths"), case.pop("exit_steps")
    del case["switch_frame_index"]
    case["chunks"] = [
        {"start_frame": 0, "num_frames": 21},
        {"start_frame": 21, "num_frames": 18, "switch_frame_index": 0, "exit_flags": [exits[1]] * 6},
    ]
    split = {"chunk0.exit_flags": torch.tensor([exits[0]] * 7), "text": data["text"][0]}
    split["switch_text"] = data["text"][1]
    for name, other in (
        ("noise", "noise"),
        ("renoise", "renoise"),
        ("context_renoise", "ctx_noise"),
        ("latents", "output"),
    ):
        for number, part in enumerate(data[name].split(lengths, -4)):
            split[f"chunk{number}.{other}"] = part
    split["chunk1.full_chunk"] = data["latents"][:, -21:]
    split |= {"chunk1.k": data["final.k"], "recache0.v": data["recache0.v"]}
    run_streaming_rollout(goldens, case, split)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_equal_those_of_the_plain_rollout(name: str, tmp_path: Path) -> None:
    goldens = write_case(tmp_path, "streaming_grad_T", GRADIENTS[name], with_grad=True)
    run_streaming_grad(goldens, goldens.index["streaming_grad_T"], goldens.tensors("streaming_grad_T"))
