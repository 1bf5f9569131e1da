"""Words that the model does not know and what it takes instead; texts for viewers, also about the server."""

import re

from longlive.models.model_card import ModelCard
from longlive.prompts import PromptText
from longlive.serving.status import EngineStatus
from longlive.storybook.nearest_words import COMMON_WORDS, nearest_word

_WORD = re.compile(r"[^\W\d_]+")
MAX_UNKNOWN_WORDS = 4
MAX_KNOWN_WORDS = 12


def unknown_words(prompt: str, card: ModelCard) -> list[str]:
    """The words of a prompt that are not in the model's vocabulary, in order, each once.

    Empty if the model's card lists no vocabulary.
    """
    known = {word.lower() for word in card.words}
    words = dict.fromkeys(_WORD.findall(prompt.lower()))
    return [word for word in words if known and word not in known]


def nearest_prompt(prompt: PromptText, card: ModelCard) -> PromptText:
    """The prompt with the nearest word of the model's vocabulary, if one is near, for each unknown word.

    A prompt of known words, or for a model whose card lists no vocabulary, is returned as it is.
    """
    nearest = {word: near for word in unknown_words(prompt, card) if (near := _nearest(word, card))}
    return PromptText(_WORD.sub(lambda found: nearest.get(found[0].lower(), found[0]), prompt))


def vocabulary_hint(prompt: str, name: str, card: ModelCard) -> str:
    """Which words of the prompt the model does not know, and what it takes instead; empty if it knows all.

    Words that show nothing, such as "into", are left out.
    """
    unknown = [word for word in unknown_words(prompt, card) if word not in COMMON_WORDS][:MAX_UNKNOWN_WORDS]
    if not unknown:
        return ""
    replaced = [(word, near) for word in unknown if (near := _nearest(word, card))]
    without = [word for word in unknown if not _nearest(word, card)]
    sentences = []
    if replaced:
        pairs = _listed([f"“{near}” for “{word}”" for word, near in replaced])
        sentences.append(f"The {name} model takes {pairs}: the nearest that it knows.")
    if without:
        sentences.append(f"The {name} model does not know {_listed([f'“{word}”' for word in without])}.")
        sentences.append(card.about or f"It knows {', '.join(card.words[:MAX_KNOWN_WORDS])}.")
    return " ".join(sentences)


def _nearest(word: str, card: ModelCard) -> str | None:
    return nearest_word(word, card.words)


def _listed(parts: list[str]) -> str:
    return ", ".join(parts)


def status_line(status: EngineStatus) -> str:
    """The state of the server in one line, the same for every viewer."""
    if not status.is_alive:
        return "The model is not responding. New videos have to wait."
    if not status.is_ready:
        return "Loading the model"
    slots = max(status.capacity, status.running)
    used = f"{status.running} of {slots} {'slot' if slots == 1 else 'slots'} in use"
    queue = f"{status.waiting} in the queue" if status.waiting else "queue empty"
    return f"{used} · {queue}"
