"""A CLIP model of random weights, in a folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, PreTrainedTokenizerFast

WORDS = [
    "a",
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
    ".",
    "the",
]
TOKENS, SIZE = 12, 32
"""Of a prompt, its end included; side of a picture in pixels."""


def write_tiny_clip(folder: Path) -> Path:
    """Write the model and a tokenizer with a token for each word and full stop; return the folder."""
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<end>", *WORDS])}
    text = CLIPTextConfig(
        **shape,
        vocab_size=len(vocabulary),
        max_position_embeddings=TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = CLIPVisionConfig(**shape, image_size=SIZE, patch_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
        CLIPModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder
