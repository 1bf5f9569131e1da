"""A transformer small enough for tests, with every parameter random, and random inputs that fit it."""

import torch
from torch import Tensor

from longlive.config import StreamConfig, TransformerConfig
from longlive.models.attention import PromptMemory
from longlive.models.transformer import CausalWanTransformer

CHANNELS, HEIGHT, WIDTH, TEXT_LEN, TEXT_DIM = 4, 4, 6, 5, 8
TOKENS_PER_LATENT = (HEIGHT // 2) * (WIDTH // 2)
CONFIG = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=12,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    text_dim=TEXT_DIM,
    freq_dim=16,
    ffn_dim=32,
    num_layers=2,
    rope_max_seq_len=64,
)


def tiny_transformer(config: TransformerConfig = CONFIG) -> CausalWanTransformer:
    """The same weights at every call; no parameter is zero or one."""
    torch.manual_seed(5)
    model = CausalWanTransformer(config)
    for name, parameter in model.named_parameters():
        scale = 0.3 if parameter.ndim == 1 or "table" in name else parameter.flatten(1).shape[1] ** -0.5
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, center, scale)
    return model.requires_grad_(False)


def random_latents(num_latents: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, num_latents, CHANNELS, HEIGHT, WIDTH, generator=rng)


def random_prompt(model: CausalWanTransformer, *, batch: int = 1, seed: int = 0) -> PromptMemory:
    rng = torch.Generator().manual_seed(100 + seed)
    return model.read_prompt(torch.randn(batch, TEXT_LEN, TEXT_DIM, generator=rng))


STREAMS = {
    "window 12, sink 3": StreamConfig(),
    "relative": StreamConfig(positions="relative"),
    "no sink": StreamConfig(window=6, sink=0),
    "no sink, relative": StreamConfig(window=6, sink=0, positions="relative"),
    "chunk 1": StreamConfig(chunk=1, window=4, sink=1),
    "chunk 2, odd window": StreamConfig(chunk=2, window=7, sink=1, positions="relative"),
    "window no multiple of the chunk": StreamConfig(chunk=3, window=10, sink=2),
    "everything": StreamConfig(window=-1),
    "everything, relative": StreamConfig(window=-1, positions="relative"),
    "smallest window": StreamConfig(chunk=3, window=6, sink=3, positions="relative"),
    "sink follows the switch": StreamConfig(window=9, global_sink=False),
    "sink follows, relative": StreamConfig(window=10, sink=2, global_sink=False, positions="relative"),
    "context noise": StreamConfig(window=9, context_noise=40.0),
}
