"""Facts of a checkpoint (TransformerConfig, ModelConfig), options of a stream (StreamConfig), option words.

All are frozen and validated on construction; what follows from other fields is a property.
Units: "latent" counts latent frames, "frame" counts pictures. The first latent of a video decodes to one
picture, each later one to ``temporal_scale`` (Wan 2.1's causal VAE).
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from longlive.errors import ConfigError

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""
Positions = Literal["absolute", "relative"]
"""How latent frames are numbered for RoPE: since the start of the video, or within the window."""
Prediction = Literal["velocity", "clean"]
"""What a network returns: the velocity (noise - clean), or the clean latents."""
SwitchMode = Literal["soft", "hard", "keep"]
"""What happens to the cache when a new prompt takes effect: recached, cleared, or kept as it is."""

# The words of the options by which a model is run. ``typing.get_args`` gives the choices of each; "auto" is
# a choice of the options alone, and is replaced by one of these words before the model is loaded.
Auto = Literal["auto"]
DType = Literal["float32", "bfloat16", "float16"]
"""The dtype that is computed in."""
DecoderName = Literal["wan", "tiny", "light"]
"""What turns latents into pictures: Wan 2.1's VAE, the tiny VAE, or LightVAE."""
CompileMode = Literal["off", "default", "graphs", "aot"]
"""The transformer: kernel by kernel, with compiled blocks, these as CUDA graphs, or blocks ahead of time."""
AttentionName = Literal["flash3", "flash4", "cudnn", "sdpa", "sage"]
"""The kernel of the self-attention."""
Quantization = Literal["off", "int8", "fp8"]
"""How the matrix products of the transformer's blocks are rounded."""
CacheName = Literal["full", "fp8"]
"""How keys and values are stored: in the dtype that is computed in, or in 8 bits."""
EncoderName = Literal["nvenc", "x264"]
"""What encodes H.264."""
TextPlacement = Literal["resident", "streamed", "cpu"]
"""The text encoder's weights: on the device; on the CPU and brought to the device block by block for each
prompt; on the CPU, where prompts are then read."""
ResumeMode = Literal["auto", "exact", "quick"]
"""How a session goes on from kept latents: bit for bit, by few passes and a soft recache, or as suits."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Shape of a Wan transformer: the fields of diffusers' ``WanTransformer3DModel`` that we read.

    Attributes:
        patch_size: latent frames, rows and columns in one token; time must be 1.
        prediction: what the network returns: the velocity (noise - clean), as Wan does, or the clean latents.
            Kept in ``longlive.json``, since diffusers has no field for it.
    """

    num_attention_heads: int
    attention_head_dim: int
    in_channels: int
    out_channels: int
    text_dim: int
    freq_dim: int
    ffn_dim: int
    num_layers: int
    patch_size: tuple[int, int, int] = (1, 2, 2)
    cross_attn_norm: bool = True
    eps: float = 1e-6
    rope_max_seq_len: int = 1024
    prediction: Prediction = "velocity"

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        for name in ("num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "text_dim"):
            _check_positive(name, getattr(self, name))
        for name in ("freq_dim", "ffn_dim", "num_layers", "rope_max_seq_len"):
            _check_positive(name, getattr(self, name))
        if self.patch_size[0] != 1:
            raise ConfigError(
                "patch_size", self.patch_size, "its time part must be 1", "Use a Wan 2.1 checkpoint."
            )
        if self.attention_head_dim % 2:
            raise ConfigError(
                "attention_head_dim", self.attention_head_dim, "RoPE needs an even number", "Make it even."
            )
        if self.prediction not in get_args(Prediction):
            raise ConfigError(
                "prediction", self.prediction, f"it must be one of {get_args(Prediction)}", "Correct it."
            )

    @property
    def dim(self) -> int:
        """Width of the residual stream."""
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Facts of a checkpoint: its transformer's shape, and how it was trained, as ``longlive.json`` says.

    Attributes:
        name: of the model, for people.
        height, width: size of a picture in pixels.
        sizes: further sizes that the same weights can make, of about as many pixels, so that a stream of any
            size takes about the same time and memory.
        fps: pictures per second.
        steps: timesteps in [0, 1000] before warping, noisiest first.
        first_steps: those of the first chunk, if it has others; empty if not.
        warp_steps: whether the shift moves the timesteps; if not, the network is told them as they are.
        shift: of the flow-matching schedule.
        chunk, window, sink: latent frames that are generated together; attended to, sink included;
            always kept.
        overlap: latent frames that the next rollout repeats, for models that play rollouts of ``window``; 0
            for models whose window slides.
        positions: how latent frames were counted in training.
        switch: how a stream changes to a new prompt unless it is told how: ``soft`` for models that were
            tuned with recaching, ``keep`` for others.
        context_transformer: whether a second set of weights writes what is remembered (SGF+).
        text_len: tokens of a prompt, padding included.
        context_noise: timestep label of the clean pass.
        display_scale: whole number by which pictures are enlarged in files that are written.
    """

    name: str
    transformer: TransformerConfig
    height: int
    width: int
    fps: int = 16
    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    chunk: int = 3
    window: int = 12
    sink: int = 3
    positions: Positions = "absolute"
    text_len: int = 512
    context_noise: float = 0.0
    spatial_scale: int = 8
    temporal_scale: int = 4
    display_scale: int = 1
    first_steps: tuple[int, ...] = ()
    warp_steps: bool = True
    overlap: int = 0
    switch: SwitchMode = "soft"
    context_transformer: bool = False
    sizes: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        for name in ("height", "width", "fps", "chunk", "window", "text_len", "display_scale"):
            _check_positive(name, getattr(self, name))
        object.__setattr__(self, "sizes", _read_sizes(self.sizes))
        for width, height in self.all_sizes:
            self._check_side("height", height, self.transformer.patch_size[1])
            self._check_side("width", width, self.transformer.patch_size[2])
        self._check_areas()
        _check_steps("steps", self.steps)
        if self.first_steps:
            _check_steps("first_steps", self.first_steps)
        if self.switch not in get_args(SwitchMode):
            rule = f"it must be one of {get_args(SwitchMode)}"
            raise ConfigError("switch", self.switch, rule, "Use 'soft' or 'keep'.")
        if self.shift <= 0:
            raise ConfigError("shift", self.shift, "it must be above 0", "Wan 2.1 uses 5.0.")

    def _check_side(self, axis: str, pixels: int, patch: int) -> None:
        divisor = self.spatial_scale * patch
        if pixels % divisor:
            nearest = max(divisor, round(pixels / divisor) * divisor)
            raise ConfigError(axis, pixels, f"it must be a multiple of {divisor} pixels", f"Try {nearest}.")

    def _check_areas(self) -> None:
        """Memory is planned and speed is measured at one size."""
        areas = [width * height for width, height in self.all_sizes]
        if max(areas) > MAX_AREA_RATIO * min(areas):
            rule = f"no size may have more than {MAX_AREA_RATIO:g} times as many pixels as another one"
            raise ConfigError("sizes", sizes_text(self.all_sizes), rule, "Leave out what differs most.")

    @property
    def size(self) -> Size:
        """Width and height of a picture, in pixels."""
        return self.width, self.height

    @property
    def all_sizes(self) -> tuple[Size, ...]:
        """The sizes that the weights can make, this one first."""
        return self.size, *self.sizes

    def at(self, size: Size | None) -> "ModelConfig":
        """The same model at one of its sizes; None: at this one. ConfigError for a size that it has not."""
        if size is None or size == self.size:
            return self
        if size not in self.sizes:
            rule = f"the pictures of {self.name} have {sizes_text(self.all_sizes)} pixels"
            raise ConfigError("size", size_text(size), rule, "Choose one of its sizes, or leave it out.")
        others = tuple(one for one in self.all_sizes if one != size)
        return replace(self, width=size[0], height=size[1], sizes=others)

    @property
    def later_facts(self) -> dict[str, Any]:
        """The fields that earlier versions do not know, where they differ from what these versions do.

        Files and digests hold these alone, so that those of older models stay as they are.
        """
        return {name: getattr(self, name) for name in LATER_FACTS if getattr(self, name) != _default(name)}

    @property
    def live_scale(self) -> int:
        """By which pictures are enlarged in live segments; the browser does the rest.

        H.264 keeps colours at half the resolution, so at 2 none are lost, and a segment takes half the bytes
        of one at 3.
        """
        return min(self.display_scale, 2)

    @property
    def latent_height(self) -> int:
        """Rows of a latent frame."""
        return self.height // self.spatial_scale

    @property
    def latent_width(self) -> int:
        """Columns of a latent frame."""
        return self.width // self.spatial_scale

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent frame."""
        return self.transformer.in_channels, self.latent_height, self.latent_width

    @property
    def tokens_per_latent(self) -> int:
        """Tokens of one latent frame."""
        _, rows, columns = self.transformer.patch_size
        return (self.latent_height // rows) * (self.latent_width // columns)

    def num_frames(self, num_latents: int) -> int:
        """Pictures that the first ``num_latents`` latent frames of a video decode to."""
        return 0 if num_latents <= 0 else 1 + (num_latents - 1) * self.temporal_scale

    def chunk_seconds(self) -> float:
        """Seconds of video in a chunk; a video's first chunk is shorter."""
        return self.chunk * self.temporal_scale / self.fps

    def frames_until(self, seconds: float) -> int:
        """How many pictures a video of this many seconds has; a part of a picture's time counts as one."""
        return max(1, math.ceil(seconds * self.fps - 1e-6))

    def chunk_start_s(self, chunk: int) -> float:
        """The second at which a chunk begins, if no chunk before it is cut short."""
        return self.num_frames(chunk * self.chunk) / self.fps


MAX_AREA_RATIO = 1.125
"""So many times as many pixels as the smallest of a model's sizes its largest may have."""
LATER_FACTS = ("first_steps", "warp_steps", "overlap", "switch", "context_transformer", "sizes")
"""Fields of a ModelConfig that came after the first models were written."""


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Options of a stream. ``StreamConfig.of(model)`` gives what the checkpoint was tuned with.

    Attributes:
        chunk, window, sink: as in ModelConfig; ``window=-1`` attends to everything (memory then grows).
        positions: ``absolute`` (up to the transformer's table) or ``relative`` (to the window; any length).
        global_sink: at a soft switch, keep the sink of the first chunk once the window has rolled past it.
        context_noise: timestep label of the clean pass and of the recache.
        overlap: 0 for a window that slides. Otherwise the video is made of rollouts of ``window`` latents
            (CausVid): each begins with the last ``overlap`` latents of the one before, and counts from 0.
    """

    chunk: int = 3
    window: int = 12
    sink: int = 3
    positions: Positions = "absolute"
    global_sink: bool = True
    context_noise: float = 0.0
    overlap: int = 0

    def __post_init__(self) -> None:
        """Check each field; raise ConfigError naming field, value, rule and cure."""
        _check_positive("chunk", self.chunk)
        if self.sink < 0:
            raise ConfigError("sink", self.sink, "it cannot be negative", "Use 0 for no sink.")
        if self.window != -1 and self.window < self.sink + self.chunk:
            rule = f"the window must hold the sink ({self.sink}) and the chunk ({self.chunk})"
            raise ConfigError(
                "window", self.window, rule, f"Use at least {self.sink + self.chunk}, or -1 for all."
            )
        if self.positions not in get_args(Positions):
            raise ConfigError(
                "positions", self.positions, f"it must be one of {get_args(Positions)}", "Correct it."
            )
        if not 0 <= self.context_noise <= 1000:
            raise ConfigError(
                "context_noise", self.context_noise, "it is a timestep in [0, 1000]", "Wan's tuning used 0."
            )
        self._check_overlap()

    def _check_overlap(self) -> None:
        chunk, overlap = self.chunk, self.overlap
        if overlap == 0:
            return
        if overlap < 0 or overlap % chunk:
            rule = f"it must be a multiple of the chunk ({chunk})"
            raise ConfigError("overlap", overlap, rule, f"Use {chunk}, or 0 for a window that slides.")
        if self.window == -1 or self.window % chunk or self.window < overlap + chunk:
            rule = f"rollouts that overlap by {overlap} need a multiple of the chunk ({chunk}) above that"
            raise ConfigError("window", self.window, rule, f"Try {7 * chunk}.")

    @property
    def chunks_in_window(self) -> int | None:
        """How many chunks hold the latents of a full window; None for an endless one."""
        return None if self.window == -1 else -(-self.window // self.chunk)

    @property
    def options(self) -> dict[str, Any]:
        """The options by their names, as session files hold them; without ``overlap`` where it is 0."""
        values = dict(vars(self))
        if not self.overlap:  # which earlier versions do not know
            del values["overlap"]
        return values

    @classmethod
    def of(cls, model: ModelConfig, **changes: Any) -> "StreamConfig":
        """What ``model`` was tuned with, but for ``changes``; unknown names raise ConfigError."""
        known = {field.name for field in fields(cls)}
        for name in changes:
            if name not in known:
                raise ConfigError(
                    name, changes[name], f"the options of a stream are {sorted(known)}", "Correct the name."
                )
        own = ("chunk", "window", "sink", "positions", "context_noise", "overlap")
        facts = {name: getattr(model, name) for name in own}
        return cls(**(facts | changes))


def size_text(size: Size) -> str:
    """A size as people write it: ``480x832``, width first."""
    return f"{size[0]}x{size[1]}"


def sizes_text(sizes: Iterable[Size]) -> str:
    """Sizes in a sentence: ``832x480 or 480x832``."""
    *others, last = map(size_text, sizes)
    return f"{', '.join(others)} or {last}" if others else last


def parse_size(text: str) -> Size:
    """The size that a text such as ``480x832`` names, width first; ConfigError if it names none."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ConfigError("size", text[:40], "it must be width x height in pixels", "Try 832x480.")
    return int(found[1]), int(found[2])


def _read_sizes(values: Any) -> tuple[Size, ...]:
    """Sizes as a file holds them, [[width, height], …]; ConfigError if they are none."""
    rule = "it must be a list of [width, height] in pixels"
    if not isinstance(values, list | tuple):
        raise ConfigError("sizes", values, rule, "Try [[480, 832]].")
    for value in values:
        is_pair = isinstance(value, list | tuple) and len(value) == 2
        if not is_pair or not all(type(side) is int and side > 0 for side in value):
            raise ConfigError("sizes", value, rule, "Try [[480, 832]].")
    return tuple((width, height) for width, height in values)


def _default(name: str) -> Any:
    return next(field.default for field in fields(ModelConfig) if field.name == name)


def _check_steps(name: str, steps: tuple[int, ...]) -> None:
    cure = "Try (1000, 750, 500, 250)."
    if not steps or list(steps) != sorted(set(steps), reverse=True) or steps[0] > 1000:
        raise ConfigError(name, steps, "timesteps must fall from at most 1000", cure)
    if steps[-1] <= 0:
        raise ConfigError(name, steps, "every timestep must be above 0", cure)


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(name, value, "it must be a whole number of at least 1", "Correct it.")
