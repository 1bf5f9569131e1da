from pathlib import Path

import torch

from longlive.models.bundle import ModelBundle
from longlive.models.text_encoder import RECENT_PROMPTS, TextEncoder
from longlive.weights.loading import load_models


def test_rows_beyond_the_prompt_are_zero_and_its_own_are_not(tiny_models: ModelBundle) -> None:
    tokens = tiny_models.text_encoder.encode("a red ball").tokens
    assert tokens.shape == (1, 12, 16)
    assert tokens[0, 4:].eq(0).all(), "three words and the end mark fill four rows"
    assert tokens[0, :4].abs().amax(-1).gt(0).all()


def test_padding_is_masked_in_the_encoder(tiny_models: ModelBundle) -> None:
    """Without the mask, the length of the padding would change the prompt's own rows."""
    encoder = tiny_models.text_encoder
    longer = TextEncoder(encoder.tokenizer, encoder.model, 20)
    own, padded = encoder.encode("a red ball").tokens, longer.encode("a red ball").tokens
    torch.testing.assert_close(own[:, :4], padded[:, :4], atol=1e-6, rtol=0)


def test_a_prompt_that_is_too_long_for_the_encoder_is_truncated_and_says_so(tiny_models: ModelBundle) -> None:
    fits, shortened = "ball " * 11, "ball " * 12
    assert not tiny_models.text_encoder.encode(fits).is_truncated
    embedding = tiny_models.text_encoder.encode(shortened)
    assert embedding.is_truncated
    assert embedding.tokens.shape == (1, 12, 16)


def test_a_recent_prompt_is_not_encoded_again_and_old_ones_are_forgotten(tiny_models: ModelBundle) -> None:
    encoder = TextEncoder(tiny_models.text_encoder.tokenizer, tiny_models.text_encoder.model, 12)
    first = encoder.encode("a red ball")
    assert encoder.encode("  a red   ball ") is first
    for number in range(RECENT_PROMPTS):
        encoder.encode(f"ball {number}")
    assert encoder.encode("a red ball") is not first
    assert len(encoder._recent) == RECENT_PROMPTS


def test_a_streamed_encoder_brings_one_block_at_a_time_and_gives_the_same(tiny_folder: Path) -> None:
    plain, streamed = load_models(tiny_folder).text_encoder, load_models(tiny_folder).text_encoder
    streamed.place(torch.device("cpu"), "streamed")
    assert torch.equal(plain.encode("a red ball").tokens, streamed.encode("a red ball").tokens)


def test_a_streamed_encoder_works_on_the_device_and_leaves_its_weights_at_home(tiny_folder: Path) -> None:
    encoder = load_models(tiny_folder).text_encoder
    encoder.place(torch.device("meta"), "streamed")
    blocks = list(encoder.model.encoder.block)
    away: list[int] = []

    def count(*_: object) -> None:
        away.append(sum(weight.is_meta for block in blocks for weight in block.parameters()))

    for block in blocks:
        block.layer[0].register_forward_hook(count)
    before = [weight.clone() for weight in encoder.model.parameters()]
    assert encoder.encode("a red ball").tokens.is_meta
    assert away == [len(list(block.parameters())) for block in blocks], "one block, and no other"
    for weight, home in zip(encoder.model.parameters(), before, strict=True):
        assert torch.equal(weight, home)


def test_an_encoder_on_the_cpu_takes_nothing_of_the_device(tiny_folder: Path) -> None:
    encoder = load_models(tiny_folder).text_encoder
    encoder.place(torch.device("meta"), "cpu")
    assert not encoder.encode("a red ball").tokens.is_meta
    encoder.place(torch.device("meta"), "resident")
    assert all(weight.is_meta for weight in encoder.model.parameters())
