"""The layout of a model's folder: diffusers', with ``longlive.json`` for what diffusers has no field for.

``transformer/``, ``vae/``, ``text_encoder/``, ``tokenizer/`` and ``scheduler/`` hold a config and safetensors
each; ``tiny_vae/`` and ``light_vae/`` are decoders that may be there as well.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from longlive.config import ModelConfig, TransformerConfig
from longlive.errors import CheckpointError
from longlive.models.model_card import ModelCard
from longlive.weights.weight_files import sha256_of

FORMAT = 1
FACTS = "longlive.json"
SOURCES = "sources.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS = "model.safetensors"
PARTS = {
    "transformer": ("longlive", "CausalWanTransformer"),
    "vae": ("diffusers", "AutoencoderKLWan"),
    "text_encoder": ("transformers", "UMT5EncoderModel"),
    "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
}
# Decoders beside the VAE: what ``load_models(decoder=...)`` calls them, and their folders.
DECODERS = {"wan": "vae", "tiny": "tiny_vae", "light": "light_vae"}
# Fields of a ModelConfig that come from the other config files, and of longlive.json that are not its own.
ELSEWHERE = ("transformer", "spatial_scale", "temporal_scale")
EXTRA_FACTS = ("format", "prediction", "card")


def write_facts(folder: Path, config: ModelConfig, card: ModelCard) -> None:
    """Write the config files that follow from a ModelConfig: not those of VAE, text encoder, tokenizer."""
    facts = {"format": FORMAT, "prediction": config.transformer.prediction}
    facts |= {name: getattr(config, name) for name in field_names(ModelConfig, but=ELSEWHERE)}
    shape = {
        name: getattr(config.transformer, name)
        for name in field_names(TransformerConfig, but=("prediction",))
    }
    scheduler = {"num_train_timesteps": 1000, "shift": config.shift}
    write_json(folder / FACTS, facts | {"card": dataclasses.asdict(card)})
    write_json(folder / "model_index.json", {"_class_name": "LongLive"} | PARTS)
    write_json(folder / "transformer/config.json", {"_class_name": PARTS["transformer"][1]} | shape)
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": PARTS["scheduler"][1]} | scheduler)


def digest_of(folder: Path, facts: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of a model's weights and tokenizer, and of its facts without the card.

    Digests of files that ``sources.json`` holds since they were written are not computed again.
    """
    known = read_json(folder / SOURCES).get("written", {}) if (folder / SOURCES).is_file() else {}
    digest = hashlib.sha256()
    digest.update(json.dumps({key: facts[key] for key in sorted(facts) if key != "card"}).encode())
    weights = [path for part in PARTS for path in folder.glob(f"{part}/*.safetensors")]
    for path in [*sorted(weights), folder / "tokenizer/tokenizer.json"]:
        name = path.relative_to(folder).as_posix()
        digest.update(bytes.fromhex(known.get(name) or sha256_of(path)))
    return digest.hexdigest()


def verify(folder: Path) -> None:
    """Compare the weights of an assembled model with the digests of when they were written.

    Raises:
        CheckpointError: names the first file that differs or is gone.
    """
    for name, expected in read_json(folder / SOURCES).get("written", {}).items():
        found = sha256_of(folder / name) if (folder / name).is_file() else "nothing"
        if found != expected:
            raise CheckpointError(
                f"{folder / name} is not what was written: its digest is {found[:12]}, but {expected[:12]} "
                f"is expected. Delete {folder} and fetch the model again."
            )


def field_names(cls: type, *, but: Iterable[str]) -> list[str]:
    """The fields of a dataclass, in order, without those named in ``but``."""
    return [field.name for field in dataclasses.fields(cls) if field.name not in but]


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; CheckpointError when it is missing, unreadable or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} is missing. Give a folder in our layout, or fetch the model again."
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Correct it, or fetch the model again."
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} holds a {type(values).__name__}, but it must hold an object of named fields."
        )
    return values


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object for people to read; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
