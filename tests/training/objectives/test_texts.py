"""Prompts are encoded in batches as one by one, and encoders are compared by their files."""

import shutil
from pathlib import Path

import torch

from longlive import load_models
from longlive.training.objectives.texts import has_same_encoder, read_texts


def test_texts_are_read_in_batches_as_one_by_one(tiny_folder: Path) -> None:
    encoder = load_models(tiny_folder).text_encoder
    prompts = ["a red ball", "the  blue cube &amp; star"]
    together = read_texts(encoder, prompts)
    for row, prompt in zip(together, prompts, strict=True):
        torch.testing.assert_close(row, encoder.encode(prompt).tokens[0])
    empty = read_texts(encoder, [""])
    assert empty[:, 0].any(), "the end of the text"
    assert not empty[:, 1:].any()


def test_encoders_are_the_same_if_all_their_files_are(tiny_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    assert has_same_encoder(tiny_folder, copy)
    with (copy / "text_encoder/config.json").open("a") as file:
        file.write("\n")
    assert not has_same_encoder(tiny_folder, copy)
    shutil.rmtree(copy / "tokenizer")
    assert not has_same_encoder(tiny_folder, copy)
