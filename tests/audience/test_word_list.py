"""The operator's words: whole ones, whatever their case, accents and disguise."""

from pathlib import Path

import pytest

from longlive.audience.word_list import WordList
from longlive.errors import ConfigError

WORDS = WordList(["# not wanted", "", "Café", "bad word", "straße"])


@pytest.mark.parametrize(
    "text",
    [
        "a café",
        "a CAFE!",
        "cafe\u0301s and a cafe\u0301",
        "a very bad  word.",
        "Bad-Word",
        "STRASSE",
        "ｃａｆｅ",
        "ca\u00adfe",
        "ca\u200bfe",
        "<b>cafe</b>",
    ],
)
def test_a_word_is_found(text: str) -> None:
    assert "not wanted here" in (WORDS.refuse(text) or "")


@pytest.mark.parametrize(
    "text", ["", "cafeteria", "bad", "a word", "word bad", "not wanted", "strasse7", "...", "#"]
)
def test_other_words_are_not(text: str) -> None:
    assert WORDS.refuse(text) is None


def test_a_file_is_read_and_one_that_cannot_be_is_refused_by_its_option(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffball\n# a remark\n", encoding="utf-8")
    assert WordList.read(path).refuse("a red ball") and not WordList.read(path).refuse("a remark")
    path.write_text("ball\rbad\u2028word\r", encoding="utf-16")
    read = WordList.read(path)
    assert read.refuse("a red ball") and read.refuse("a bad word") and not read.refuse("a word")
    path.write_bytes(b"b\xe4ll\n")
    with pytest.raises(ConfigError, match=r"--refuse-words.*not UTF-8.*one word per line"):
        WordList.read(path)
    path.write_text("# nothing\n\n...\n")
    with pytest.raises(ConfigError, match="names no word"):
        WordList.read(path)
    path.write_text("x" * 1_000_001)
    with pytest.raises(ConfigError, match="1,000,001 bytes"):
        WordList.read(path)
    with pytest.raises(ConfigError, match="No such file"):
        WordList.read(tmp_path / "none.txt")
