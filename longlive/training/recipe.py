"""A recipe: all that a run of training is told, from a TOML file and ``--set``, checked by name and type.

A file has a table per section of Recipe. What a stage does differently stands in ``[stage.STAGE.SECTION]``.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from longlive.errors import ConfigError
from longlive.training.objectives.options import DmdOptions, ReleasedQuirks, StreamingOptions

CONFIGS = Path(__file__).resolve().parent / "configs"
STAGES = ("teacher", "init", "dmd", "streaming")
Stage = Literal["teacher", "init", "dmd", "streaming"]
Optimizer = Literal["adamw", "muon"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class ModelNames:
    """Which models a run begins with: names, folders or Hub ids.

    Attributes:
        generator: what is trained (``teacher``: the teacher to be), and whose VAE decodes samples.
        teacher: the real score of ``dmd`` and ``streaming``; the model that ``init`` solves the ODE with.
        critic: the fake score at first; None for the teacher's weights.
    """

    generator: str = "storybook"
    teacher: str = "storybook"
    critic: str | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is learnt from.

    Attributes:
        prompts: a text or JSONL file, or ``storybook`` for its own without end.
        next_prompts: a text file of as many lines to switch to; None if ``prompts`` is JSONL or has none.
        negative_prompt: what guidance leads away from; may be empty.
        clips: a folder of shards of clean clips for ``teacher``; None if they are handed over.
    """

    prompts: str = "storybook"
    next_prompts: str | None = None
    negative_prompt: str = ""
    clips: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long, how large, how exact, and what is kept.

    Attributes:
        steps: optimisation steps.
        seed: of everything that is drawn.
        global_batch: samples per step, over all processes.
        micro_batch: samples that go through the models together; the others come after one another.
        precision: inside the models; parameters and losses are float32 in either case.
        checkpointing: keep no activations of the blocks; compute them again in the backward pass.
        shard: parameters, gradients and optimizer states are spread over the processes (FSDP2).
        processes: for which the recipe is meant; ``--dry-run`` counts with it.
        generator_every: ``dmd`` and ``streaming`` train the generator at the steps divisible by it.
        log_every, sample_every, save_every: in steps; 0 for never (the last step is saved all the same).
        sample_latents: length of a sample video.
        keep: so many of the newest checkpoints.
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
        """Micro-batches of a step, over all processes."""
        return self.global_batch // self.micro_batch


@dataclass(frozen=True, kw_only=True)
class LearnerOptions:
    """How one model is trained.

    Attributes:
        optimizer: ``adamw``, or ``muon`` for the matrices of a model that is trained from scratch.
        lr: learning rate after the warm-up.
        betas, weight_decay: of AdamW.
        clip: largest norm of the gradient.
        warm_up: steps over which the learning rate rises.
        decay: share of the steps, at the end, over which it falls to (almost) 0.
        lora_rank: 0 trains all parameters; else only a LoRA of this rank on every linear of the blocks.
        lora_alpha: the LoRA counts alpha / rank times; 0 for the rank itself.
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
        """``lora_alpha``, or the rank in its place."""
        return self.lora_alpha or self.lora_rank

    def lr_at(self, step: int, num_steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = (step + 1) / self.warm_up if self.warm_up else 1.0
        falling = (num_steps - step) / (num_steps * self.decay) if self.decay else 1.0
        return self.lr * min(1.0, rising, max(0.01, falling))


@dataclass(frozen=True, kw_only=True)
class TeachingOptions:
    """Numbers of the stages ``teacher`` and ``init``.

    Attributes:
        is_fresh: begin with random weights of the transformer.
        trains_text: the text encoder learns as well.
        drop: share of the prompts that give way to the negative one, so that guidance works.
        sigma_floor: noise levels below it weigh no more than it; for models that predict clean latents.
        is_weighted: weigh timesteps as Wan does, whose bell gives (almost) none to pure noise; else evenly.
        num_pairs: paths of the teacher's ODE that ``init`` learns from, again and again.
        ode_steps: of each path.
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
    """All of it; ``stream`` changes what the generator was tuned with, by the names of StreamConfig."""

    models: ModelNames = field(default_factory=ModelNames)
    data: Data = field(default_factory=Data)
    run: Run = field(default_factory=Run)
    generator: LearnerOptions = field(default_factory=LearnerOptions)
    critic: LearnerOptions = field(default_factory=LearnerOptions)
    teaching: TeachingOptions = field(default_factory=TeachingOptions)
    sequences: StreamingOptions = field(default_factory=StreamingOptions)
    distillation: DmdOptions = field(default_factory=DmdOptions)
    defects: ReleasedQuirks = field(default_factory=ReleasedQuirks)
    stream: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, source: str | Path, stage: str, changes: Mapping[str, str] | None = None) -> "Recipe":
        """The recipe of ``source``, a file or the name of one in ``configs``, for ``stage``.

        Args:
            changes: values by ``section.key``, as TOML or plain words.

        Raises:
            ConfigError: naming the key that is unknown or of the wrong type, and what to do.
        """
        tables = _read_toml(source)
        stages = tables.pop("stage", {})
        _check_known("stage", stages, STAGES)
        tables = _joined(tables, stages.get(stage, {}))
        for key, value in (changes or {}).items():
            section, dot, name = key.partition(".")
            if not dot:
                raise ConfigError("--set", key, "it must be section.key=value", "Try --set run.steps=10.")
            tables = _joined(tables, {section: {name: _parsed(value)}})
        return cls.of(tables)

    @classmethod
    def of(cls, tables: Mapping[str, Mapping[str, Any]]) -> "Recipe":
        """The recipe of a table per section."""
        hints = get_type_hints(cls)
        _check_known("section", tables, hints)
        sections: dict[str, Any] = {}
        for name, values in tables.items():
            if not isinstance(values, Mapping):
                raise ConfigError(name, values, "a section is a table of keys", f"Write [{name}] above them.")
            sections[name] = dict(values) if name == "stream" else _section(hints[name], name, values)
        return cls(**sections)

    def as_released(self) -> "Recipe":
        """With every defect of the released code, and its numbers."""
        released = {"defects": ReleasedQuirks.as_released(), "distillation": DmdOptions.as_released()}
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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", str(path), f"it cannot be read ({error})", "Check the name.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config", str(path), f"it is no TOML ({error})", "Correct it.") from error


def _joined(tables: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``tables`` with the keys of ``more`` on top, section by section."""
    joined = dict(tables)
    for name, values in more.items():
        old = joined.get(name)
        joined[name] = old | values if isinstance(old, dict) and isinstance(values, dict) else values
    return joined


def _parsed(text: str) -> Any:
    """A value as TOML, or else the words themselves."""
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
    """``value`` if it is of type ``hint``; whole numbers serve as floats, lists as tuples, none as None."""
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
