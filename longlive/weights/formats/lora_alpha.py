"""What a LoRA's file states about its strength beside the pairs: in its metadata, or in a config next to it.

Read are peft's ``adapter_config.json``, the same as diffusers keeps it in the metadata
(``lora_adapter_metadata``), finetrainers' ``lora_config``, and plain numbers: our ``alpha``, ``lora_alpha``,
kohya's ``ss_network_alpha``. ``.alpha`` entries among the tensors are read in ``lora.py`` and come first.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longlive.errors import CheckpointError, reason_of
from longlive.files import read_text

ADAPTER_CONFIG = "adapter_config.json"
# What peft takes where its LoraConfig states none.
PEFT_ALPHA = 8
# Ways of peft to begin a LoRA that change the base weights too: the pairs alone are not the whole change.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class StatedAlpha:
    """The alpha of every pair as a file states it.

    Attributes:
        alpha: of the pairs that no pattern names; None if it is not stated.
        source: where it was found, for people.
        rank: of the pairs that no pattern names, if it is stated.
        alphas, ranks: of other pairs, by a regular expression for the end of the layer's name, as in peft.
        rank_stabilized: the scale is alpha / sqrt(rank) rather than alpha / rank (rsLoRA, arXiv:2312.03732).
    """

    alpha: float | None = None
    source: str = ""
    rank: int | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    rank_stabilized: bool = False

    def alpha_of(self, layer: str, rank: int) -> float | None:
        """The alpha of one layer's pair.

        Args:
            layer: its name in the file, without what all names begin with.
            rank: of the pair.

        Raises:
            CheckpointError: when the file states another rank: then it is about another LoRA.
        """
        stated = _by_pattern(self.ranks, layer, self.rank)
        if stated is not None and stated != rank:
            raise CheckpointError(
                f"{self.source} states rank {stated} for {layer}, but its pair has rank {rank}. It "
                "belongs to another LoRA: put the right one beside the file, or take it away."
            )
        return _by_pattern(self.alphas, layer, self.alpha)


def stated_alpha(file: Path, metadata: Mapping[str, str], numbers: Mapping[str, Any]) -> StatedAlpha:
    """Read what is stated about a LoRA.

    Args:
        file: of the pairs; an ``adapter_config.json`` in its folder is read.
        metadata: of the file.
        numbers: what a file of ``torch.save`` holds beside the pairs.

    Raises:
        CheckpointError: when it cannot be read, or describes what is not read (DoRA, LoHa and others).
    """
    for key in ("lora_adapter_metadata", "lora_config"):
        if key in metadata:
            return _from_config(_parse(metadata[key], f"{key} in {file}"), f"metadata of {file.name}")
    for key in ("alpha", "lora_alpha", "network_alpha", "ss_network_alpha"):
        for values, where in ((metadata, "metadata of "), (numbers, "")):
            if _is_number(values.get(key), strict=key == "alpha" and bool(where), where=f"{file}: {key}"):
                return StatedAlpha(float(values[key]), f"{where}{file.name}")
    for key in ("lora_config", "peft_config"):
        if isinstance(numbers.get(key), Mapping):
            return _from_config(numbers[key], file.name)
    config = file.with_name(ADAPTER_CONFIG)
    if not config.is_file():
        return StatedAlpha()
    try:
        return _from_config(_parse(read_text(config), str(config)), ADAPTER_CONFIG)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{config} cannot be read: {reason_of(error)}. Correct it, or take it away."
        ) from error


def _is_number(value: Any, *, strict: bool, where: str) -> bool:
    """Whether a value states an alpha; kohya may write a word such as Dynamic, beside entries."""
    if value is None or isinstance(value, bool):
        return False
    try:
        number = float(value)
    except (TypeError, ValueError):
        if not strict:
            return False
        number = math.nan
    if not math.isfinite(number):
        raise CheckpointError(f"{where} is {value!r}, but it must be a finite number. Correct it.")
    return True


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is no JSON: {error}. Correct it, or take it away.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} holds a {type(values).__name__}, but an object is expected.")
    return values


def _from_config(values: Mapping[str, Any], source: str) -> StatedAlpha:
    """peft's LoraConfig; diffusers writes ``transformer.`` before each field."""
    config = {key.removeprefix("transformer."): value for key, value in values.items()}
    _refuse_unread(config, source)
    rank = config.get("r", config.get("rank"))
    try:
        return StatedAlpha(
            alpha=_finite(config.get("lora_alpha", config.get("alpha", PEFT_ALPHA))),
            source=source,
            rank=None if rank is None else int(rank),
            alphas={key: _finite(value) for key, value in (config.get("alpha_pattern") or {}).items()},
            ranks={key: int(value) for key, value in (config.get("rank_pattern") or {}).items()},
            rank_stabilized=bool(config.get("use_rslora", False)),
        )
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise CheckpointError(f"{source}: a number of the LoRA is none ({error}). Correct it.") from error


def _finite(value: Any) -> float:
    """A number; ValueError for NaN and infinity, which Python's JSON knows."""
    if not math.isfinite(number := float(value)):
        raise ValueError(f"{value} is not finite")
    return number


def _refuse_unread(config: Mapping[str, Any], source: str) -> None:
    kind = str(config.get("peft_type") or "LORA").rpartition(".")[2].upper()
    start = str(config.get("init_lora_weights", "")).lower()
    if kind != "LORA":
        raise CheckpointError(
            f"{source}: the adapter is peft's {kind}, which is not read. Merge it with peft."
        )
    if config.get("use_dora"):
        raise CheckpointError(f"{source}: it is a DoRA (use_dora), which is not read. Merge it with peft.")
    if start.startswith(_CHANGES_BASE):
        raise CheckpointError(
            f"{source}: init_lora_weights is {start!r}, which changed the base weights too, so that the "
            "pairs alone give another model. Merge it with peft, or save it with peft's "
            "path_initial_model_for_weight_conversion."
        )


def _by_pattern(patterns: Mapping[str, Any], layer: str, default: Any) -> Any:
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", layer):
                return value
        except re.error as error:
            raise CheckpointError(f"{pattern!r} is no pattern of layers: {error}. Correct it.") from error
    return default
