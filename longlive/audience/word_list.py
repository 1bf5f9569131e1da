"""Words that an operator does not want in proposals: a text file with one word, or several, per line."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from longlive.errors import ConfigError, reason_of
from longlive.files import read_lines

MAX_BYTES = 1_000_000


class WordList:
    """Whole words, found whatever their case and accents; a line of several words is a phrase."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Lines as in the file: empty ones, and those that begin with ``#``, are left out."""
        phrases = (_words(line) for line in lines if not line.lstrip().startswith("#"))
        self._phrases = {phrase for phrase in phrases if phrase}
        self._lengths = sorted({len(phrase) for phrase in self._phrases})

    @classmethod
    def read(cls, path: Path) -> "WordList":
        """The words of a text file in UTF-8 (or UTF-16 with its mark).

        Raises:
            ConfigError: if it cannot be read, has more than 1 MB, or names no word.
        """
        cure = "Give a UTF-8 text file with one word per line."
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                rule = f"it has {size:,} bytes, and at most {MAX_BYTES:,} are read"
                raise ConfigError("--refuse-words", str(path), rule, cure)
            words = cls(line.decode() for line in read_lines(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("--refuse-words", str(path), reason_of(error), cure) from error
        if not words._phrases:
            raise ConfigError("--refuse-words", str(path), "it names no word", cure)
        return words

    def refuse(self, text: str) -> str | None:
        """Why a text is refused, for who wrote it; None if it holds none of the words."""
        words = _words(text)
        for length in self._lengths:
            for first in range(len(words) - length + 1):
                if words[first : first + length] in self._phrases:
                    return "This proposal holds a word that is not wanted here. Please choose other words."
        return None


def _words(text: str) -> tuple[str, ...]:
    """The words of a text without case and accents; full-width and other compatible forms count as plain."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char) and char not in INVISIBLE)
    return tuple(re.findall(r"[^\W_]+", plain.casefold()))


INVISIBLE = "\u00ad\u034f\u200b\u200c\u200d\u2060\ufeff"
"""Characters that would split a word without being seen."""
