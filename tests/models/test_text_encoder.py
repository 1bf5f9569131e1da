from pathlib import Path

import pytest
import torch

from longlive.errors import PromptError
from longlive.models.bundle import ModelBundle
from longlive.models.text_encoder import RECENT_PROMPTS, TextEncoder
from longlive.prompts import check_prompt, clean_prompt
from longlive.weights.loading import load_models


def test_cleaning_mends_unicode_unescapes_html_twice_and_joins_white_space() -> None:
    assert clean_prompt("  a&amp;amp;b \n\t cafÃ© &amp;lt;b&amp;gt; ") == "a&b café <b>"


@pytest.mark.parametrize("text", ["", "   ", "\n\t ", "\u200b\u200f", "&nbsp;"])
def test_a_prompt_without_anything_to_read_is_refused(text: str) -> None:
    with pytest.raises(PromptError, match=r"empty.*Type what you want to see"):
        check_prompt(text)


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\x7f", "\x9b", "\ud800", "\u202d", "\u202e"])
def test_control_characters_are_refused_by_name(char: str) -> None:
    with pytest.raises(PromptError, match=rf"U\+{ord(char):04X}.*remove"):
        check_prompt(f"a red {char} ball")


@pytest.mark.parametrize("text", ["a &#x202e;ball", "a &amp;#8238; ball"])
def test_control_characters_in_html_s_spelling_are_refused_too(text: str) -> None:
    with pytest.raises(PromptError, match=r"U\+202E"):
        check_prompt(text)


def test_the_longest_prompt_fits_and_one_character_more_is_refused_with_both_numbers() -> None:
    assert len(check_prompt("a" * 2000)) == 2000
    with pytest.raises(PromptError, match=r"10,000 characters; at most 2,000"):
        check_prompt("a" * 10_000)


@pytest.mark.parametrize(
    "text", ["a 🐈‍⬛ on a meadow", "<script>alert(1)</script>", "كرة حمراء تقفز", "{red} %s \\n"]
)
def test_emoji_html_and_right_to_left_text_are_plain_text(text: str) -> None:
    assert check_prompt(text) == text


def test_something_that_is_not_text_is_refused() -> None:
    with pytest.raises(PromptError, match="NoneType"):
        check_prompt(None)  # type: ignore[arg-type]


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


def test_a_prompt_that_is_too_long_for_the_encoder_is_shortened_and_says_so(tiny_models: ModelBundle) -> None:
    fits, shortened = "ball " * 11, "ball " * 12
    assert not tiny_models.text_encoder.encode(fits).is_shortened
    embedding = tiny_models.text_encoder.encode(shortened)
    assert embedding.is_shortened
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
