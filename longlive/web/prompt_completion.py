"""A short prompt made whole: what it leaves out stays as it was in the prompts before it.

LongLive was trained on prompts that describe the whole scene each time, the subject in the same words
(section 4 of the paper). "it jumps" leaves the model to guess; people write it all the same.
"""

import re
from collections.abc import Sequence

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


def complete_prompt(text: str, earlier: Sequence[str], card: ModelCard) -> str:
    """The prompt with what it leaves out taken from ``earlier`` ones; unchanged where nothing can be added.

    Args:
        text: as it was typed.
        earlier: the prompts of the video so far, the one in use last.
        card: of the model; a prompt for a model whose card lists parts comes out in their order.
    """
    text, earlier = " ".join(text.split()), [" ".join(one.split()) for one in earlier]
    if not text:
        return text
    return _in_parts(text, earlier, card.parts) if card.parts else _with_subject(text, earlier)


def _in_parts(text: str, earlier: Sequence[str], parts: tuple[PromptPart, ...]) -> str:
    """The parts of ``text``, each that is missing from the newest prompt that has it, as one sentence.

    Of what is optional, such as the weather, a whole prompt that leaves it out has none.
    """
    asked, needed = _read(text, parts), {part.name for part in parts if not part.optional}
    found: dict[str, str] = {}
    for read in (_read(one, parts) for one in earlier):
        found = read if needed <= read.keys() else found | read
    found |= asked
    if not asked or not needed <= found.keys():
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


def _with_subject(text: str, earlier: Sequence[str]) -> str:
    """The prompt with the subject of the newest that has one for its pronoun, and with what follows there."""
    pronoun = _PRONOUNS.match(text)
    named = [one for one in earlier if not _PRONOUNS.match(one)]
    if pronoun is None or not named:
        return text
    first, *others = _SENTENCE.split(named[-1])
    verb = _VERB.search(first) or _PARTICIPLE.search(first)
    subject = first[: verb.start()].strip(" ,") if verb else ""
    if not subject or len(subject.split()) > MAX_SUBJECT_WORDS:
        return text
    sentence = f"{subject} {text[pronoun.end() :].strip()}".strip()
    if others and sentence[-1] not in ".!?":
        sentence += "."
    return " ".join([sentence, *others])
