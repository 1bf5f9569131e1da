"""Texts for viewers: a hint about words that the model does not know, and the server's status line."""

import re

from longlive.models.model_card import ModelCard
from longlive.serving.status import EngineStatus

MAX_UNKNOWN_WORDS = 4
MAX_KNOWN_WORDS = 12


def unknown_words(prompt: str, card: ModelCard) -> list[str]:
    """The words of a prompt that are not in the model's vocabulary, in order, each once.

    Empty if the model's card lists no vocabulary.
    """
    known = {word.lower() for word in card.words}
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt.lower()))
    return [word for word in words if known and word not in known]


def vocabulary_hint(prompt: str, name: str, card: ModelCard) -> str:
    """A hint that names words of the prompt which the model does not know; empty if it knows them all."""
    unknown = unknown_words(prompt, card)
    if not unknown:
        return ""
    named = ", ".join(f"“{word}”" for word in unknown[:MAX_UNKNOWN_WORDS])
    known = card.about or f"It knows {', '.join(card.words[:MAX_KNOWN_WORDS])}."
    return f"The {name} model does not know {named}. {known}"


def status_line(status: EngineStatus) -> str:
    """The state of the server in one line, the same for every viewer."""
    if not status.is_alive:
        return "The model is not responding. New videos have to wait."
    if not status.is_ready:
        return "Loading the model"
    slots = max(status.capacity, status.running)
    used = f"{status.running} of {slots} {'slot' if slots == 1 else 'slots'} in use"
    queue = f"{status.waiting} in the queue" if status.waiting else "queue empty"
    speed = [f"{status.fps:.0f} fps"] if status.fps > 0 else []
    return " · ".join([used, queue, *speed])
