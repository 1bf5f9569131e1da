"""LoRA (arXiv:2106.09685) by peft on every linear layer of the transformer's blocks.

Ten layers per block, as in the released code: query, key, value and output projections of both attentions,
and both layers of the feed-forward network. Files use peft's key names around ours, which
``weights/formats/lora_reading.py`` reads.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from longlive.models.transformer import CausalWanTransformer
from longlive.weights.formats.key_mapping import State

PREFIX = "base_model.model."


def lora_targets(transformer: CausalWanTransformer) -> list[str]:
    """The names of the linear layers that get a LoRA."""
    return [
        name
        for name, module in transformer.named_modules()
        if name.startswith("blocks.") and isinstance(module, nn.Linear)
    ]


def add_lora(transformer: CausalWanTransformer, *, rank: int, alpha: int, seed: int = 0) -> None:
    """Freeze the transformer, and add trainable float32 LoRA pairs to its linear layers, in place.

    Args:
        rank: of the pairs.
        alpha: the pairs are scaled by alpha / rank.
        seed: of the initial values of A; B is zero, so the output is unchanged at first.
    """
    from peft import LoraConfig, inject_adapter_in_model

    transformer.requires_grad_(False)
    is_meta = next(transformer.parameters()).is_meta
    targets = lora_targets(transformer)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, transformer, low_cpu_mem_usage=is_meta)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def split_lora(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """Split the state of a transformer with a LoRA into plain weights and the LoRA under its file's keys."""
    plain, lora = {}, {}
    for name, tensor in state.items():
        if ".lora_" in name:
            lora[PREFIX + name.replace(".default.weight", ".weight")] = tensor
        else:
            plain[name.replace(".base_layer.", ".")] = tensor
    return plain, lora


def save_lora(path: str | Path, lora: Mapping[str, Tensor], *, alpha: int) -> None:
    """Write a LoRA as safetensors, with its alpha in the metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in lora.items()}
    save_file(tensors, path, metadata={"format": "pt", "alpha": str(alpha)})
