"""A tiny language model with random weights, written once."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

WORDS = ("<pad>", "<end>", "<other>", "a", "the", "red", "fox", "runs", "sits", "over", "hill", "snow", ".")


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model that knows a dozen words and speaks nonsense; not to be changed."""
    folder = tmp_path_factory.mktemp("models") / "language"
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<other>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<other>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **special)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 2048, "vocab_size": len(WORDS)}
    model = GPT2LMHeadModel(GPT2Config(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=1))
    model.generation_config.suppress_tokens = [0, 1, 2]  # it never ends by itself
    model.save_pretrained(folder)
    return folder
