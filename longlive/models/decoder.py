"""LatentChunk -> FrameChunk, with the same result as in one go; by the Wan VAE or the tiny VAE."""

import copy
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from torch import Tensor, nn

from longlive.chunks import FrameChunk, LatentChunk, StreamPlace
from longlive.models.tiny_vae import GrowTime, MemoryBlock, TinyVae, TinyVaeState
from longlive.models.wan_vae import (
    Features,
    decode_stream,
    new_features,
    num_blocks_needed,
    optimize_for_cpu,
    update_features,
)

Vae = AutoencoderKLWan | TinyVae

MAX_KEPT_STATES = 4
MAX_KEPT_BYTES = 256e6
"""So many states before earlier chunks are kept, in so much memory, to go back to one without decoding."""


class StreamingDecoder:
    """The decoding state of one stream: the VAE's features of the last latents, and the count of pictures."""

    def __init__(self, vae: Vae, fps: int) -> None:
        self.vae = vae
        self.fps = fps
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next latent is the first of a video, and its picture is number 0."""
        self._features: Features | TinyVaeState | None = None
        self._next_frame = 0
        self._earlier: deque[StreamingDecoder] = deque(maxlen=MAX_KEPT_STATES)

    @property
    def features(self) -> list[Tensor]:
        """The feature maps that are kept of the latents decoded so far."""
        return [part for part in self._features or () if isinstance(part, Tensor)]

    @property
    def reach(self) -> int:
        """How many latents before a latent its pictures depend on, by the network's layers.

        Measured by how far a latent of NaNs spreads, with random weights: 38 for the Wan VAE, 30 with one
        residual block instead of two, 28 for the storybook's, 8 for the tiny VAE. After so many, pictures are
        the same bit for bit; after 24, those of a Wan VAE still differ by up to 0.02 (of 2).
        """
        return max(_reach_of_layers(self.vae).values())

    @torch.no_grad()
    def catch_up(self, parts: Sequence[Tensor], next_frame: int) -> None:
        """Come to the state that a stream has led to, without its pictures.

        Only as many of the last parts are read as the next pictures depend on, and the older of them by the
        first layers only: the later a layer, the fewer latents it reaches back.

        Args:
            parts: (1, F, C, H, W) of each chunk since the stream's start or its last cut.
            next_frame: number of the picture that comes next.
        """
        self.reset()
        reach, device = _reach_of_layers(self.vae), next(self.vae.parameters()).device
        num_later = sum(part.shape[1] for part in parts)
        for part in parts:
            num_later -= part.shape[1]
            if num_later < max(reach.values()):
                self._update(part.to(device), num_blocks_needed(reach, num_later))
        self._next_frame = next_frame

    def _update(self, latents: Tensor, num_blocks: int) -> None:
        """Update the features by latents whose pictures are not wanted; in first blocks only, if possible."""
        vae = self.vae
        latents = latents.to(self._dtype)
        if isinstance(vae, TinyVae) or vae.config["is_residual"] or num_blocks == len(vae.decoder.up_blocks):
            self.decode_latents(latents)
            return
        features = new_features(vae) if self._features is None else self._features
        self._features = features
        update_features(vae, latents, features, num_blocks=num_blocks)  # type: ignore[arg-type]

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.vae.parameters()).dtype

    def branch(self) -> "StreamingDecoder":
        """An independent decoder that goes on from here; features so far are shared, and never written."""
        other = copy.copy(self)
        other._features = copy.copy(self._features)
        other._earlier = deque()
        return other

    def _go_back(self, place: StreamPlace) -> None:
        """Come to the state of an earlier place: a kept one, or by reading the latents before it again."""
        if self._next_frame == place.first_frame:
            return
        while self._earlier and self._earlier[-1]._next_frame > place.first_frame:
            self._earlier.pop()
        if self._earlier and self._earlier[-1]._next_frame == place.first_frame:
            state = self._earlier.pop()
            self._features, self._next_frame = state._features, state._next_frame
        else:
            self.catch_up(place.latents, place.first_frame)

    def _keep_state(self) -> None:
        """Keep the state before the next chunk, as far as there is room."""
        num_bytes = sum(part.nbytes for part in self.features)
        if num_bytes * MAX_KEPT_STATES <= MAX_KEPT_BYTES:
            self._earlier.append(self.branch())

    @torch.no_grad()
    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """The pictures of the next chunk or part: 1 for a video's (or cut's) first latent, 4 for each other.

        Those of a chunk's ``lead_in``, but the last, come before its own.

        If it fails, nothing has changed: the same chunk or part may be decoded again.
        """
        if chunk.before is not None:
            self._go_back(chunk.before)
        ahead = self.branch()
        lead = None if chunk.lead_in is None else to_uint8(ahead.decode_latents(chunk.lead_in)[0, :-1])
        if chunk.first_latent == 0:
            ahead._features = None
        frames = to_uint8(ahead.decode_latents(chunk.latents)[0])
        if lead is not None:
            frames = np.concatenate([lead, frames])
        first_frame = self._next_frame
        self._keep_state()
        self._features, self._next_frame = ahead._features, first_frame + len(frames)
        return FrameChunk(
            index=chunk.index,
            prompt_index=chunk.prompt_index,
            prompt=chunk.prompt,
            first_frame=first_frame,
            frames=frames,
            fps=self.fps,
            ends_chunk=chunk.ends_chunk,
        )

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode what follows the latents given before.

        Args:
            latents: (B, F, C, H, W), normalised.

        Returns:
            (B, frames, 3, 8 H, 8 W), in [-1, 1], in the decoder's dtype.
        """
        latents = latents.to(self._dtype)
        if isinstance(self.vae, TinyVae):
            pictures = []
            for latent in latents.split(1, dim=1):  # one by one: full-size feature maps take most memory
                more, self._features = self.vae(latent, self._features)
                pictures.append(more)
            return torch.cat(pictures, 1)
        is_first = self._features is None
        if self._features is None:
            self._features = new_features(self.vae)
        return decode_stream(self.vae, latents, self._features, is_first=is_first)  # type: ignore[arg-type]


def _reach_of_layers(vae: Vae) -> dict[str, int]:
    """How many latents before a latent its pictures need of each layer's output or state, by its name."""
    is_tiny, frames, reach = isinstance(vae, TinyVae), 0, {}
    rate = vae.time_scale if is_tiny else 2 ** sum(vae.config["temperal_downsample"])
    for name, layer in reversed(list(vae.decoder.named_modules())):
        slower = layer.scale if isinstance(layer, GrowTime) else 1 + name.endswith("time_conv")
        frames, rate = -(-frames // slower), rate // slower
        if isinstance(layer, MemoryBlock):
            frames += 1
        elif isinstance(layer, WanCausalConv3d):
            frames += layer.kernel_size[0] - 1
        reach[name] = -(-frames // rate)
    return reach


def to_uint8(pictures: Tensor) -> np.ndarray:
    """(F, 3, H, W) in [-1, 1] -> uint8 (F, H, W, 3) in host memory."""
    scaled = ((pictures.float() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    if not scaled.is_cuda:
        return scaled.cpu().numpy()
    # Into pinned memory, which the caching allocator reuses.
    host = torch.empty(scaled.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(scaled, non_blocking=True)
    torch.cuda.current_stream(scaled.device).synchronize()
    return host.numpy()


def optimize_decoder(vae: Vae) -> None:
    """Let a VAE run by kernels that are fast on its device; the values of its weights stay as they are."""
    device = next(vae.parameters()).device
    if device.type == "cuda":
        put_channels_last(vae)
    elif device.type == "cpu" and not isinstance(vae, TinyVae):
        optimize_for_cpu(vae)


def put_channels_last(vae: Vae) -> None:
    """Lay out the weights of all convolutions channels last; the feature maps follow them."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
