"""Reading what people and programs hand to the page: storyboards and words."""

import re
from typing import Any

from longlive.chunks import SWITCH_MODES, SwitchMode
from longlive.errors import PromptError
from longlive.model_card import ModelCard

Cue = tuple[float, str, SwitchMode]

MOST_CUES = 64
NAMED_WORDS = 12


def read_cues(values: Any, *, default: SwitchMode = "soft") -> list[Cue]:
    """The cues of a storyboard's ``prompts``, in order of time.

    Args:
        values: ``[{"at": seconds, "text": …, "switch": "soft" | "hard" | "keep"}, …]``, ``switch`` optional.
        default: the switch of those that name none.

    Raises:
        PromptError: naming the entry that cannot be read.
    """
    if not isinstance(values, list) or len(values) > MOST_CUES:
        raise PromptError(
            f'Prompts must be a list of at most {MOST_CUES} entries like {{"at": 0, "text": "…"}}.'
        )
    return sorted(
        (_read_cue(number, value, default) for number, value in enumerate(values)), key=lambda cue: cue[0]
    )


def _read_cue(number: int, value: Any, default: SwitchMode) -> Cue:
    entry = value if isinstance(value, dict) else {}
    at, text, switch = entry.get("at", 0), entry.get("text"), entry.get("switch", default)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= 86_400:
        raise PromptError(f'Prompt {number} is to begin at {at!r}; "at" must be seconds from 0 to 86400.')
    if not isinstance(text, str):
        raise PromptError(
            f'Prompt {number} is {value!r}; it must look like {{"at": 0, "text": "a red ball"}}.'
        )
    if switch not in SWITCH_MODES:
        raise PromptError(
            f"Prompt {number} switches {switch!r}; it must be one of {', '.join(SWITCH_MODES)}."
        )
    return float(at), text, switch


def unknown_words(prompt: str, card: ModelCard) -> list[str]:
    """The words of a prompt that the model has not learnt, in order; none when it knows all words."""
    known = {word.lower() for word in card.words}
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt.lower()))
    return [word for word in words if known and word not in known]


def gentle_answer(prompt: str, name: str, card: ModelCard) -> str:
    """What to say when a prompt holds words that the model has not learnt; empty when it knows them all."""
    unknown = unknown_words(prompt, card)
    if not unknown:
        return ""
    named = ", ".join(f"“{word}”" for word in unknown[:4])
    knows = card.about or f"It knows {', '.join(card.words[:NAMED_WORDS])}."
    return f"The {name} model has not learnt {named}. {knows}"
