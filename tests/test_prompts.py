"""What people type is checked and cleaned, once."""

import json
import pickle

import pytest

from longlive.errors import PromptError
from longlive.prompts import PromptText, check_prompt, clean_prompt, prompts_of_row, recorded_prompt


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


def test_a_cleaned_prompt_is_not_cleaned_again() -> None:
    """Cleaning is not idempotent: each time it would unescape twice more."""
    once = check_prompt("a < b &amp;amp;amp;lt; c")
    assert once == "a < b &amp;lt; c"
    assert check_prompt(once) is once
    assert check_prompt(str(once)) == "a < b < c"


def test_a_cleaned_prompt_stays_one_on_its_way_to_a_worker() -> None:
    prompt = check_prompt("  a red   ball ")
    assert type(pickle.loads(pickle.dumps(prompt))) is PromptText
    assert json.dumps(prompt) == '"a red ball"'


def test_a_recorded_prompt_is_taken_as_it_is() -> None:
    assert recorded_prompt("a &lt; b") == "a &lt; b"
    for text in ("", "a \x00 ball"):
        with pytest.raises(PromptError):
            recorded_prompt(text)


def test_a_byte_order_mark_is_no_part_of_a_row() -> None:
    assert prompts_of_row('\ufeff{"prompts": ["a", "b"]}') == ["a", "b"]
