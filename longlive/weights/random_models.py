"""Models with random weights, built without any file: their speed is that of the real ones."""

from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn

from longlive.chunks import PromptEmbedding
from longlive.config import ModelConfig
from longlive.errors import ConfigError
from longlive.models.bundle import ModelBundle
from longlive.models.decoder import Vae, optimize_decoder
from longlive.models.model_card import ModelCard
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.prompts import check_prompt
from longlive.weights.family import BUILT_IN
from longlive.weights.layout import DECODERS, ModelFolder, read_json
from longlive.weights.registry import resolve

# Channels of Wan 2.1's VAE, and of LightVAE.
_WIDTHS = {"wan": 96, "light": 24}


class RandomText:
    """A stand-in for a text encoder: the same random tokens for every prompt."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        """Make tokens of the shape that the transformer of ``config`` reads."""
        shape = (1, config.text_len, config.transformer.text_dim)
        rng = torch.Generator().manual_seed(0)
        self._tokens: Tensor = torch.randn(shape, generator=rng).to(device, dtype)

    def encode(self, prompt: str) -> PromptEmbedding:
        """Check the prompt; its embedding is the same for all."""
        return PromptEmbedding(check_prompt(prompt), self._tokens, is_truncated=False)


def random_models(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    decoder: str = "wan",
) -> ModelBundle:
    """A model of this name's shape with random weights; arguments as for ``load_models``.

    The shapes in ``BUILT_IN`` need no files. Where rollouts overlap, there is a Wan VAE beside any other
    decoder, since it encodes.
    """
    decoder = "tiny" if decoder == "auto" else decoder
    if decoder not in DECODERS:
        raise ConfigError("decoder", decoder, f"it must be one of {tuple(DECODERS)}", "Use 'tiny'.")
    folder = None if name in BUILT_IN else resolve(name)
    config = folder.config if folder else BUILT_IN[name]
    return random_bundle(
        config,
        lambda name: _vae(config, folder, name),
        source=name,
        decoder=decoder,
        device=torch.device(device),
        dtype=dtype,
    )


def random_bundle(
    config: ModelConfig,
    make_vae: Callable[[str], Vae],
    *,
    source: str,
    decoder: str,
    device: torch.device,
    dtype: torch.dtype,
) -> ModelBundle:
    """A model of any config with random weights.

    Args:
        config: its facts.
        make_vae: makes the VAE of a name, whose weights are drawn after those of the transformer: that of
            ``decoder``, and where rollouts overlap that of ``wan`` too, which encodes.
        source, decoder: the names of the model and of its decoder.
        device, dtype: of the weights.
    """
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        transformer = CausalWanTransformer(config.transformer)
        decodes = make_vae(decoder)
        vae = make_vae("wan") if config.overlap and decoder != "wan" else decodes
        context = CausalWanTransformer(config.transformer) if config.context_transformer else None
    for module in {transformer, decodes, vae, *([] if context is None else [context])}:
        nn.Module.to(module.eval().requires_grad_(False), device=device, dtype=dtype)
    optimize_decoder(decodes)
    return ModelBundle(
        source=source,
        config=config,
        transformer=transformer,
        context_transformer=context,
        text_encoder=RandomText(config, device, dtype),  # type: ignore[arg-type]
        vae=vae,  # type: ignore[arg-type]
        decoder=decodes,
        decoder_name=decoder,
        card=ModelCard(),
        digest="random",
        folder=None,  # type: ignore[arg-type]
    )


def _vae(config: ModelConfig, folder: ModelFolder | None, decoder: str) -> Vae:
    channels = config.transformer.in_channels
    if decoder == "tiny":
        return TinyVae(latent_channels=channels)
    if decoder == "wan" and folder is not None:
        return AutoencoderKLWan.from_config(read_json(folder.path / "vae/config.json"))
    return AutoencoderKLWan(base_dim=_WIDTHS[decoder], z_dim=channels)
