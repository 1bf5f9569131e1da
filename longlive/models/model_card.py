"""What to tell people about a model: the ``card`` of its ``longlive.json``."""

from dataclasses import dataclass
from typing import Any

from longlive.errors import CheckpointError, reason_of


@dataclass(frozen=True)
class Story:
    """An example of prompts, for people to click on.

    Attributes:
        title: a few words.
        prompts: (seconds since the start, text), the first at 0.
    """

    title: str
    prompts: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class PromptPart:
    """A part of the prompts that a model was trained on, such as the colour or the place.

    Attributes:
        name: of the part, for people.
        phrases: what people write for it, in lower case, and how that is written in a whole prompt.
        optional: whether a prompt is whole without it.
    """

    name: str
    phrases: dict[str, str]
    optional: bool = False


@dataclass(frozen=True)
class ModelCard:
    """What to tell people about a model.

    Attributes:
        about: a sentence or two.
        words: the vocabulary of a model that knows a few words only; empty if any word may be used.
        stories: examples.
        parts: of a whole prompt, in their order; empty if it may have any form.
        about_sizes: a sentence about the sizes that it has beside its own; empty if it has none.
    """

    about: str = ""
    words: tuple[str, ...] = ()
    stories: tuple[Story, ...] = ()
    parts: tuple[PromptPart, ...] = ()
    about_sizes: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "ModelCard":
        """Read a card from JSON; CheckpointError if it has another shape."""
        try:
            stories = tuple(
                Story(str(story["title"]), tuple((float(at), str(text)) for at, text in story["prompts"]))
                for story in values.get("stories", ())
            )
            words = tuple(str(word) for word in values.get("words", ()))
            parts = tuple(
                PromptPart(
                    str(part["name"]),
                    {str(phrase): str(written) for phrase, written in part["phrases"].items()},
                    bool(part.get("optional", False)),
                )
                for part in values.get("parts", ())
            )
            about, about_sizes = str(values.get("about", "")), str(values.get("about_sizes", ""))
            return cls(about, words, stories, parts, about_sizes)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The card in longlive.json cannot be read: {reason_of(error)}. It must hold 'about' (text), "
                "'words' (a list), 'stories' (a list of {'title', 'prompts': [[seconds, text], …]}) and "
                "'parts' (a list of {'name', 'phrases': {phrase: how it is written}})."
            ) from error
