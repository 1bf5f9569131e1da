"""LoRA (arXiv:2106.09685) on every linear of the transformer's blocks, by peft, in the files' names.

Ten linears per block, as in the released code: queries, keys, values and output of both attentions, and both
of the feed-forward network. Files hold peft's names around ours; ``weights/lora.py`` reads them.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from longlive.models.transformer import CausalWanTransformer
from longlive.weights.key_mapping import State

PREFIX = "base_model.model."


def lora_targets(transformer: CausalWanTransformer) -> list[str]:
    """The names of the linears that get a LoRA."""
    return [
        name
        for name, module in transformer.named_modules()
        if name.startswith("blocks.") and isinstance(module, nn.Linear)
    ]


def add_lora(transformer: CausalWanTransformer, *, rank: int, alpha: int, seed: int = 0) -> None:
    """Freeze the transformer, and put trainable float32 LoRA pairs around its linears, in place.

    Args:
        rank: of the pairs.
        alpha: what the pairs say counts alpha / rank times.
        seed: of the first values of A; B is zero, so nothing changes at first.
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
    """The plain weights and the LoRA, in the files' names, of a transformer's state with a LoRA in it."""
    plain, lora = {}, {}
    for name, tensor in state.items():
        if ".lora_" in name:
            lora[PREFIX + name.replace(".default.weight", ".weight")] = tensor
        else:
            plain[name.replace(".base_layer.", ".")] = tensor
    return plain, lora


def save_lora(path: str | Path, lora: Mapping[str, Tensor], *, alpha: int) -> None:
    """Write a LoRA as safetensors; its alpha stands in the file's metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in lora.items()}
    save_file(tensors, path, metadata={"format": "pt", "alpha": str(alpha)})
