"""The published files of LongLive's relatives in small: real repositories, names, key names and nesting."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from longlive.models.transformer import CausalWanTransformer
from longlive.weights.family import RELEASED
from longlive.weights.formats.key_mapping import transformer_to_released
from longlive.weights.released import LONGLIVE_SOURCES, ModelSources
from tests.support.published_weights import SHAPE, write_wan
from tests.support.tiny_model import tiny_encoder_config

State = dict[str, Tensor]

FAMILY = [name for name in RELEASED if name != "longlive-1.3b"]
# A decoy has other numbers under the same names: it must not be taken.
PLAIN, SECOND, DECOY = 11, 12, 13


def small(name: str) -> ModelSources:
    """The recipe of this name with a transformer and pictures that are small."""
    recipe = RELEASED[name]
    small = {"height": 32, "width": 48, "sizes": ((32, 48),), "text_len": 12}
    config = dataclasses.replace(recipe.config, transformer=SHAPE, **small)
    return dataclasses.replace(recipe, config=config, tiny_vae=None, light_vae=None)


def weights(seed: int) -> State:
    """A transformer's weights in our names, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = CausalWanTransformer(SHAPE).state_dict()
        return {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in state.items()}


def released(seed: int, prefix: str = "model.") -> State:
    """The same in Wan's own names, as trainers write them."""
    return {f"{prefix}{name}": tensor for name, tensor in transformer_to_released(weights(seed)).items()}


def with_second_set(prefix: str = "model.") -> State:
    """SGF+'s names: ``memory_`` before the last part of a name in a block, before the first of any other."""
    second = {}
    for name, tensor in released(SECOND, "").items():
        inside = re.fullmatch(r"(blocks\..*\.)([a-z_]+)", name)
        second[f"{inside[1]}memory_{inside[2]}" if inside else f"memory_{name}"] = tensor
    return released(PLAIN, prefix) | {f"{prefix}{name}": tensor for name, tensor in second.items()}


def wrapped(state: State) -> State:
    """With the marks that FSDP leaves in names: after the model, and in each block."""
    marked = {}
    for name, tensor in state.items():
        name = name.replace("model.", "model._fsdp_wrapped_module.", 1)
        marked[re.sub(r"(blocks\.\d+\.)", r"\1_fsdp_wrapped_module.", name)] = tensor
    return marked


def contents() -> dict[str, Any]:
    """What the file of each recipe holds."""
    plain, decoy = released(PLAIN), released(DECOY)
    return {
        "self-forcing": {"generator_ema": plain},
        "self-forcing-sid": {"generator": decoy, "critic": decoy, "generator_ema": plain},
        "causvid": {"generator": plain, "critic": decoy},
        "causvid-4step": {"generator": plain},
        "causal-forcing": {"generator": plain, "generator_ema": decoy},
        "causal-forcing-framewise": {"generator": decoy, "generator_ema": wrapped(plain)},
        "causal-forcing-2step": {"generator_ema": wrapped(plain)},
        "sgf": {"generator": decoy, "generator_ema": plain, "step": 700},
        "sgf-framewise": {"generator": decoy, "generator_ema": wrapped(plain), "step": 700},
        "sgf-plus": {"generator_ema": with_second_set()},
        "sgf-plus-framewise": {"generator": decoy, "generator_ema": wrapped(with_second_set()), "step": 9},
    }


def publish_family(root: Path) -> None:
    """Write the repositories below ``root``, and Wan's parts with a VAE that is quick."""
    parts = root / LONGLIVE_SOURCES.parts.repository
    write_wan(parts, 8, tiny_encoder_config())
    with torch.random.fork_rng():
        torch.manual_seed(3)
        vae = AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    vae.save_pretrained(parts / "vae")
    for name, content in contents().items():
        source = RELEASED[name].weights
        file = root / source.repository / source.files[0]  # type: ignore[union-attr]
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, file)


def revisions() -> dict[str, str]:
    """The revision of each repository; a branch's is made up."""
    sources: list[Any] = [RELEASED[name].weights for name in FAMILY]
    return {s.repository: s.revision if s.revision != "main" else "f" * 40 for s in sources}
