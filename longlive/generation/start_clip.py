"""What a video begins with instead of noise: a picture, or the end of another video, encoded to chunks.

The latents take the place of the first chunks: they are remembered by the clean pass under the prompt,
decoded and shown like any others, and the video goes on from there. As in Self-Forcing (arXiv:2506.08009),
whose image to video writes given frames into the cache with timestep 0.

* A still picture is repeated until it fills a chunk (9 pictures become 3 latents).
* A video gives as many whole chunks as it has pictures for (9, 21, 33, ...). Those that are too many are
  left out at its beginning, since its end is what goes on; one that is shorter than a chunk begins with its
  first picture repeated.
* There are no more chunks than the next one attends to: what it cannot see would change nothing.
"""

import base64
import binascii
import copy
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from longlive.config import ModelConfig, StreamConfig
from longlive.errors import ConfigError, SessionFileError
from longlive.media.picture_reader import Target, read_pictures
from longlive.models.bundle import ModelBundle
from longlive.models.wan_vae import encode_pictures

Start = str | Path | np.ndarray | Tensor
"""A file, its pictures, or clean latents."""

STORED_DTYPE = torch.float16
"""In the session file: half of float32; the rounding is far below what the codec loses."""


def max_start_chunks(config: ModelConfig, stream: StreamConfig | None = None) -> int:
    """How many chunks a video may begin with: as many as the one after them attends to."""
    stream = stream or StreamConfig.of(config)
    window = config.window if stream.window == -1 else stream.window
    return max(1, (window - stream.chunk) // stream.chunk)


def read_start(
    source: str | Path | bytes, config: ModelConfig, stream: StreamConfig | None = None, *, name: str = ""
) -> np.ndarray:
    """The pictures of a file that a video can begin with; arguments, result and errors as ``read_pictures``.

    Where ``stream`` is None, what the model was tuned with is meant.
    """
    stream = stream or StreamConfig.of(config)
    most = config.num_frames(max_start_chunks(config, stream) * stream.chunk)
    return read_pictures(source, Target(config.width, config.height, config.fps, most), name=name)


def start_latents(models: ModelBundle, start: Start, stream: StreamConfig) -> Tensor:
    """Clean latents (1, F, C, H, W) of whole chunks, float16, on the CPU.

    Args:
        models: encodes pictures.
        start: a file; or pictures, uint8 (N, H, W, 3) of the model's size; or latents (1, F, C, H, W) of
            whole chunks.
        stream: of the session.

    Raises:
        ConfigError: if the shape or type is another, or there are too many latents.
        MediaError: if the file cannot be read.
    """
    if isinstance(start, str | Path):
        start = read_start(start, models.config, stream)
    latents = _encode(models, start, stream) if isinstance(start, np.ndarray) else start
    shape, most = (1, stream.chunk, *models.config.latent_shape), max_start_chunks(models.config, stream)
    found = tuple(latents.shape)
    if len(found) != 5 or found[:1] + found[2:] != shape[:1] + shape[2:] or found[1] % stream.chunk:
        rule = f"latents must be {shape}, or a multiple of {stream.chunk} of them along the second axis"
        raise ConfigError("start", found, rule, "Give the latents of whole chunks of this model.")
    if not 1 <= found[1] // stream.chunk <= most:
        rule = f"it must have 1 to {most} chunks, as many as the next one attends to"
        raise ConfigError("start", found, rule, "Give the last of them.")
    stored = latents.detach().to("cpu", STORED_DTYPE)
    if not bool(torch.isfinite(stored).all()):
        rule = "its values must be numbers that float16 holds"
        raise ConfigError("start", found, rule, "Give normalised latents.")
    return stored


def pack_latents(latents: Tensor) -> str:
    """Latents as text for the session file: float16, compressed, base64."""
    return base64.b64encode(zlib.compress(latents.contiguous().numpy().tobytes(), 9)).decode()


def unpack_latents(text: str | None, config: ModelConfig, stream: StreamConfig) -> Tensor | None:
    """The latents of ``pack_latents``, (1, F, C, H, W); no more is decompressed than a session may have.

    None, where nothing was given to begin with, stays None.

    Raises:
        SessionFileError: if the text holds something else, or latents of another size.
    """
    if text is None:
        return None
    frame = math.prod(config.latent_shape) * STORED_DTYPE.itemsize
    most = max_start_chunks(config, stream) * stream.chunk * frame
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(base64.b64decode(text, validate=True), most + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise SessionFileError(
            f"The pictures that the session file begins with cannot be read: {error}. It may be damaged."
        ) from error
    if not reader.eof or not data or len(data) > most or len(data) % (frame * stream.chunk):
        raise SessionFileError(
            f"The pictures that the session file begins with are not those of this model: {len(data)} bytes "
            f"came, but a chunk has {frame * stream.chunk}, and at most {most} are read. It may be damaged."
        )
    latents = torch.frombuffer(bytearray(data), dtype=STORED_DTYPE).reshape(1, -1, *config.latent_shape)
    if not bool(torch.isfinite(latents).all()):
        raise SessionFileError(
            "The pictures that the session file begins with are not numbers. It may be damaged."
        )
    return latents


def fill_chunks(pictures: np.ndarray, config: ModelConfig, stream: StreamConfig) -> np.ndarray:
    """The last pictures (N, H, W, 3) that fill whole chunks; where one is not full, the first is repeated."""
    counts = [
        config.num_frames(chunks * stream.chunk) for chunks in range(1, max_start_chunks(config, stream) + 1)
    ]
    count = max((count for count in counts if count <= len(pictures)), default=counts[0])
    missing = max(0, count - len(pictures))
    return np.concatenate([np.repeat(pictures[:1], missing, axis=0), pictures[-count:]])


def _encode(models: ModelBundle, pictures: np.ndarray, stream: StreamConfig) -> Tensor:
    config = models.config
    size = (config.height, config.width, 3)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != size or not len(pictures):
        rule = f"pictures must be uint8 of the shape (N, {config.height}, {config.width}, 3)"
        raise ConfigError("start", f"{pictures.dtype} {pictures.shape}", rule, "Give the file itself.")
    filled = torch.from_numpy(fill_chunks(pictures, config, stream)).permute(0, 3, 1, 2)[None]
    vae = _encoder(models)
    weight = next(vae.parameters())
    return encode_pictures(vae, (filled.to(weight.device).to(weight.dtype) / 127.5 - 1))


def _encoder(models: ModelBundle) -> AutoencoderKLWan:
    """The Wan VAE on the model's device; where another decodes, it lies on the CPU, and a copy is made."""
    if not isinstance(models.vae, AutoencoderKLWan):
        rule = "this model has no Wan VAE, which encodes pictures"
        raise ConfigError("start", "a picture", rule, "Give latents, or load the model with its VAE.")
    if next(models.vae.parameters()).device == models.device:
        return models.vae
    return nn.Module.to(copy.deepcopy(models.vae), device=models.device)
