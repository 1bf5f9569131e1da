"""A training recipe: every option of a run, read from a TOML file and ``--set``, checked by name and type.

A file has one table per field of Recipe; ``[stage.STAGE.SECTION]`` overrides it for one stage.
"""

import dataclasses
import difflib
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longlive.errors import ConfigError, reason_of
from longlive.files import read_text
from longlive.training.objectives.options import DmdOptions, StreamingOptions
from longlive.training.objectives.quirks import ReleasedQuirks

CONFIGS = Path(__file__).resolve().parent / "configs"
STAGES = ("teacher", "init", "dmd", "streaming")
Optimizer = Literal["adamw", "muon"]
Precision = Literal["float32", "bfloat16"]

OLD_NAMES = {"defects": "quirks", "has_two_timetables": "has_two_schedules"}
"""Old names of sections and keys that recipes may still use in this release, with a warning."""


@dataclass(frozen=True, kw_only=True)
class ModelNames:
    """The models that a run starts from: names, folders or Hub ids.

    Attributes:
        generator: the model to train (in stage ``teacher``: the future teacher); its VAE decodes samples.
        teacher: the real score of ``dmd`` and ``streaming``; ``init`` solves its ODE.
        critic: initial weights of the fake score; None for those of the teacher.
    """

    generator: str = "storybook"
    teacher: str = "storybook"
    critic: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Training data.

    Attributes:
        prompts: a text or JSONL file, or the name of a prompt source such as ``storybook``.
        next_prompts: a text file with one prompt to switch to per line of ``prompts``; None if ``prompts`` is
            JSONL or a prompt source, or without switches.
        negative_prompt: of classifier-free guidance; may be empty.
        clips: a folder of shards of clean clips for ``teacher``; None if the caller passes clips itself.
    """

    prompts: str = "storybook"
    next_prompts: str | None = None
    negative_prompt: str = ""
    clips: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Length, batch sizes, precision, logging and checkpoints of a run.

    Attributes:
        steps: optimisation steps.
        seed: of all random numbers.
        global_batch: samples per step, over all processes.
        micro_batch: samples in one forward pass; gradients accumulate over the micro-batches of a step.
        precision: of the forward and backward passes; parameters and losses are always float32.
        checkpointing: activation checkpointing of the transformer blocks.
        shard: shard parameters, gradients and optimizer states over the processes (FSDP2).
        processes: number of processes that ``--dry-run`` assumes.
        generator_every: ``dmd`` and ``streaming`` update the generator only every so many steps.
        log_every, sample_every, save_every: in steps; 0 for never (the last step is always saved).
        sample_latents: length of a sample video, in latent frames.
        keep: number of checkpoints to keep.
    """

    steps: int = 1000
    seed: int = 0
    global_batch: int = 1
    micro_batch: int = 1
    precision: Precision = "float32"
    checkpointing: bool = False
    shard: bool = False
    processes: int = 1
    generator_every: int = 5
    log_every: int = 10
    sample_every: int = 0
    sample_latents: int = 21
    save_every: int = 100
    keep: int = 2

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        counts = "global_batch micro_batch processes generator_every log_every keep sample_latents"
        for name in counts.split():
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must be at least 1", "Correct it.")
        for name in ("steps", "seed", "sample_every", "save_every"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "it cannot be negative", "Correct it.")
        if self.global_batch % self.micro_batch:
            rule = f"it must be a multiple of micro_batch ({self.micro_batch})"
            raise ConfigError("global_batch", self.global_batch, rule, "Correct one of them.")

    @property
    def num_streams(self) -> int:
        """Number of micro-batches of a step, over all processes."""
        return self.global_batch // self.micro_batch


@dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """Optimizer, learning rate, LoRA and moving average of one model.

    Attributes:
        optimizer: ``adamw``, or ``muon`` (for matrices; AdamW for the rest) to train from scratch.
        lr: learning rate after the warm-up.
        betas, weight_decay: of AdamW.
        clip: maximum norm of the gradient.
        warm_up: steps of linear warm-up.
        decay: fraction of the steps, at the end, over which the rate falls linearly to 1 % of ``lr``.
        lora_rank: rank of a LoRA on every linear layer of the blocks; 0 trains all parameters.
        lora_alpha: the LoRA is scaled by alpha / rank; 0 means alpha = rank.
        ema: decay of the moving average of the parameters; 0 for none.
    """

    optimizer: Optimizer = "adamw"
    lr: float = 1e-5
    betas: tuple[float, float] = (0.0, 0.999)
    weight_decay: float = 0.01
    clip: float = 10.0
    warm_up: int = 0
    decay: float = 0.0
    lora_rank: int = 0
    lora_alpha: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        if self.lr <= 0 or self.clip <= 0:
            name = "lr" if self.lr <= 0 else "clip"
            raise ConfigError(name, getattr(self, name), "it must be above 0", "Correct it.")
        for name in ("warm_up", "lora_rank", "lora_alpha"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "it cannot be negative", "Use 0 for none.")
        if not 0 <= self.ema < 1 or not 0 <= self.decay <= 1:
            name = "decay" if 0 <= self.ema < 1 else "ema"
            raise ConfigError(name, getattr(self, name), "it is a share in [0, 1)", "Use 0 for none.")

    @property
    def alpha(self) -> int:
        """``lora_alpha``, or the rank if that is 0."""
        return self.lora_alpha or self.lora_rank

    def lr_at(self, step: int, num_steps: int) -> float:
        """The learning rate of a step (counted from 0) of a run of ``num_steps``."""
        rising = (step + 1) / self.warm_up if self.warm_up else 1.0
        falling = (num_steps - step) / (num_steps * self.decay) if self.decay else 1.0
        return self.lr * min(1.0, rising, max(0.01, falling))


@dataclass(frozen=True, kw_only=True)
class TeachingOptions:
    """Options of the stages ``teacher`` and ``init``.

    Attributes:
        is_fresh: start from random weights of the transformer.
        trains_text: train the text encoder as well.
        drop: probability of replacing a prompt by the negative prompt, which classifier-free guidance needs.
        sigma_floor: lower bound of sigma in the loss weight; for models that predict clean latents.
        is_weighted: use Wan's bell-shaped weights over timesteps, almost 0 at pure noise; else equal weights.
        num_pairs: number of trajectories of the teacher's ODE in the data set of ``init``.
        ode_steps: Euler steps of each trajectory.
    """

    is_fresh: bool = False
    trains_text: bool = False
    drop: float = 0.1
    sigma_floor: float = 0.0
    is_weighted: bool = True
    num_pairs: int = 1000
    ode_steps: int = 48

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        for name in ("drop", "sigma_floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, getattr(self, name), "it must lie in [0, 1]", "Correct it.")
        for name in ("num_pairs", "ode_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "it must be at least 1", "Correct it.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All options of a run; ``stream`` overrides fields of the generator's StreamConfig by name."""

    models: ModelNames = field(default_factory=ModelNames)
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)
    generator: LearnerOptions = field(default_factory=LearnerOptions)
    critic: LearnerOptions = field(default_factory=LearnerOptions)
    teaching: TeachingOptions = field(default_factory=TeachingOptions)
    sequences: StreamingOptions = field(default_factory=StreamingOptions)
    distillation: DmdOptions = field(default_factory=DmdOptions)
    quirks: ReleasedQuirks = field(default_factory=ReleasedQuirks)
    stream: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, source: str | Path, stage: str, changes: Mapping[str, str] | None = None) -> "Recipe":
        """Read a recipe for one stage.

        Args:
            source: a TOML file, or the name of a recipe in ``longlive/training/configs``.
            stage: one of ``STAGES``.
            changes: values by ``section.key``, as TOML or plain strings; they take precedence over the file.

        Raises:
            ConfigError: naming the key that is unknown or of the wrong type, and what to do.
        """
        tables = _renamed(_read_toml(source))
        stages = tables.pop("stage", {})
        _check_known("stage", stages, STAGES)
        tables = _joined(tables, stages.get(stage, {}))
        for key, value in (changes or {}).items():
            section, dot, name = key.partition(".")
            if not dot:
                raise ConfigError("--set", key, "it must be section.key=value", "Try --set run.steps=10.")
            tables = _joined(tables, _renamed({section: {name: _parsed(value)}}))
        return cls.of(tables)

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Any]]) -> "Recipe":
        """The recipe with these values, one table per section; the others keep their defaults."""
        tables, hints = _renamed(tables), get_type_hints(cls)
        _check_known("section", tables, hints)
        sections: dict[str, Any] = {}
        for name, values in tables.items():
            if not isinstance(values, Mapping):
                raise ConfigError(
                    name, values, "a section must be a table", f"Write [{name}] above its keys."
                )
            sections[name] = dict(values) if name == "stream" else _section(hints[name], name, values)
        return cls(**sections)

    def as_released(self) -> "Recipe":
        """This recipe with every quirk of the released code, and its guidance scale."""
        released = {"quirks": ReleasedQuirks.as_released(), "distillation": DmdOptions.as_released()}
        return dataclasses.replace(self, **released)  # type: ignore[arg-type]


def _read_toml(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if path.suffix != ".toml":
        names = sorted(file.stem for file in CONFIGS.glob("*.toml"))
        if str(source) not in names:
            cure = f"Known names: {', '.join(names)}; or give a .toml file."
            raise ConfigError("config", str(source), "there is no recipe of this name", cure)
        path = CONFIGS / f"{source}.toml"
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise ConfigError(
            "config", str(path), f"it cannot be read ({reason_of(error)})", "Check the name."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "config", str(path), f"it is not valid TOML ({reason_of(error)})", "Correct it."
        ) from error


def _renamed(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables with the new name of every section and key that has an old one."""
    renamed: dict[str, Any] = {}
    for name, value in tables.items():
        if name in OLD_NAMES:
            warnings.warn(f"{name} is now called {OLD_NAMES[name]}; please rename it", stacklevel=4)
        renamed[OLD_NAMES.get(name, name)] = _renamed(value) if isinstance(value, Mapping) else value
    return renamed


def _joined(tables: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``tables`` updated with the keys of ``more``, section by section."""
    joined = dict(tables)
    for name, values in more.items():
        old = joined.get(name)
        joined[name] = old | values if isinstance(old, dict) and isinstance(values, dict) else values
    return joined


def _parsed(text: str) -> Any:
    """The value parsed as TOML, or the string itself if it is not TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _section(cls: type, section: str, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(cls)
    _check_known(f"key of [{section}]", values, hints)
    return cls(**{key: _value(f"{section}.{key}", value, hints[key]) for key, value in values.items()})


def _check_known(what: str, found: Mapping[str, Any], known: Any) -> None:
    for name in found:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            cure = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise ConfigError(what, name, "there is no such name", cure)


def _value(key: str, value: Any, hint: Any) -> Any:
    """``value`` checked against type ``hint``; ints count as floats, lists as tuples, "none" as None."""
    if isinstance(hint, UnionType):
        if value in ("none", ""):
            return None
        hint = next(part for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(key, value, f"it must be one of {', '.join(get_args(hint))}", "Correct it.")
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if isinstance(value, list | tuple) and len(value) == len(parts):
            return tuple(_value(key, part, kind) for part, kind in zip(value, parts, strict=True))
        raise ConfigError(key, value, f"it must be a list of {len(parts)} values", "Correct it.")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        kind = type(value).__name__
        raise ConfigError(key, value, f"it must be of type {hint.__name__}, not {kind}", "Correct it.")
    return value
