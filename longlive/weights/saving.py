"""ModelBundle -> folder, in diffusers' layout."""

import copy
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from longlive.config import ModelConfig
from longlive.models.model_card import ModelCard
from longlive.weights.layout import (
    PARTS,
    TEXT_WEIGHTS,
    WEIGHTS,
    write_facts,
    write_json,
)
from longlive.weights.loading import _public


def save_models(
    folder: str | Path,
    *,
    config: ModelConfig,
    transformer: nn.Module,
    vae: AutoencoderKLWan,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    card: ModelCard | None = None,
) -> None:
    """Write a model's folder, so that ``load_models(folder)`` gives the same model again.

    Args:
        folder: made if it is not there; files in it are overwritten.
        config: its facts, the transformer's shape among them.
        transformer: a module with the parameter names of CausalWanTransformer.
        vae, text_encoder, tokenizer: as their libraries make them; the encoder is a ``UMT5EncoderModel``.
        card: what to tell people about it.
    """
    folder = Path(folder)
    write_facts(folder, config, card or ModelCard())
    write_json(folder / "vae/config.json", _public(vae.config) | {"_class_name": PARTS["vae"][1]})
    write_json(folder / "text_encoder/config.json", text_encoder.config.to_dict())
    _save_weights(transformer, folder / "transformer" / WEIGHTS)
    _save_weights(vae, folder / "vae" / WEIGHTS)
    _save_weights(text_encoder, folder / "text_encoder" / TEXT_WEIGHTS)
    _unused(tokenizer).save_pretrained(folder / "tokenizer")


def _unused(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A copy without the padding and the length limit of its last call, which would be written as well."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _save_weights(module: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    weights = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen:  # a tied weight is written once
            weights[name] = tensor.detach().cpu().contiguous()
        seen.add(tensor.data_ptr())
    save_file(weights, path, metadata={"format": "pt"})
