"""The storybook's tokenizer and text encoder: the classes of the full model in a small size."""

import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from longlive.storybook.world.captions import brief_caption, caption
from longlive.storybook.world.drawing import random_scene

TEXT_LEN = 48
TEXT_DIM = 96


def new_tokenizer(
    *, num_captions: int = 20_000, vocab_size: int = 640, seed: int = 0
) -> PreTrainedTokenizerFast:
    """A tokenizer trained on captions of the world."""
    return train_tokenizer(_captions(num_captions, seed), vocab_size=vocab_size, text_len=TEXT_LEN)


def train_tokenizer(captions: Iterable[str], *, vocab_size: int, text_len: int) -> PreTrainedTokenizerFast:
    """A lower-case Unigram tokenizer; any Latin word is split into pieces, and the padding's id is 0."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    alphabet = list(string.ascii_lowercase + string.digits + ".,!?'-▁")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        unk_token="<unk>",
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=text_len,
    )


def tokenizer_of(folder: Path, seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a training folder, trained at the first call; embeddings depend on its ids."""
    path = folder / "tokenizer"
    if not path.exists():
        new_tokenizer(seed=seed).save_pretrained(path)
    return PreTrainedTokenizerFast.from_pretrained(path)


def _captions(count: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 4])
    for i in range(count):
        scene = random_scene(rng)
        yield caption(scene, rng) if i % 4 else brief_caption(scene, rng)


def new_text_encoder(vocab_size: int) -> UMT5EncoderModel:
    """An untrained umT5 encoder of two layers."""
    config = UMT5Config(
        vocab_size=vocab_size,
        d_model=TEXT_DIM,
        d_kv=24,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return UMT5EncoderModel(config)
