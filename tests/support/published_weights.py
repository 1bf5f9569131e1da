"""The published repositories of longlive-1.3b in small: real folders, file names, key names and nesting."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from longlive.config import TransformerConfig
from longlive.models.tiny_vae import TinyVae
from longlive.models.transformer import CausalWanTransformer
from longlive.weights.formats.key_mapping import transformer_to_released
from longlive.weights.released import LONGLIVE_SOURCES, ModelSources
from tests.support.tiny_model import tiny_encoder_config, tiny_tokenizer

SHAPE = TransformerConfig(
    num_attention_heads=2,
    attention_head_dim=12,
    in_channels=16,
    out_channels=16,
    text_dim=16,
    freq_dim=16,
    ffn_dim=48,
    num_layers=2,
    rope_max_seq_len=64,
)
SOURCES: ModelSources = dataclasses.replace(
    LONGLIVE_SOURCES,
    config=dataclasses.replace(
        LONGLIVE_SOURCES.config,
        transformer=SHAPE,
        height=32,
        width=48,
        sizes=((32, 48),),
        text_len=12,
        window=6,
    ),
)
WITHOUT_DECODERS = dataclasses.replace(SOURCES, tiny_vae=None, light_vae=None)
BASE, LORA, TEXT = "models/longlive_base.pt", "models/lora.pt", "models_t5_umt5-xxl-enc-bf16.pth"
RANK = 4


def revisions() -> dict[str, str]:
    """The pinned revision of each repository; a branch's is made up."""
    sources = [*SOURCES.needed, SOURCES.tiny_vae]
    return {s.repository: s.revision if s.revision != "main" else "e" * 40 for s in sources}


def publish(root: Path) -> None:
    """Write the repositories below ``root``."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        longlive = root / SOURCES.weights.repository / "models"
        longlive.mkdir(parents=True)
        torch.save(
            {"generator": {f"model.{k}": v for k, v in released().items()}}, longlive / "longlive_base.pt"
        )
        torch.save({"generator_lora": lora(), "critic_lora": lora()}, longlive / "lora.pt")
        write_wan(root / SOURCES.parts.repository, 8, tiny_encoder_config())
        original = root / SOURCES.text_encoder.repository
        original.mkdir(parents=True)
        torch.save(umt5(), original / "models_t5_umt5-xxl-enc-bf16.pth")
        write_decoders(root / SOURCES.tiny_vae.repository, light_width=4)


def write_decoders(folder: Path, light_width: int) -> None:
    """The tiny VAE, and LightVAE of so many base channels."""
    folder.mkdir(parents=True)
    torch.save(taew2_1(), folder / "taew2_1.pth")
    torch.save(wan_names(wan_vae(light_width).state_dict()), folder / "lightvaew2_1.pth")


def write_wan(folder: Path, vae_width: int, text_encoder: UMT5Config) -> None:
    """Wan in diffusers' layout: VAE, tokenizer, the text encoder's config, and what nobody needs here."""
    wan_vae(vae_width).save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    for part in ("scheduler", "transformer"):
        (folder / part).mkdir()
    (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "UniPCMultistepScheduler"}')
    save_file({"unused": torch.zeros(1000)}, folder / "transformer/diffusion_pytorch_model.safetensors")


def released() -> dict[str, Tensor]:
    """A transformer in Wan's own names, the same at every call, no parameter zero."""
    torch.manual_seed(4)
    state = CausalWanTransformer(SHAPE).state_dict()
    return transformer_to_released({k: v + 0.02 * torch.randn_like(v) for k, v in state.items()})


def lora() -> dict[str, Tensor]:
    """Random pairs of the rank RANK for ``released``."""
    return {name: 0.1 * torch.randn(shape) for name, shape in lora_shapes(released(), RANK).items()}


def lora_shapes(released: Mapping[str, Tensor], rank: int) -> dict[str, tuple[int, int]]:
    """peft's names around every linear layer of the blocks, as ``lora.pt`` has them."""
    pairs = {}
    for name, weight in released.items():
        if re.fullmatch(
            r"blocks\.\d+\.(self_attn|cross_attn)\.[qkvo]\.weight|blocks\.\d+\.ffn\.[02]\.weight", name
        ):
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            pairs[f"{stem}.lora_A.weight"] = (rank, weight.shape[1])
            pairs[f"{stem}.lora_B.weight"] = (weight.shape[0], rank)
    return pairs


def umt5() -> dict[str, Tensor]:
    """umT5's encoder in Wan's own names, bfloat16."""
    return umt5_names(UMT5EncoderModel(tiny_encoder_config()).bfloat16().state_dict())


def umt5_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a ``UMT5EncoderModel`` in Wan's own names."""
    inside = {
        "layer.0.layer_norm": "norm1",
        "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
        "layer.0.SelfAttention": "attn",
        "layer.1.layer_norm": "norm2",
        "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
        "layer.1.DenseReluDense.wi_1": "ffn.fc1",
        "layer.1.DenseReluDense.wo": "ffn.fc2",
    }
    named = {}
    for name, tensor in state.items():
        if name == "encoder.embed_tokens.weight":  # it is the shared one
            continue
        new = name.replace("shared", "token_embedding").replace("encoder.final_layer_norm", "norm")
        for theirs, wans in inside.items():
            new = new.replace(theirs, wans)
        named[new.replace("encoder.block", "blocks")] = tensor
    return named


def wan_vae(base_dim: int) -> AutoencoderKLWan:
    """Wan's VAE but for its width."""
    return AutoencoderKLWan(base_dim=base_dim, z_dim=16)


def wan_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Wan VAE's weights in Wan's own names."""
    residual = {
        "norm1.": "residual.0.",
        "conv1.": "residual.2.",
        "norm2.": "residual.3.",
        "conv2.": "residual.6.",
    }
    whole = {"quant_conv.": "conv1.", "post_quant_conv.": "conv2.", "conv_shortcut.": "shortcut."}
    ends = {"conv_in.": "conv1.", "norm_out.": "head.0.", "conv_out.": "head.2."}
    named = {}
    for name, tensor in state.items():
        coder, _, rest = name.partition(".")
        rest = re.sub(
            r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"upsamples.{4 * int(m[1]) + int(m[2])}", rest
        )
        rest = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"upsamples.{4 * int(m[1]) + 3}", rest)
        rest = rest.replace("mid_block.resnets.0", "middle.0").replace("mid_block.resnets.1", "middle.2")
        rest = rest.replace("mid_block.attentions.0", "middle.1").replace("down_blocks", "downsamples")
        table = (
            residual | {"conv_shortcut.": "shortcut."}
            if "." in rest and rest.split(".")[1].isdigit()
            else ends
        )
        for theirs, wans in table.items():
            if f".{theirs}" in f".{rest}" and "resample" not in rest.split(".")[-2:][0]:
                rest = f".{rest}".replace(f".{theirs}", f".{wans}").removeprefix(".")
        new = f"{coder}.{rest}"
        for theirs, wans in whole.items():
            new = wans + new.removeprefix(theirs) if new.startswith(theirs) else new
        named[new] = tensor
    return named


def taew2_1() -> dict[str, Tensor]:
    """TAEHV's file: decoder, and an encoder that nobody needs here."""
    state = {name: tensor.half() for name, tensor in TinyVae().state_dict().items()}
    return {"encoder.0.weight": torch.zeros(64, 3, 3, 3).half()} | state
