"""Models with random weights, built without any file: their speed is that of the real ones."""

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from longlive.chunks import PromptEmbedding
from longlive.config import ModelConfig, TransformerConfig
from longlive.errors import ConfigError
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import Vae, optimize_decoder
from longlive.models.model_card import ModelCard
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.prompts import check_prompt
from longlive.weights.layout import DECODERS, read_json
from longlive.weights.loading import read_config
from longlive.weights.registry import find_model
from longlive.weights.released import LONGLIVE_1_3B

# Large enough for a CPU to show what copies of the cache cost; a third of the released width, half its sides.
MID_SIZE = ModelConfig(
    name="mid-size",
    transformer=TransformerConfig(
        num_attention_heads=4,
        attention_head_dim=128,
        in_channels=16,
        out_channels=16,
        text_dim=512,
        freq_dim=256,
        ffn_dim=2048,
        num_layers=8,
    ),
    height=240,
    width=416,
)

BUILT_IN = {config.name: config for config in (LONGLIVE_1_3B, MID_SIZE)}
# Of Wan 2.1's VAE, and of LightVAE, which has a quarter of its channels.
_WIDTHS = {"wan": 96, "light": 24}


class RandomText:
    """Stands for a text encoder: the same random tokens for each prompt."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        """Tokens as the transformer of ``config`` reads them."""
        shape = (1, config.text_len, config.transformer.text_dim)
        rng = torch.Generator().manual_seed(0)
        self._tokens: Tensor = torch.randn(shape, generator=rng).to(device, dtype)

    def encode(self, prompt: str) -> PromptEmbedding:
        """As TextEncoder.encode."""
        return PromptEmbedding(check_prompt(prompt), self._tokens, is_shortened=False)


def config_of(name: str) -> ModelConfig:
    """The facts of a model by its name; ``longlive-1.3b`` and ``mid-size`` need no files."""
    return BUILT_IN.get(name) or read_config(find_model(name))


def random_models(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    decoder: str = "wan",
) -> ModelBundle:
    """A model of this name's sizes with random weights; arguments as for ``load_models``."""
    decoder = "tiny" if decoder == "auto" else decoder
    if decoder not in DECODERS:
        raise ConfigError("decoder", decoder, f"it must be one of {tuple(DECODERS)}", "Use 'tiny'.")
    config, device = config_of(name), torch.device(device)
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        transformer = CausalWanTransformer(config.transformer)
        vae = _vae(name, decoder)
    for module in (transformer, vae):
        nn.Module.to(module.eval().requires_grad_(False), device=device, dtype=dtype)
    optimize_decoder(vae)
    return ModelBundle(
        source=name,
        config=config,
        transformer=transformer,
        text_encoder=RandomText(config, device, dtype),  # type: ignore[arg-type]
        vae=vae,  # type: ignore[arg-type]
        decoder=vae,
        decoder_name=decoder,
        card=ModelCard(),
        digest="random",
        folder=None,  # type: ignore[arg-type]
    )


def _vae(name: str, decoder: str) -> Vae:
    channels = config_of(name).transformer.in_channels
    if decoder == "tiny":
        return TinyVae(latent_channels=channels)
    if decoder == "wan" and name not in BUILT_IN:
        return AutoencoderKLWan.from_config(read_json(find_model(name) / "vae/config.json"))
    return AutoencoderKLWan(base_dim=_WIDTHS[decoder], z_dim=channels)
