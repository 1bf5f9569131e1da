"""A gentle answer to words that the model has not learnt, and a line on how the house stands."""

import re

from longlive.models.model_card import ModelCard
from longlive.serving.status import EngineStatus

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


def status_line(house: EngineStatus) -> str:
    """One line on how the house stands, for everybody on the page."""
    if not house.is_alive:
        return "The model does not answer just now; new stories must wait"
    if not house.is_ready:
        return "The model is being loaded"
    seats = max(house.capacity, house.running)
    taken = f"{house.running} of {seats} {'seat' if seats == 1 else 'seats'} taken"
    line = {0: "nobody waits", 1: "1 waits"}.get(house.waiting, f"{house.waiting} wait")
    speed = [f"{house.fps:.0f} pictures/s"] if house.fps > 0 else []
    return " · ".join([taken, line, *speed])
