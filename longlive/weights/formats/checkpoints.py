"""Checkpoint files of the family -> one transformer in our names, and which of several was taken.

Trainers nest and prefix the weights in many ways: ``{"generator": {"model.…"}}``, ``module.…`` at the top,
``{"state_dict": {"model.…"}, "epoch": 3}``. All of them are read alike: what stands before the known names,
dicts' keys included, is the name of a candidate, such as ``generator.model``. Where there are several, one is
taken by the rules of ``_default`` and named in ``TransformerCheckpoint.about``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from longlive.errors import CheckpointError
from longlive.weights.formats.key_mapping import (
    State,
    check_known,
    first_few,
    locate,
    locate_in_second_set,
    strip_wrappers,
    unread_format,
)
from longlive.weights.formats.weight_files import dicts_of_tensors, open_weights

# Parts of a candidate's name that say that it is no generator: it is taken only if it is asked for.
_OTHER_MODELS = ("critic", "fake_score", "real_score", "teacher", "discriminator", "optimizer", "optim")
_EMA = re.compile(r"(^|[._])(ema|averaged|shadow)(_\d+)?([._]|$)")
# Files whose authors run the weights without averaging although their trainers write both: LongLive (use_ema
# is false in its inference configs) and Causal-Forcing chunk-wise (its README's command has no --use_ema).
# All other members run the average where there is one: Self-Forcing, SGF, SGF+, Causal-Forcing frame-wise and
# longvideo, Rolling Forcing, Reward Forcing, Infinity-RoPE.
_WITHOUT_AVERAGE = re.compile(r"(longlive[^/]*|chunkwise/causal_forcing[^/]*)$", re.IGNORECASE)
# Folders of published checkpoints that no stream can be made with, although their tensors are the same.
_WHOLE_CLIPS = re.compile(r"(^|/)bidirectional_checkpoint\d*(/|$)")


@dataclass
class _Candidate:
    """A transformer in a checkpoint, and the keys beside it, under the same prefix, that are not its own."""

    state: State = field(default_factory=dict)
    context: State = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


Candidates = Mapping[str, _Candidate]
"""By what stands before the names."""


@dataclass(frozen=True)
class TransformerCheckpoint:
    """A transformer that was found in a checkpoint.

    Attributes:
        state: its tensors in our names, memory-mapped.
        context: those of its second set, which writes what is remembered; empty if it has none.
        about: which part of the file it is, and what else is there, for people; empty if it is all there is.
    """

    state: State
    context: State
    about: str


def read_transformer(path: Path, key: str | None = None) -> TransformerCheckpoint:
    """Read the transformer of a checkpoint.

    Args:
        path: as ``parts_of`` takes: a file, its parts, their index or their folder.
        key: which of several transformers, such as ``generator_ema``; None: the one that its authors run.

    Raises:
        CheckpointError: when it cannot be read, holds no transformer of this family, or has keys that are
            not of one; when ``key`` is not there; when several are there and nothing decides.
    """
    if _WHOLE_CLIPS.search("/".join(path.absolute().parts[-2:])):
        raise CheckpointError(
            f"{path} is CausVid's bidirectional checkpoint, which makes a whole clip at once. Give "
            " the model.pt of autoregressive_checkpoint or autoregressive_checkpoint_warp_4step_cfg2."
        )
    stored = open_weights(path)
    candidates = _candidates(stored)
    if not candidates:
        raise _nothing_found(path, stored)
    chosen = _choose(candidates, key, path)
    check_known(candidates[chosen].unknown)
    return TransformerCheckpoint(
        candidates[chosen].state, candidates[chosen].context, _about(chosen, candidates, path)
    )


def _candidates(stored: Mapping[str, Any]) -> dict[str, _Candidate]:
    found: dict[str, _Candidate] = {}
    for path, tensors in dicts_of_tensors(stored):
        unknown = []
        for name, tensor in tensors.items():
            if located := locate(name):
                found.setdefault(path + located.prefix, _Candidate()).state[located.name] = tensor
            elif located := locate_in_second_set(name):
                found.setdefault(path + located.prefix, _Candidate()).context[located.name] = tensor
            elif not _is_counter(name, tensor) and not _is_table_of_positions(name, tensor):
                unknown.append(strip_wrappers(path + name))
        for prefix, candidate in found.items():
            if prefix.startswith(path):
                candidate.unknown += [n.removeprefix(prefix) for n in unknown if n.startswith(prefix)]
    return found


def _is_counter(name: str, tensor: Tensor) -> bool:
    """Whether a tensor beside the weights is a number such as ``step`` or ``n_averaged``."""
    return tensor.numel() == 1 and "." not in name and "scale" not in name


def _is_table_of_positions(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is Wan's table of rotary positions, which is computed and not trained."""
    return tensor.is_complex() and name.rpartition(".")[2] == "freqs"


def _choose(candidates: Candidates, key: str | None, path: Path) -> str:
    if key is not None:
        wanted = [
            prefix for prefix in candidates if key.strip(".") in (prefix.strip("."), *prefix.split("."))
        ]
        if len(wanted) == 1:
            return wanted[0]
        raise CheckpointError(
            f"{path} has {len(wanted) or 'no'} transformers under {key!r}. It holds {_listed(candidates)}: "
            "give one of these with --weights-key."
        )
    usable = [prefix for prefix in candidates if not set(prefix.split(".")) & set(_OTHER_MODELS)]
    whole = max((len(candidates[prefix].state) for prefix in usable), default=0)
    return _default([prefix for prefix in usable if len(candidates[prefix].state) == whole], candidates, path)


def _default(usable: list[str], candidates: Candidates, path: Path) -> str:
    """The average or the plain weights, whichever the authors run; an error if that does not decide."""
    averages = [prefix for prefix in usable if _EMA.search(prefix)]
    plain = [prefix for prefix in usable if prefix not in averages]
    runs_plain = _WITHOUT_AVERAGE.search("/".join(path.absolute().parts[-3:]))
    preferred = (plain or averages) if runs_plain else (averages or plain)
    if len(preferred) == 1:
        return preferred[0]
    why = "several transformers" if usable else "no generator, but other models"
    raise CheckpointError(f"{path} holds {why}: {_listed(candidates)}. Say which with --weights-key.")


def _about(chosen: str, candidates: Candidates, path: Path) -> str:
    others = [prefix for prefix in candidates if prefix != chosen]
    if not others:
        return ""
    taken = f"{path.name}: {_label(chosen)} is taken"
    return f"{taken}; it also holds {_listed(others)} (--weights-key takes another)"


def _label(prefix: str) -> str:
    return prefix.strip(".") or "the weights at the top"


def _listed(prefixes: Candidates | list[str]) -> str:
    return ", ".join(map(_label, prefixes))


def _nothing_found(path: Path, stored: Mapping[str, Any]) -> CheckpointError:
    names = [f"{where}{name}" for where, tensors in dicts_of_tensors(stored) for name in tensors]
    held = first_few(names) if names else f"no tensors ({first_few(list(map(str, stored))) or 'nothing'})"
    return CheckpointError(f"{path} holds no transformer of this family, but {held}. {unread_format(names)}")
