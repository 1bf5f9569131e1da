"""From options to a model that is ready to be watched, saying meanwhile what is done.

What the memory has room for is chosen before anything is loaded (see memory.py); if it does not suffice after
all, everything is freed and the next smaller way is tried once. ``downgrade_models`` does the same later on,
stories are made.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from longlive.config import StreamConfig
from longlive.errors import FitError
from longlive.media.h264 import check_encoder, choose_encoder
from longlive.models.bundle import ModelBundle
from longlive.runtime.allocator import configure_cpu
from longlive.runtime.compilation import optimize_for_inference, warm_up
from longlive.runtime.footprint import footprint_of
from longlive.runtime.memory import (
    CONTEXT_BYTES,
    PRESETS,
    MemoryPlan,
    Preset,
    choose,
    free_bytes,
    presets_for,
    release,
    words_of,
)
from longlive.runtime.quantization import check_kind, quantize
from longlive.weights.loading import decoder_folder, load_decoder, load_models, read_config
from longlive.weights.registry import find_model

logger = logging.getLogger(__name__)

ProgressCallback = Callable[[str], None]
Made = TypeVar("Made")

_CACHES = {"full": None, "fp8": torch.float8_e4m3fn}


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """How a model is to be run; the words are those of options.py, and None leaves a choice to us."""

    device: str | None = None
    dtype: str | None = None
    decoder: str = "wan"
    compile: str = "off"
    attention: str = "auto"
    quantize: str = "off"
    cache: str = "full"
    text: str = "auto"
    encoder: str = "auto"
    threads: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RuntimeOptions":
        """From the options of a command, others among them."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})

    @property
    def place(self) -> torch.device:
        """The device that is computed on."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def precision(self) -> torch.dtype:
        """What is computed in."""
        return getattr(torch, self.dtype or ("bfloat16" if self.place.type == "cuda" else "float32"))


def start(
    name: str,
    choices: RuntimeOptions,
    tell: ProgressCallback,
    *,
    prepare: Callable[[ModelBundle], Made],
    free: int | None = None,
) -> Made:
    """Load a model in the best way that fits, make it quick and warm, and prepare what is to be done with it.

    Args:
        name: of the model, as for ``load_models``.
        choices: what people asked for.
        tell: is given a line for people before each thing that takes its time.
        prepare: what comes next, such as a first chunk; it too may find that the memory does not suffice.
        free: bytes to plan with; None measures them.

    Returns:
        what ``prepare`` returned.

    Raises:
        CheckpointError, ConfigError: naming what is missing or impossible.
        FitError: if no way of running the model fits.
    """
    begun = time.perf_counter()
    tell(f"looking for {name}")
    fit = fit_of(name, choices, free)
    tell(str(fit))

    def attempt(preset: Preset) -> Made:
        dtype = str(choices.precision).removeprefix("torch.")
        tell(f"loading {name} ({dtype} on {choices.place})")
        models = _load(name, choices, preset, fit.smaller)
        for words in warm(models, choices):
            tell(words)
        tell("making a first chunk that nobody sees")
        return prepare(models)

    made = first_that_fits([fit.preset, *fit.smaller], attempt, tell)
    tell(f"ready after {time.perf_counter() - begun:.1f} s")
    return made


def ready_models(
    name: str, choices: RuntimeOptions, tell: ProgressCallback, *, free: int | None = None
) -> ModelBundle:
    """The model alone, loaded and made quick; arguments and errors as for ``start``.

    On a CPU nothing is told, since nothing is chosen there.
    """
    fit = fit_of(name, choices, free)
    if choices.place.type != "cpu":
        tell(str(fit))
    presets = [fit.preset, *fit.smaller]
    return first_that_fits(presets, lambda preset: _load(name, choices, preset, fit.smaller), tell)


def asked_for(choices: RuntimeOptions, streams: int = 1) -> Preset:
    """What was asked for, whether it fits or not."""
    text = "resident" if choices.text == "auto" else choices.text
    return Preset(0, text, choices.decoder, choices.quantize, choices.cache, streams)


def fit_of(name: str, choices: RuntimeOptions, free: int | None = None) -> MemoryPlan:
    """The way of running a model that fits; arguments and errors as for ``start``."""
    device = choices.place
    check_kind(choices.quantize, device)
    check_encoder(choices.encoder, device)
    folder = find_model(name)
    if choices.decoder != "auto":
        decoder_folder(folder, choices.decoder)
    sizes = footprint_of(folder, read_config(folder), choices.precision)
    wishes = {field: getattr(choices, field) for field in ("decoder", "quantize", "cache", "text")}
    # A CPU has one memory for all: nothing is gained by moving weights.
    plain = [asked_for(choices, streams) for streams in (16, 8, 4, 2, 1)]
    presets = presets_for(sizes, wishes, plain if device.type == "cpu" else PRESETS)
    context = CONTEXT_BYTES if device.type == "cuda" else 0
    return choose(sizes, free_bytes(device) if free is None else free, presets, context=context)


def first_that_fits(
    presets: Sequence[Preset], attempt: Callable[[Preset], Made], tell: ProgressCallback
) -> Made:
    """What ``attempt`` makes of the first preset or, once the memory has run out, of the second.

    Raises:
        FitError: if the memory runs out again, or there is no second.
    """
    for number, preset in enumerate(presets[:2]):
        try:
            return attempt(preset)
        except torch.OutOfMemoryError:
            pass  # the error holds all that was made so far: only after this block can it be freed
        release()
        if number == 0 and len(presets) > 1:
            tell(f"out of memory with {words_of(preset)}; trying {words_of(presets[1])}")
    raise FitError(
        f"The memory ran out with {words_of(presets[min(1, len(presets) - 1)])}. Close other programs, or "
        "take a larger device or a smaller model."
    )


def accelerate(models: ModelBundle, choices: RuntimeOptions, preset: Preset) -> ModelBundle:
    """``models`` made quick, as chosen; their weights are changed in place."""
    quantize(models.transformer, preset.quantize)
    optimize_for_inference(
        models.transformer,
        compile_mode=choices.compile,  # type: ignore[arg-type]
        attention=choices.attention,
        fuse=preset.quantize == "off",
    )
    facts = models.config
    size = facts.display_scale * facts.width, facts.display_scale * facts.height
    encoder = choose_encoder(choices.encoder, models.device, *size)
    chosen = {"quantization": preset.quantize, "cache_dtype": _CACHES[preset.cache], "encoder": encoder}
    return dataclasses.replace(models, streams=preset.streams, **chosen)  # type: ignore[arg-type]


def downgrade_models(models: ModelBundle, preset: Preset) -> ModelBundle:
    """The same weights, run in a smaller way.

    The text encoder, which all share, moves at once. Streams that go on keep their decoder, since their
    pictures depend on what it remembers; those that begin later get the preset's.
    """
    logger.warning("the memory ran out; going on with %s", words_of(preset))
    models.text_encoder.place(models.device, preset.text)  # type: ignore[arg-type]
    release()
    decoder = models.decoder
    if preset.decoder != models.decoder_name:
        decoder = load_decoder(models.folder, preset.decoder, models.device, models.dtype)
    return dataclasses.replace(
        models,
        decoder=decoder,
        decoder_name=preset.decoder,
        cache_dtype=_CACHES[preset.cache],
        streams=preset.streams,
        smaller=None,
    )


def downgrade_path(preset: Preset, smaller: Sequence[Preset]) -> Callable[[ModelBundle], ModelBundle] | None:
    """How to make room while streams go on: by the next preset that takes less for a single one of them."""

    def kept(one: Preset) -> tuple[str, str, str]:
        return one.text, one.decoder, one.cache

    after = smaller[smaller.index(preset) + 1 :] if preset in smaller else smaller
    following = next((one for one in after if kept(one) != kept(preset)), None)
    return None if following is None else partial(downgrade_models, preset=following)


def warm(models: ModelBundle, choices: RuntimeOptions, stream: StreamConfig | None = None) -> Iterator[str]:
    """Compile and record what is to be, so that no viewer waits for it; gives what it does in words."""
    if choices.compile != "off":
        yield from warm_up(models.transformer, models.config, stream or StreamConfig.of(models.config))


def _load(name: str, choices: RuntimeOptions, preset: Preset, smaller: Sequence[Preset]) -> ModelBundle:
    configure_cpu(choices.threads or 1)
    models = load_models(
        name,
        device=choices.place,
        dtype=choices.precision,
        decoder=preset.decoder,
        text=preset.text,  # type: ignore[arg-type]
    )
    models = accelerate(models, choices, preset)
    return dataclasses.replace(models, smaller=downgrade_path(preset, smaller))
