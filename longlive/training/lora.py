"""LoRA (arXiv:2106.09685) on every linear of the transformer's blocks, by peft, in the files' names.

Ten linears per block, as in the released code: queries, keys, values and output of both attentions, and both
of the feed-forward network. Files hold peft's names around ours; ``to_released`` puts released ones there.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longlive.errors import CheckpointError
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.key_mapping import State, transformer_to_released

PREFIX = "base_model.model."
RELEASED_ENTRY = "generator_lora"


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


def to_released(lora: Mapping[str, Tensor]) -> State:
    """A LoRA in our names, in those of the released files."""
    renamed = {}
    for name, tensor in lora.items():
        target, _, half = name.removeprefix(PREFIX).rpartition(".lora_")
        released = next(iter(transformer_to_released({f"{target}.weight": tensor})))
        renamed[f"{PREFIX}{released.removesuffix('.weight')}.lora_{half}"] = tensor
    return renamed


def save_lora(path: str | Path, lora: Mapping[str, Tensor], *, alpha: int) -> None:
    """Write a LoRA as safetensors; its alpha stands in the file's metadata."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in lora.items()}
    save_file(tensors, path, metadata={"format": "pt", "alpha": str(alpha)})


def read_lora(path: str | Path) -> tuple[State, float]:
    """A LoRA and its scale, alpha / rank (1 if the file does not say).

    Args:
        path: safetensors of ``save_lora`` or peft, or the released ``.pt``.

    Raises:
        CheckpointError: if the file is missing or broken, or holds no LoRA.
    """
    path = Path(path)
    alpha = None
    try:
        if path.suffix == ".safetensors":
            lora = load_file(path)
            with safe_open(path, framework="pt") as file:
                alpha = (file.metadata() or {}).get("alpha")
        else:
            lora = torch.load(path, map_location="cpu", weights_only=True)
            lora = lora.get(RELEASED_ENTRY, lora)
    except (OSError, SafetensorError, RuntimeError, ValueError, AttributeError, UnpicklingError) as error:
        raise CheckpointError(f"{path} holds no readable LoRA: {error}. Fetch or train it again.") from error
    ranks = [len(tensor) for name, tensor in lora.items() if ".lora_A" in name]
    if not ranks:
        raise CheckpointError(f"{path} holds no LoRA: no key has .lora_A in it. Give the file of a LoRA.")
    return lora, float(alpha) / ranks[0] if alpha else 1.0
