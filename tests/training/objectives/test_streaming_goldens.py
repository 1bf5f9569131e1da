"""The training rollout against the plain implementation, which also makes goldens for their runner."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from longlive.generation.flow_matching import FlowSchedule
from longlive.training.objectives.quirks import ReleasedQuirks
from longlive.training.objectives.rollout import Rollout
from longlive.weights.formats import key_mapping as names
from tests.support.golden_files import (
    Goldens,
    check_close,
    check_parameter_gradients,
    stream_config,
    timetable_of,
)
from tests.support.golden_streaming import check_memory, run_streaming_rollout, stub_still
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
CLIP = 21
NAME = "streaming_train_rollout_T"
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
    "clips": [21, 18],
    "exits": [1, 2],
    "switch": None,
    "batch": 1,
    "released": True,
    "leaks": True,
    "gradient_checkpointing": False,
}
RELEASED = {
    "one prompt": {},
    "a switch while all is in the buffer": {"switch": 21},
    "a switch that leaves zero sinks": {"clips": [21, 18, 18], "exits": [0, 1, 0], "switch": 39},
    "a switch within a clip": {"switch": 25},
    "chunks of one, two samples": {
        "num_frame_per_block": 1,
        "local_attn_size": 5,
        "sink_size": 1,
        "batch": 2,
        "switch": 21,
    },
    "labelled context": {"context_noise": 40, "exits": [3, 0]},
}
VALUES = RELEASED | {
    "chunks of two": {
        "num_frame_per_block": 2,
        "local_attn_size": 5,
        "sink_size": 1,
        "batch": 2,
        "clips": [20, 8],
    },
    "corrected": {"released": False},
    "corrected, with a switch": {"released": False, "switch": 21},
    "corrected, the sink follows": {"released": False, "switch": 21, "global_sink": False},
}
GRADIENTS = {
    "leaky": {},
    "leaky, text read by the exit pass": {"clips": [9], "exits": [0]},
    "leaky and rolled without gradients": {"exits": [0, 1]},
    "leaky and rolled with gradients": {"exits": [1, 0]},
    "leaky in a buffer that is no multiple of the chunk": {
        "local_attn_size": 10,
        "clips": [36],
        "exits": [1],
    },
    "leaky after a switch": {"switch": 21},
    "text read by the exit pass after a switch": {"switch": 21, "exits": [1, 0]},
    "leaky and checkpointed": {"gradient_checkpointing": True},
    "not leaky": {"leaks": False},
    "corrected": {"released": False, "switch": 21},
    "corrected and checkpointed": {"released": False, "gradient_checkpointing": True},
}


class Pair:
    """Our rollout and the plain one of a case; what they make is compared as they go.

    Attributes:
        made: all latents of the plain one.
        recache: its buffer right after the switch, keys and values.
        clips: the last clip of the plain one and of ours, with their histories.
    """

    def __init__(self, case: dict[str, Any], *, with_grad: bool = False) -> None:
        self.case, self.with_grad = case, with_grad
        self.model = tiny_transformer().requires_grad_(with_grad)
        self.model.checkpointing = case["gradient_checkpointing"]
        rng = torch.Generator().manual_seed(3)
        self.texts = torch.randn(2, case["batch"], TEXT_LEN, TEXT_DIM, generator=rng)
        total = sum(case["clips"])
        self.noises = [
            random_latents(total, batch=case["batch"], seed=50 + step) for step in range(len(STEPS) + 1)
        ]
        weights = names.transformer_to_released(self.model.state_dict())
        self.plain = Plain(
            {name: tensor.clone().requires_grad_(with_grad) for name, tensor in weights.items()},
            FACTS | case,
            self.texts[0],
            released=case["released"],
            leaks=case["leaks"],
            checkpointed=case["gradient_checkpointing"],
        )
        quirks = replace(ReleasedQuirks.as_released(), leaks_gradients=case["leaks"])
        self.rollout = Rollout(
            self.model,
            timetable_of(case),
            stream_config(case),
            TOKENS_PER_LATENT,
            quirks=quirks if case["released"] else ReleasedQuirks(),
        )
        self.made = self.noises[0][:, :0]
        self.recache: tuple[Tensor, Tensor] | None = None
        self.clips: tuple[Tensor, Tensor] | None = None

    def play(self) -> "Pair":
        """Make all clips; of those with gradients, the last one carries them."""
        for number, (size, exit_step) in enumerate(zip(self.case["clips"], self.case["exits"], strict=True)):
            self.plain.detach()
            self.rollout.detach()
            grad = self.with_grad and number + 1 == len(self.case["clips"])
            parts = [self._part(*part, exit_step, grad) for part in self._parts(size)]
            plain, ours = (torch.cat(made, 1) for made in zip(*parts, strict=True))
            check_close(f"clip {number}", ours.detach(), plain.detach())
            self.clips = plain, ours
        check_memory("the memory at the end", self.rollout, TOKENS_PER_LATENT, *self.buffers())
        return self

    def buffers(self) -> tuple[Tensor, Tensor]:
        """The filled part of the plain buffer."""
        filled = self.plain.filled * TOKENS_PER_LATENT
        halves = ([layer[:, :filled] for layer in half] for half in (self.plain.keys, self.plain.values))
        keys, values = (torch.stack(half).detach().clone() for half in halves)
        return keys, values

    def _parts(self, size: int) -> list[tuple[int, int]]:
        """The stretches of a clip before and after the switch, which waits for the next chunk."""
        start, chunk = self.rollout.position, self.case["num_frame_per_block"]
        switch = -(-(self.case["switch"] or 0) // chunk) * chunk
        ends = [start, *([switch] if start < switch < start + size else []), start + size]
        return list(pairwise(ends))

    def _part(self, start: int, end: int, exit_step: int, grad: bool) -> tuple[Tensor, Tensor]:
        if self.recache is None and self.case["switch"] is not None and start >= self.case["switch"]:
            self._switch(start)
        chunk, text = self.case["num_frame_per_block"], self.texts[int(self.recache is not None)]

        def noise(at: int, step: int) -> Tensor:
            return self.noises[step][:, at : at + chunk]

        with torch.set_grad_enabled(grad):
            made = [
                self.plain.chunk(partial(noise, at), at, exit_step, grad) for at in range(start, end, chunk)
            ]
            ours = self.rollout.extend(end - start, text, noise, exit_step=exit_step, with_grad=grad)
        self.made = torch.cat((self.made, *(latents.detach() for latents in made)), 1)
        return torch.cat(made, 1), ours

    def _switch(self, start: int) -> None:
        self.plain.switch(self.texts[1], self.made, start)
        self.rollout.switch(self.texts[1])
        self.recache = self.buffers()
        check_memory("the memory after the switch", self.rollout, TOKENS_PER_LATENT, *self.recache)


@torch.no_grad()
@pytest.mark.parametrize("name", VALUES)
def test_a_rollout_equals_the_plain_one_latent_by_latent_and_key_by_key(name: str) -> None:
    pair = Pair(BASE | VALUES[name]).play()
    assert (pair.recache is None) == (pair.case["switch"] is None)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_equal_those_of_the_plain_rollout(name: str) -> None:
    pair = Pair(BASE | GRADIENTS[name], with_grad=True).play()
    plain, ours = pair.clips
    weight = random_latents(plain.shape[1], seed=77)
    slopes = torch.autograd.grad((plain * weight).sum(), list(pair.plain.weights.values()), allow_unused=True)
    (ours * weight).sum().backward()
    expected = {
        f"grad.{name}": torch.zeros_like(tensor) if slope is None else slope
        for (name, tensor), slope in zip(pair.plain.weights.items(), slopes, strict=True)
    }
    assert check_parameter_gradients(pair.model, expected, "grad.") == set(expected)


def golden(folder: Path, changes: dict[str, Any]) -> Goldens:
    """A folder with one ``streaming_train_rollout`` case, made by the plain implementation."""
    pair = Pair(BASE | changes).play()
    case, start, data, chunks = pair.case, 0, {"text": pair.texts}, []
    for number, (size, exit_step) in enumerate(zip(case["clips"], case["exits"], strict=True)):
        end, overlap = start + size, CLIP - size
        due = case["switch"] is not None and start <= case["switch"] < end
        noise, *renoise, context = (tensor[:, start:end] for tensor in pair.noises)
        shown = pair.made[:, start - overlap : end]
        if overlap:
            shown = torch.cat((stub_still(shown[:, :1]), shown[:, 1:]), 1)
        mask = torch.tensor([0] * overlap + [1] * size, dtype=torch.int32)
        own = {"noise": noise, "renoise": torch.stack(renoise)[:exit_step], "context_noise": context}
        own |= {"new_frames": pair.made[:, start:end], "loss_chunk": shown, "mask_frames": mask}
        data |= {f"chunk{number}.{kind}": tensor for kind, tensor in own.items() if tensor.numel()}
        relative = case["switch"] - start if due else None
        facts = {"start": start, "new": size, "overlap": overlap, "relative_switch": relative}
        chunks.append(facts | {"exit_step_index": exit_step})
        start = end
    if pair.recache:
        data |= dict(zip(("recache0.k", "recache0.v"), pair.recache, strict=True))
    sizes = {"kv_cache_frames": case["local_attn_size"] + CLIP, "max_length": start, "chunks": chunks}
    weights = names.transformer_to_released(pair.model.state_dict())
    save_file(
        {key: tensor.clone().contiguous() for key, tensor in data.items()}, folder / f"{NAME}.safetensors"
    )
    save_file(weights, folder / "weights_T_generator.safetensors")
    (folder / "index.json").write_text(json.dumps({NAME: case | sizes, "weights_T_generator": {}}))
    return Goldens(folder)


@torch.no_grad()
@pytest.mark.parametrize("name", RELEASED)
def test_the_runner_takes_cases_of_other_sizes_and_switches(name: str, tmp_path: Path) -> None:
    goldens = golden(tmp_path, RELEASED[name])
    run_streaming_rollout(goldens, goldens.index[NAME], goldens.tensors(NAME))


@torch.no_grad()
def test_a_wrong_or_unknown_tensor_fails_by_name(tmp_path: Path) -> None:
    goldens = golden(tmp_path, {"switch": 21})
    case, data = goldens.index[NAME], goldens.tensors(NAME)
    unknown = {"riddle": torch.ones(3), "chunk0.mystery": torch.ones(3)}
    with pytest.raises(AssertionError, match=r"does not know: chunk0\.mystery, riddle"):
        run_streaming_rollout(goldens, case, data | unknown)
    for name in ("chunk1.new_frames", "chunk1.loss_chunk", "chunk1.mask_frames", "recache0.k", "recache0.v"):
        with pytest.raises(AssertionError, match=f"{name}.*largest difference"):
            run_streaming_rollout(goldens, case, data | {name: data[name] + 1e-4})
