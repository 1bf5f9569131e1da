"""A gentle answer to words that the model has not learnt."""

import re

from longlive.model_card import ModelCard

NAMED_WORDS = 12


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
