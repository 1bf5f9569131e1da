"""Pipelines of diffusers with random weights, tiny or of the published size; no file is read.

The published sizes are those of the configs on the Hub. Text encoders and tokenizers are random as well:
every word is one of a few tokens, padded to the length that the pipeline asks for.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

diffusers: Any = importlib.import_module("diffusers")
transformers: Any = importlib.import_module("transformers")

WAN = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30}
SKYREELS = WAN | {"inject_sample_info": True}
"""Shapes of the published transformers, where they differ from the defaults of their classes."""
_TINY_WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
_TINY_VAE = {
    "base_dim": 3,
    "z_dim": 16,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
_TINY_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}


def wan(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """Wan2.1 T2V 1.3B."""
    with _drawing(device):
        parts = {
            "transformer": diffusers.WanTransformer3DModel(**(_TINY_WAN if tiny else WAN)),
            "vae": diffusers.AutoencoderKLWan(**(_TINY_VAE if tiny else {})),
            "text_encoder": _umt5(tiny),
        }
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return _pipeline(diffusers.WanPipeline, parts, dtype, scheduler=scheduler, tokenizer=_tokenizer())


def skyreels(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """SkyReels-V2 DF 1.3B."""
    shape = _TINY_WAN if tiny else SKYREELS
    with _drawing(device):
        parts = {
            "transformer": diffusers.SkyReelsV2Transformer3DModel(**shape),
            "vae": diffusers.AutoencoderKLWan(**(_TINY_VAE if tiny else {})),
            "text_encoder": _umt5(tiny),
        }
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
    )
    kind = diffusers.SkyReelsV2DiffusionForcingPipeline
    return _pipeline(kind, parts, dtype, scheduler=scheduler, tokenizer=_tokenizer())


def anyflow_far(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """AnyFlow-FAR on Wan2.1 1.3B."""
    with _drawing(device):
        parts = {
            "transformer": diffusers.AnyFlowFARTransformer3DModel(**(_TINY_WAN if tiny else WAN)),
            "vae": diffusers.AutoencoderKLWan(**(_TINY_VAE if tiny else {})),
            "text_encoder": _umt5(tiny),
        }
    scheduler = diffusers.FlowMapEulerDiscreteScheduler()
    return _pipeline(diffusers.AnyFlowFARPipeline, parts, dtype, scheduler=scheduler, tokenizer=_tokenizer())


def helios(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """Helios 14B (the defaults of its classes)."""
    shape = {name: value for name, value in _TINY_WAN.items() if name != "rope_max_seq_len"}
    with _drawing(device):
        parts = {
            "transformer": diffusers.HeliosTransformer3DModel(
                **(shape | {"rope_dim": (4, 4, 4)} if tiny else {})
            ),
            "vae": diffusers.AutoencoderKLWan(**(_TINY_VAE if tiny else {})),
            "text_encoder": _umt5(tiny),
        }
    scheduler = diffusers.HeliosScheduler(stages=1, stage_range=[0, 1], use_dynamic_shifting=True)
    return _pipeline(diffusers.HeliosPipeline, parts, dtype, scheduler=scheduler, tokenizer=_tokenizer())


def ltx(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """LTX-Video 0.9 (the defaults of its classes)."""
    tiny_transformer = {
        "in_channels": 8,
        "out_channels": 8,
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
        "num_layers": 1,
        "caption_channels": 32,
    }
    tiny_vae = {
        "latent_channels": 8,
        "block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "layers_per_block": (1, 1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1, 1),
    }
    shape = _TINY_T5 if tiny else _XXL | {"feed_forward_proj": "gated-gelu"}
    vocabulary = 64 if tiny else 32128
    with _drawing(device):
        parts = {
            "transformer": diffusers.LTXVideoTransformer3DModel(**(tiny_transformer if tiny else {})),
            "vae": diffusers.AutoencoderKLLTXVideo(**(tiny_vae if tiny else {})),
            "text_encoder": transformers.T5EncoderModel(
                transformers.T5Config(**shape, vocab_size=vocabulary, tie_word_embeddings=False)
            ),
        }
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return _pipeline(diffusers.LTXPipeline, parts, dtype, scheduler=scheduler, tokenizer=_tokenizer())


def framepack(tiny: bool, device: torch.device, dtype: torch.dtype) -> Any:
    """FramePack I2V on HunyuanVideo, 13B."""
    with _drawing(device):
        parts = {
            "transformer": diffusers.HunyuanVideoFramepackTransformer3DModel(
                has_image_proj=True, has_clean_x_embedder=True, **(_TINY_FRAMEPACK if tiny else {})
            ),
            "vae": diffusers.AutoencoderKLHunyuanVideo(**(_TINY_HUNYUAN_VAE if tiny else {})),
            "text_encoder": _llama(tiny),
            "text_encoder_2": _clip_text(tiny),
            "image_encoder": transformers.SiglipVisionModel(
                transformers.SiglipVisionConfig(**(_TINY_SIGLIP if tiny else _SIGLIP))
            ),
        }
    size = (_TINY_SIGLIP if tiny else _SIGLIP)["image_size"]
    return _pipeline(
        diffusers.HunyuanVideoFramepackPipeline,
        parts,
        dtype,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        feature_extractor=transformers.SiglipImageProcessorPil(size={"height": size, "width": size}),
    )


_TINY_FRAMEPACK = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 10,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "patch_size": 2,
    "patch_size_t": 1,
    "guidance_embeds": True,
    "text_embed_dim": 16,
    "pooled_projection_dim": 8,
    "rope_axes_dim": (2, 4, 4),
    "image_proj_dim": 16,
}
_TINY_HUNYUAN_VAE = {
    "latent_channels": 4,
    "down_block_types": ("HunyuanVideoDownBlock3D",) * 4,
    "up_block_types": ("HunyuanVideoUpBlock3D",) * 4,
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
_SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_TINY_SIGLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def _llama(tiny: bool) -> Any:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    full = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128320,
    }
    config = transformers.LlamaConfig(**(shape | {"vocab_size": 64} if tiny else full), pad_token_id=0)
    return transformers.LlamaModel(config)


def _clip_text(tiny: bool) -> Any:
    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    full = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    tokens = {"vocab_size": 64 if tiny else 49408, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    config = transformers.CLIPTextConfig(**(shape if tiny else full), **tokens)
    return transformers.CLIPTextModel(config)


def _umt5(tiny: bool) -> Any:
    shape, vocabulary = (_TINY_T5, 64) if tiny else (_XXL | {"feed_forward_proj": "gated-gelu"}, 256384)
    config = transformers.UMT5Config(**shape, vocab_size=vocabulary, tie_word_embeddings=False)
    return transformers.UMT5EncoderModel(config)


def _tokenizer() -> Any:
    """A token for each of a few words; the others are unknown."""
    words = [
        "<pad>",
        "</s>",
        "<unk>",
        *["a", "red", "fox", "runs", "through", "deep", "snow", "under", "tall", "pines"],
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=77,
    )


@contextmanager
def _drawing(device: torch.device) -> Iterator[None]:
    """Modules made inside are on the device, with weights that are the same every time."""
    with torch.random.fork_rng(), device:
        torch.manual_seed(0)
        yield


def _pipeline(kind: Any, parts: dict[str, Any], dtype: torch.dtype, **others: Any) -> Any:
    for module in parts.values():
        nn.Module.to(module.eval().requires_grad_(False), dtype=dtype)
        kept = getattr(module, "_keep_in_fp32_modules", None) or ()
        for name, part in module.named_parameters():  # as from_pretrained does
            if any(word in name.split(".") for word in kept):
                part.data = part.data.float()
    return kind(**parts, **others)
