"""Prompts as people type them: cleaned, checked."""

import html
import re
import unicodedata

from longlive.errors import PromptError

MAX_CHARACTERS = 2000
OVERRIDES = "\u202d\u202e"  # bidi overrides: text would read in another order than it shows


def check_prompt(text: str) -> str:
    """The prompt, cleaned; emoji, HTML and right-to-left text are plain text here.

    Raises:
        PromptError: in words for people, when it is empty, too long, or holds control characters.
    """
    if not isinstance(text, str):
        raise PromptError(
            f"A prompt must be text, but {type(text).__name__} came. Type what you want to see."
        )
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"This prompt has {len(text):,} characters; at most {MAX_CHARACTERS:,} fit. Please shorten it."
        )
    _refuse_controls(text)
    cleaned = clean_prompt(text)
    _refuse_controls(cleaned)  # HTML's spelling of one has become one
    if not any(char.isprintable() and not char.isspace() for char in cleaned):
        raise PromptError(
            "The prompt is empty. Type what you want to see, for example: a red ball on a meadow."
        )
    return cleaned


def _refuse_controls(text: str) -> None:
    for char in text:
        if (unicodedata.category(char) in ("Cc", "Cs") and not char.isspace()) or char in OVERRIDES:
            raise PromptError(
                f"This prompt holds the control character U+{ord(char):04X}, which cannot be read. "
                "Please remove it, or type the prompt again."
            )


def clean_prompt(text: str) -> str:
    """Mend broken Unicode, unescape HTML twice, make every run of white space one blank, as Wan 2.1 does."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()
