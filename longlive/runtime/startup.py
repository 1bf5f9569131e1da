"""From options to a model that is ready to serve, with progress lines on the way.

What fits into the memory is chosen before anything is loaded (see memory.py). If memory runs out all the
same, everything is freed and the next smaller preset is tried once. ``downgrade_models`` does the same while
streams are running.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from longlive.config import (
    AttentionName,
    Auto,
    CacheName,
    CompileMode,
    DecoderName,
    DType,
    EncoderName,
    ModelConfig,
    Quantization,
    StreamConfig,
    TextPlacement,
)
from longlive.errors import FitError
from longlive.media.h264 import check_encoder, choose_encoder
from longlive.models.bundle import ModelBundle
from longlive.runtime.allocator import configure_cpu, has_fast_bfloat16
from longlive.runtime.compilation import optimize_for_inference, warm_up
from longlive.runtime.footprint import ModelFootprint, footprint_of
from longlive.runtime.memory import (
    CONTEXT_BYTES,
    PRESETS,
    MemoryPlan,
    Preset,
    divide_memory,
    free_memory,
    plan_memory,
    presets_for,
    release,
)
from longlive.runtime.quantization import check_kind, quantize
from longlive.weights.formats.lora_files import LoraFile
from longlive.weights.layout import ModelFolder
from longlive.weights.loading import decoder_folder, load, load_decoder, merge_loras
from longlive.weights.registry import resolve

logger = logging.getLogger(__name__)

ProgressCallback = Callable[[str], None]
Made = TypeVar("Made")

_CPU_STREAMS = (16, 8, 4, 2, 1)


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """The options of options.py, by which a model is run; None leaves a choice to this module."""

    device: str | None = None
    dtype: DType | None = None
    decoder: DecoderName | Auto = "wan"
    decoder_dtype: DType | Auto = "auto"
    compile: CompileMode = "off"
    attention: AttentionName | Auto = "auto"
    quantize: Quantization = "off"
    cache: CacheName = "full"
    text: TextPlacement | Auto = "auto"
    encoder: EncoderName | Auto = "auto"
    threads: int | None = None
    lora: tuple[LoraFile, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "RuntimeOptions":
        """The options among those of a command, as ``vars(arguments)`` gives them."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "lora"]
        return cls(**{name: values[name] for name in names}, lora=tuple(values.get("lora", ())))

    @property
    def torch_device(self) -> torch.device:
        """The device that is computed on."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that is computed in."""
        default = "bfloat16" if self.torch_device.type == "cuda" else "float32"
        dtype: torch.dtype = getattr(torch, self.dtype or default)
        return dtype

    def torch_decoder_dtype(self, config: ModelConfig) -> torch.dtype:
        """The dtype that a model's decoder computes in.

        By default the model's; but bfloat16 on a CPU that multiplies it fast: pictures lose nothing that can
        be seen (58 dB, storybook), and latents do not depend on them. They do where rollouts overlap.
        """
        if self.decoder_dtype != "auto":
            chosen: torch.dtype = getattr(torch, self.decoder_dtype)
            return chosen
        is_fast = self.torch_device.type == "cpu" and has_fast_bfloat16()
        return torch.bfloat16 if is_fast and not config.overlap else self.torch_dtype

    def preset(self, streams: int = 1) -> Preset:
        """The preset that these options ask for, whether it fits or not."""
        text = "resident" if self.text == "auto" else self.text
        return Preset(text, self.decoder, self.quantize, self.cache, streams)


def start(
    name: str,
    options: RuntimeOptions,
    on_progress: ProgressCallback,
    *,
    prepare: Callable[[ModelBundle], Made],
    free: int | None = None,
) -> Made:
    """Load a model by the best preset that fits, optimize it, warm it up, and call ``prepare``.

    Args:
        name: of the model, as for ``load_models``.
        options: what people asked for.
        on_progress: is given a line for people before each step that takes its time.
        prepare: what comes next, such as a first chunk; it may find that memory runs out, too.
        free: bytes to plan with; None measures them.

    Returns:
        what ``prepare`` returned.

    Raises:
        CheckpointError, ConfigError: naming what is missing or impossible.
        FitError: if no preset fits.
    """
    started = time.perf_counter()
    on_progress(f"looking for {name}")
    folder, plan = _resolve_and_plan(name, options, free)
    on_progress(str(plan))

    def attempt(preset: Preset) -> Made:
        dtype = str(options.torch_dtype).removeprefix("torch.")
        on_progress(f"loading {name} ({dtype} on {options.torch_device})")
        models = _load(folder, options, preset, plan.smaller)
        for line in warm(models, options):
            on_progress(line)
        on_progress("making a first chunk that is not shown")
        return prepare(models)

    made = first_that_fits([plan.preset, *plan.smaller], attempt, on_progress)
    on_progress(f"ready after {time.perf_counter() - started:.1f} s")
    return made


def ready_models(
    name: str, options: RuntimeOptions, on_progress: ProgressCallback, *, free: int | None = None
) -> ModelBundle:
    """Load and optimize the model alone; arguments and errors as for ``start``.

    On a CPU there is no progress line, since nothing is chosen there.
    """
    folder, plan = _resolve_and_plan(name, options, free)
    if options.torch_device.type != "cpu":
        on_progress(str(plan))
    presets = [plan.preset, *plan.smaller]
    return first_that_fits(presets, lambda preset: _load(folder, options, preset, plan.smaller), on_progress)


def plan_for(name: str, options: RuntimeOptions, free: int | None = None) -> MemoryPlan:
    """Choose how to run a model; arguments and errors as for ``start``."""
    return _resolve_and_plan(name, options, free)[1]


def share_memory(
    names: Sequence[str], options: RuntimeOptions, free: int | None = None
) -> dict[str, int] | None:
    """Bytes that each of several models is planned with, so that all fit together; None if they do not.

    Arguments and errors as for ``start``; the bytes are what that takes as ``free``.
    """
    device = options.torch_device
    surveys = {name: _survey(name, options)[1:] for name in names}
    free = free_memory(device) if free is None else free
    return divide_memory(surveys, free, context=_context_bytes(device))


def _resolve_and_plan(name: str, options: RuntimeOptions, free: int | None) -> tuple[ModelFolder, MemoryPlan]:
    device = options.torch_device
    folder, footprint, presets = _survey(name, options)
    free = free_memory(device) if free is None else free
    return folder, plan_memory(footprint, free, presets, context=_context_bytes(device))


def _survey(name: str, options: RuntimeOptions) -> tuple[ModelFolder, ModelFootprint, list[Preset]]:
    """A model's folder, what its parts take, and the presets that it may be run by."""
    device = options.torch_device
    check_kind(options.quantize, device)
    check_encoder(options.encoder, device)
    folder = resolve(name)
    if options.decoder != "auto":
        decoder_folder(folder.path, options.decoder)
    footprint = footprint_of(folder.path, folder.config, options.torch_dtype)
    asked = {field: getattr(options, field) for field in ("decoder", "quantize", "cache", "text")}
    presets = presets_for(footprint, asked, _cpu_presets(options) if device.type == "cpu" else PRESETS)
    return folder, footprint, presets


def _context_bytes(device: torch.device) -> int:
    return CONTEXT_BYTES if device.type == "cuda" else 0


def _cpu_presets(options: RuntimeOptions) -> list[Preset]:
    """Nothing is gained by moving weights within one memory; but the text encoder may stay in its file."""
    return [*map(options.preset, _CPU_STREAMS), dataclasses.replace(options.preset(), text="cpu")]


def first_that_fits(
    presets: Sequence[Preset], attempt: Callable[[Preset], Made], on_progress: ProgressCallback
) -> Made:
    """Return what ``attempt`` makes of the first preset or, if that runs out of memory, of the second.

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
            on_progress(f"out of memory with {preset}; trying {presets[1]}")
    raise FitError(
        f"The memory ran out with {presets[min(1, len(presets) - 1)]}. Close other programs, or "
        "take a larger device or a smaller model."
    )


def accelerate(models: ModelBundle, options: RuntimeOptions, preset: Preset) -> ModelBundle:
    """The bundle, quantized, optimized and described by its runtime profile; weights change in place."""
    for transformer in models.transformers:
        quantize(transformer, preset.quantize)
        optimize_for_inference(
            transformer,
            compile_mode=options.compile,
            attention=options.attention,
            fuse=preset.quantize == "off",
        )
    profile = dataclasses.replace(
        models.runtime,
        quantization=preset.quantize,
        cache=preset.cache,
        max_streams=preset.streams,
        encoder=_encoder_for(models, options.encoder),
    )
    return dataclasses.replace(models, runtime=profile)


def _encoder_for(models: ModelBundle, asked: EncoderName | Auto) -> EncoderName:
    """The encoder that opens for pictures of each of the model's sizes."""
    scale, chosen = models.config.live_scale, set[EncoderName]()
    for width, height in models.config.all_sizes:
        chosen.add(choose_encoder(asked, models.device, scale * width, scale * height))
    return "x264" if "x264" in chosen else "nvenc"


def downgrade_models(models: ModelBundle, preset: Preset) -> ModelBundle:
    """The same weights, run by a preset that takes less memory.

    The text encoder, which all share, moves at once. Streams that go on keep their decoder, since their
    pictures depend on its state; those that begin later get the preset's.
    """
    logger.warning("out of memory; going on with %s", preset)
    models.text_encoder.place(models.device, preset.text)
    release()
    decoder = models.decoder
    if preset.decoder != models.decoder_name:
        decoder = load_decoder(models.folder, preset.decoder, models.device, models.dtype)
    profile = dataclasses.replace(
        models.runtime, cache=preset.cache, max_streams=preset.streams, downgrade=None
    )
    return dataclasses.replace(models, decoder=decoder, decoder_name=preset.decoder, runtime=profile)


def downgrade_path(preset: Preset, smaller: Sequence[Preset]) -> Callable[[ModelBundle], ModelBundle] | None:
    """How to free memory while streams go on: by the next preset that takes less for a single one of them."""

    def per_stream(one: Preset) -> tuple[str, str, str]:
        return one.text, one.decoder, one.cache

    after = smaller[smaller.index(preset) + 1 :] if preset in smaller else smaller
    following = next((one for one in after if per_stream(one) != per_stream(preset)), None)
    return None if following is None else partial(downgrade_models, preset=following)


def warm(models: ModelBundle, options: RuntimeOptions, stream: StreamConfig | None = None) -> Iterator[str]:
    """Compile and capture what a stream will run, so that no viewer waits for it; yields progress lines."""
    if options.compile != "off":
        stream = stream or StreamConfig.of(models.config)
        # What is compiled goes by the number of tokens, which swapped sides share.
        configs = {one.tokens_per_latent: one for one in map(models.config.at, models.config.all_sizes)}
        for config in configs.values():
            yield from warm_up(models.transformer, config, stream, writer=models.context_writer)


def _load(
    folder: ModelFolder, options: RuntimeOptions, preset: Preset, smaller: Sequence[Preset]
) -> ModelBundle:
    configure_cpu(options.threads or 1)
    models = load(
        folder,
        device=options.torch_device,
        dtype=options.torch_dtype,
        decoder=preset.decoder,
        decoder_dtype=options.torch_decoder_dtype(folder.config),
        text=preset.text,
    )
    models = merge_loras(models, options.lora)
    models = accelerate(models, options, preset)
    is_cpu = options.torch_device.type == "cpu"  # where no preset frees memory that a stream has taken
    downgrade = None if is_cpu else downgrade_path(preset, smaller)
    profile = dataclasses.replace(models.runtime, downgrade=downgrade)
    return dataclasses.replace(models, runtime=profile)
