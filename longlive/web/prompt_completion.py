"""A short prompt made whole: what it leaves out stays as it was in the prompt before it.

LongLive was trained on prompts that describe the whole scene each time, the subject in the same words
(section 4 of the paper). "it jumps" leaves the model to guess; people write it all the same.
"""

import re

from longlive.models.model_card import ModelCard, PromptPart

MAX_SUBJECT_WORDS = 14
_PRONOUNS = re.compile(r"(?:(?:now|then|suddenly)\s+)?(?:he|she|it|they)\b", re.IGNORECASE)
_VERB = re.compile(
    r"\b(is|are|was|were|has|have|stands?|sits?|lies|walks?|runs?|looks?|holds?|plays?|rides?|drives?|flies|"
    r"swims?|dances?|jumps?|moves?|waits?|sleeps?|smiles?|talks?|turns?)\b",
    re.IGNORECASE,
)
_PARTICIPLE = re.compile(r"\b(?!wearing|during|king|ring|string|thing)\w+ing\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def complete_prompt(text: str, previous: str, card: ModelCard) -> str:
    """The prompt with what it leaves out taken from ``previous``; unchanged where nothing can be added.

    Args:
        text: as it was typed.
        previous: the prompt in use; empty for none.
        card: of the model; a prompt for a model whose card lists parts comes out in their order.
    """
    text, previous = " ".join(text.split()), " ".join(previous.split())
    if not text:
        return text
    return _in_parts(text, previous, card.parts) if card.parts else _with_subject(text, previous)


def _in_parts(text: str, previous: str, parts: tuple[PromptPart, ...]) -> str:
    """The parts of ``text``, each that is missing from ``previous``, as one sentence."""
    asked = _read(text, parts)
    found = _read(previous, parts) | asked
    if not asked or any(part.name not in found for part in parts if not part.optional):
        return text
    whole = " ".join(found[part.name] for part in parts if part.name in found)
    return f"{'an' if whole[0] in 'aeiou' else 'a'} {whole}"


def _read(text: str, parts: tuple[PromptPart, ...]) -> dict[str, str]:
    """What a prompt says, by part; the longest phrases first: "on a green meadow" names no colour."""
    found: dict[str, str] = {}
    left = text.lower()
    phrases = [(phrase, part) for part in parts for phrase in part.phrases]
    for phrase, part in sorted(phrases, key=lambda one: -len(one[0])):
        pattern = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)")
        if part.name not in found and pattern.search(left):
            found[part.name] = part.phrases[phrase]
            left = pattern.sub("|", left, count=1)
    return found


def _with_subject(text: str, previous: str) -> str:
    """The prompt with the subject of ``previous`` for its pronoun, and with the sentences after its first."""
    pronoun = _PRONOUNS.match(text)
    if pronoun is None or not previous:
        return text
    first, *others = _SENTENCE.split(previous)
    verb = _VERB.search(first) or _PARTICIPLE.search(first)
    subject = first[: verb.start()].strip(" ,") if verb else ""
    if not subject or len(subject.split()) > MAX_SUBJECT_WORDS:
        return text
    sentence = f"{subject} {text[pronoun.end() :].strip()}".strip()
    if others and sentence[-1] not in ".!?":
        sentence += "."
    return " ".join([sentence, *others])
