"""The tokenizer covers the captions of the world, and is made once for a folder."""

from pathlib import Path

import numpy as np

from longlive.storybook.third_edition.vocabulary import TEXT_LEN, tokenizer_of
from longlive.storybook.third_edition.world.captions import caption
from longlive.storybook.third_edition.world.scene import random_scene


def test_captions_fit_and_have_no_unknown_pieces(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, num_captions=2000, vocab_size=600)
    rng = np.random.default_rng(5)
    ids = [tokenizer(caption(random_scene(rng), rng))["input_ids"] for _ in range(100)]
    assert max(len(row) for row in ids) <= TEXT_LEN
    assert not any(tokenizer.unk_token_id in row for row in ids)
    assert tokenizer.pad_token_id == 0, "the text encoder takes id 0 for padding"


def test_the_tokenizer_of_a_folder_is_made_once(tmp_path: Path) -> None:
    first = tokenizer_of(tmp_path, num_captions=300, vocab_size=250)
    assert tokenizer_of(tmp_path, num_captions=300, vocab_size=200).get_vocab() == first.get_vocab()
