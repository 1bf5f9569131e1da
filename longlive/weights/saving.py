"""ModelBundle -> folder, in diffusers' layout."""

import copy
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from longlive.config import ModelConfig
from longlive.errors import ConfigError
from longlive.files import atomic_write
from longlive.models.model_card import ModelCard
from longlive.weights.layout import (
    CONTEXT_TRANSFORMER,
    PARTS,
    TEXT_WEIGHTS,
    WEIGHTS,
    public_fields,
    write_facts,
    write_json,
)


def save_models(
    folder: str | Path,
    *,
    config: ModelConfig,
    transformer: nn.Module,
    vae: AutoencoderKLWan,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerFast,
    card: ModelCard | None = None,
    context_transformer: nn.Module | None = None,
) -> None:
    """Write a model's folder, so that ``load_models(folder)`` gives the same model again.

    Args:
        folder: made if it does not exist; files in it are overwritten.
        config: its facts, the transformer's shape among them.
        transformer: a module with the parameter names of CausalWanTransformer.
        vae, text_encoder, tokenizer: as their libraries make them; the encoder is a ``UMT5EncoderModel``.
        card: what to tell people about it.
        context_transformer: the second set of weights, if ``config`` says that the model has one.

    Raises:
        ConfigError: if ``config`` says otherwise.
    """
    if config.context_transformer != (context_transformer is not None):
        rule = "it says whether a second transformer is given"
        raise ConfigError("context_transformer", config.context_transformer, rule, "Give it, or correct it.")
    folder = Path(folder)
    write_facts(folder, config, card or ModelCard())
    write_json(folder / "vae/config.json", public_fields(vae.config) | {"_class_name": PARTS["vae"][1]})
    write_json(folder / "text_encoder/config.json", text_encoder.config.to_dict())
    _save_weights(transformer, folder / "transformer" / WEIGHTS)
    if context_transformer is not None:
        _save_weights(context_transformer, folder / CONTEXT_TRANSFORMER / WEIGHTS)
    _save_weights(vae, folder / "vae" / WEIGHTS)
    _save_weights(text_encoder, folder / "text_encoder" / TEXT_WEIGHTS)
    _without_call_state(tokenizer).save_pretrained(folder / "tokenizer")


def _without_call_state(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
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
    with atomic_write(path) as part:
        save_file(weights, part, metadata={"format": "pt"})
