"""The third edition's tokenizer, trained on captions of its world."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast

from longlive.storybook.third_edition.world.captions import caption, turn_caption
from longlive.storybook.third_edition.world.scene import random_scene, random_turn
from longlive.storybook.vocabulary import train_tokenizer

TEXT_LEN = 64
VOCAB_SIZE = 1024


def tokenizer_of(
    folder: Path, *, num_captions: int = 30_000, vocab_size: int = VOCAB_SIZE, seed: int = 0
) -> PreTrainedTokenizerFast:
    """The tokenizer of a training folder, trained at the first call; embeddings depend on its ids."""
    path = folder / "tokenizer"
    if not path.exists():
        captions = _captions(num_captions, seed)
        train_tokenizer(captions, vocab_size=vocab_size, text_len=TEXT_LEN).save_pretrained(path)
    return PreTrainedTokenizerFast.from_pretrained(path)


def _captions(count: int, seed: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 4])
    for i in range(count):
        scene = random_scene(rng)
        yield caption(scene, rng) if i % 3 else turn_caption(scene, random_turn(scene, rng), rng)
