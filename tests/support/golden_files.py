"""A folder of goldens: its cases, their tensors and weights, and how numbers are compared with them."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.errors import ConfigError
from longlive.generation.flow_matching import FlowSchedule
from longlive.models.kv_cache import Cache
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.formats import key_mapping as names
from longlive.weights.formats.lora import merge_lora
from longlive.weights.formats.lora_reading import pair_up
from tests.support.paths import ROOT

log = logging.getLogger(__name__)
TOLERANCE = 2e-5

Case = dict[str, Any]
Data = dict[str, Tensor]


class Goldens:
    """The cases of a folder, by name; those of a ``family`` folder in it are a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: dict[str, Case] = json.loads((folder / "index.json").read_text())

    @classmethod
    def here(cls) -> "Goldens":
        """Those that LONGLIVE_GOLDENS names, else the copy in the repository, else the shared folder."""
        if "LONGLIVE_GOLDENS" in os.environ:
            return cls(Path(os.environ["LONGLIVE_GOLDENS"]))
        copy = ROOT / "tests" / "goldens"
        return cls(copy if copy.is_dir() else ROOT.parent / "shared" / "goldens")

    @classmethod
    def all_here(cls) -> "list[Goldens]":
        """The cases of ``here``, and those of the folder ``family`` in it if there is one."""
        main = cls.here()
        family = main.folder / "family"
        return [main, cls(family)] if (family / "index.json").is_file() else [main]

    def tensors(self, name: str) -> Data:
        return load_file(self.folder / f"{name}.safetensors")

    def transformer(
        self, case: Case, *, weights: str | None = None, lora: Data | None = None
    ) -> CausalWanTransformer:
        """Of a case's configuration, with its own weights unless ``weights`` names others."""
        weights = weights or case["weights"]
        model = CausalWanTransformer(transformer_config(case["config"])).requires_grad_(False)
        state = names.transformer_from_released(self.tensors(weights))
        if lora is not None:
            state = merge_lora(state, pair_up(lora, alpha=case["alpha"]))
        names.check_names(state, model.state_dict(), weights)
        model.load_state_dict(state)
        return model

    def is_material(self, name: str) -> bool:
        """Weights and LoRA files, which other cases use."""
        used = {case.get(field) for case in self.index.values() for field in ("weights", "lora")}
        is_lora_file = name.startswith("lora_") and "calls" not in self.index[name]
        return name.startswith("weights_") or name in used or is_lora_file


def check_close(what: str, got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    """Nowhere further apart than ``tolerance``."""
    assert got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}"
    difference = (got.double() - expected.double()).abs().max().item() if expected.numel() else 0.0
    log.info("%-40s %.1e", what, difference)
    assert difference <= tolerance, f"{what}: largest difference {difference:.2e}, allowed {tolerance:.0e}"


def check_gradient(what: str, got: Tensor | None, expected: Tensor) -> None:
    """Within 1e-4 of the expected gradient's largest entry; None stands for zero."""
    got = torch.zeros_like(expected) if got is None else got
    largest = expected.abs().max().item()
    check_close(what, got, expected, 1e-4 * largest if largest else 1e-8)


def check_scalar(what: str, got: Tensor | float, expected: Tensor | float) -> None:
    """Within 1e-5 of the expected number."""
    got, expected = float(got), float(expected)
    log.info("%-40s %.1e", what, abs(got - expected) / max(abs(expected), 1e-12))
    assert got == pytest.approx(expected, rel=1e-5), f"{what}: {got}, expected {expected}"


def check_parameter_gradients(model: CausalWanTransformer, data: Data, prefix: str) -> set[str]:
    """Compare all gradients under ``prefix``, in released names, and return their tensors' names."""
    recorded = [name for name in data if name.startswith(prefix)]
    parameters = dict(model.named_parameters())
    for name in recorded:
        (ours,) = names.transformer_from_released({name.removeprefix(prefix): data[name]})
        check_gradient(name, parameters[ours].grad, data[name])
    return set(recorded)


def assert_all_known(data: Data, known: set[str]) -> None:
    """Fail with the names that no rule has recognised."""
    unknown = sorted(set(data) - known)
    assert not unknown, f"the case holds tensors that this runner does not know: {', '.join(unknown)}"


def check_cache(what: str, cache: Cache, keys: Tensor, values: Tensor) -> None:
    """Compare (layers, B, tokens, N, D) with the cache, latent by latent in order of time."""
    layers = [cache.contents(layer) for layer in range(len(keys))]
    for half, expected in enumerate((keys, values)):
        nothing = expected[0, :, :0]
        pairs = [[content[latent] for latent in sorted(content)] for content in layers]
        got = torch.stack([torch.cat([nothing, *(pair[half] for pair in layer)], 1) for layer in pairs])
        check_close(f"{what}.{'kv'[half]}", got, expected)


def transformer_config(facts: dict[str, Any]) -> TransformerConfig:
    """A case's configuration, in the reference's words, as ours."""
    return TransformerConfig(
        num_attention_heads=facts["num_heads"],
        attention_head_dim=facts["dim"] // facts["num_heads"],
        in_channels=facts["in_dim"],
        out_channels=facts["out_dim"],
        text_dim=facts["text_dim"],
        freq_dim=facts["freq_dim"],
        ffn_dim=facts["ffn_dim"],
        num_layers=facts["num_layers"],
        patch_size=tuple(facts["patch_size"]),
        cross_attn_norm=facts["cross_attn_norm"],
        eps=facts["eps"],
    )


def stream_config(case: Case) -> StreamConfig:
    """A case's choices as ours.

    A combination that we refuse is a visible skip with our error's words, as the goldens' README asks of what
    is not supported; none of the cases that are known today is one.
    """
    chunk = case.get("num_frame_per_block") or case["calls"][0]["frames"]
    try:
        return StreamConfig(
            chunk=chunk,
            window=case["local_attn_size"],
            sink=case["sink_size"],
            positions="relative" if case.get("infinity_rope") else "absolute",
            global_sink=case.get("global_sink", True),
            context_noise=float(case.get("context_noise", 0)),
        )
    except ConfigError as error:
        pytest.skip(f"refused by StreamConfig: {error}")


def timetable_of(case: Case) -> FlowSchedule:
    """The timetable at whose steps a case was sampled."""
    steps = tuple(case["denoising_step_list"])
    return FlowSchedule(case["timestep_shift"], steps, case.get("warp_denoising_step", True))
