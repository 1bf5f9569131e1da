"""Prompts as people type them, checked and cleaned once."""

import html
import json
import re
import unicodedata
from typing import Any

from longlive.errors import PromptError, reason_of

MAX_CHARACTERS = 2000
OVERRIDES = "\u202d\u202e"  # bidirectional overrides show text in another order


class PromptText(str):
    """A prompt that has been cleaned by ``check_prompt``; it is not cleaned again."""

    __slots__ = ()


def check_prompt(text: str) -> PromptText:
    """Check and clean a prompt; emoji, HTML and right-to-left text are plain text here.

    Args:
        text: as it was typed; a PromptText is returned as it is.

    Raises:
        PromptError: if it is empty, too long, or holds control characters; the message is for viewers.
    """
    if isinstance(text, PromptText):
        return text
    if not isinstance(text, str):
        raise PromptError(
            f"A prompt must be text, but {type(text).__name__} came. Type what you want to see."
        )
    if len(text) > MAX_CHARACTERS:
        raise PromptError(
            f"This prompt has {len(text):,} characters; at most {MAX_CHARACTERS:,} fit. Please shorten it."
        )
    _refuse_controls(text)
    return recorded_prompt(clean_prompt(text))


def recorded_prompt(text: str) -> PromptText:
    """Check a prompt that was cleaned before it was stored; cleaning it again might change it.

    Raises:
        PromptError: if it is empty or holds control characters, which a cleaned prompt never does.
    """
    if isinstance(text, PromptText):
        return text
    _refuse_controls(text)  # in a prompt just cleaned: one that HTML had spelled out
    if not any(char.isprintable() and not char.isspace() for char in text):
        raise PromptError(
            "The prompt is empty. Type what you want to see, for example: a red ball on a meadow."
        )
    return PromptText(text)


def _refuse_controls(text: str) -> None:
    for char in text:
        if (unicodedata.category(char) in ("Cc", "Cs") and not char.isspace()) or char in OVERRIDES:
            raise PromptError(
                f"This prompt holds the control character U+{ord(char):04X}, which cannot be read. "
                "Please remove it, or type the prompt again."
            )


def clean_prompt(text: str) -> str:
    """Mend broken Unicode, unescape HTML twice, collapse white space, as Wan 2.1 does."""
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def prompts_of_row(text: str) -> list[Any]:
    """The prompts of a JSON object: of a storyboard, a row of a training set, or of ``prompts switch``.

    Args:
        text: ``{"prompts": [...]}``, or ``{"prompt": ..., "next": ...}``; other keys are not read.

    Returns:
        the prompts as they are written there: texts, or objects with a ``text``.

    Raises:
        PromptError: if it is something else.
    """
    try:
        row = json.loads(text.removeprefix("\ufeff"))
        prompts = row["prompts"] if "prompts" in row else [row["prompt"], row["next"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        shape = '{"prompts": [...]} or {"prompt": "...", "next": "..."}'
        raise PromptError(f"It must hold {shape}, but {reason_of(error)}.") from error
    if not isinstance(prompts, list):
        raise PromptError(f"Its prompts must be a list, but {str(prompts)[:60]} came.")
    return prompts
