"""A tiny model with random weights, in the layout of the real ones."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive import ModelCard, ModelConfig, Story, TransformerConfig, save_models
from longlive.models.transformer import CausalWanTransformer

WORDS = (
    "a",
    "the",
    "red",
    "blue",
    "ball",
    "cube",
    "star",
    "stands",
    "jumps",
    "spins",
    "on",
    "green",
    "meadow",
)


def write_tiny_model(folder: Path, **facts: object) -> None:
    """Write a tiny model with random weights; ``facts`` change its ModelConfig."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = TransformerConfig(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=16,
            freq_dim=16,
            ffn_dim=48,
            num_layers=2,
            rope_max_seq_len=64,
            prediction="clean",
        )
        defaults = dict(
            name="tiny", transformer=shape, height=32, width=48, text_len=12, positions="relative"
        )
        config = ModelConfig(**(defaults | facts))
        save_models(
            folder,
            config=config,
            transformer=CausalWanTransformer(shape),
            context_transformer=CausalWanTransformer(shape) if config.context_transformer else None,
            vae=tiny_vae(),
            text_encoder=UMT5EncoderModel(tiny_encoder_config()),
            tokenizer=tiny_tokenizer(),
            card=ModelCard(
                "A model of noise.",
                tuple(WORDS),
                (Story("A ball", ((0.0, "a red ball"), (3.0, "a blue ball"))),),
            ),
        )


def tiny_vae() -> AutoencoderKLWan:
    """A Wan VAE that enlarges 8 times in space and 4 times in time."""
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        latents_mean=[0.1, -0.2, 0.3, -0.4],
        latents_std=[1.0, 1.5, 0.5, 2.0],
    ).eval()


def tiny_encoder_config() -> UMT5Config:
    """Two layers of width 16."""
    return UMT5Config(
        vocab_size=3 + len(WORDS),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        tie_word_embeddings=False,
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of WORDS; others are unknown."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
