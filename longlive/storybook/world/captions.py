"""How people may put a scene into words: synonyms, free word order, missing parts, fillers and slips."""

from collections.abc import Iterator

import numpy as np

from longlive.storybook.world.drawing import Scene

COLOUR_WORDS = {
    "red": ("red", "red", "crimson", "scarlet", "ruby"),
    "orange": ("orange", "orange", "tangerine", "amber"),
    "yellow": ("yellow", "yellow", "golden", "lemon"),
    "green": ("green", "green", "emerald", "lime"),
    "blue": ("blue", "blue", "azure", "sapphire"),
    "purple": ("purple", "purple", "violet", "lilac"),
}
SHAPE_WORDS = {
    "ball": ("ball", "ball", "sphere", "circle", "orb"),
    "cube": ("cube", "cube", "box", "square", "block"),
    "star": ("star", "star", "starlet"),
    "cat": ("cat", "cat", "kitten", "kitty", "pussycat"),
}
PLACE_WORDS = {
    "meadow": (
        "on a green meadow",
        "on a meadow",
        "in the meadow",
        "on the grass",
        "in a field",
        "on a lawn",
        "in a park",
    ),
    "beach": (
        "on the beach",
        "at the beach",
        "on a sandy beach",
        "by the sea",
        "at the seaside",
        "on the shore",
        "by the ocean",
    ),
    "desert": (
        "in the desert",
        "in a hot desert",
        "among dunes",
        "on a sand dune",
        "near a cactus",
        "in the sahara",
    ),
    "night": (
        "in a night forest",
        "in the forest at night",
        "at night",
        "under the moon",
        "in dark woods",
        "under the stars",
    ),
    "snow": (
        "in the snow",
        "on a snowy field",
        "in winter",
        "on the ice",
        "in snowy mountains",
        "in a winter landscape",
    ),
}
PLACE_NOUNS = {
    "meadow": ("meadow", "grass", "field", "lawn", "park"),
    "beach": ("beach", "sea", "shore", "ocean", "seaside"),
    "desert": ("desert", "dunes", "cactus"),
    "night": ("night", "night forest", "moon", "stars above"),
    "snow": ("snow", "winter", "ice", "snowy field"),
}
ACTION_WORDS = {
    "stand": (
        "stands still",
        "stands",
        "waits",
        "rests",
        "stays where it is",
        "does not move",
        "is standing",
        "stops",
    ),
    "left": (
        "walks left",
        "walks to the left",
        "moves left",
        "goes left",
        "strolls to the left",
        "is walking left",
        "runs left",
    ),
    "right": (
        "walks right",
        "walks to the right",
        "moves right",
        "goes right",
        "strolls to the right",
        "is walking right",
        "runs right",
    ),
    "jump": ("jumps", "jumps up and down", "hops", "leaps", "bounces", "is jumping", "keeps jumping"),
    "spin": (
        "spins",
        "rotates",
        "twirls",
        "turns around",
        "rolls over",
        "is spinning",
        "spins round and round",
    ),
    "float": (
        "floats",
        "floats in the air",
        "flies",
        "hovers",
        "is floating",
        "hangs in the air",
        "levitates",
    ),
    "pulse": ("grows and shrinks", "pulses", "swells", "breathes", "gets bigger and smaller", "is pulsing"),
}
ACTION_PARTICIPLES = {
    "stand": ("standing", "standing still", "waiting", "resting"),
    "left": ("walking left", "moving left", "going to the left"),
    "right": ("walking right", "moving right", "going to the right"),
    "jump": ("jumping", "hopping", "bouncing"),
    "spin": ("spinning", "rotating", "twirling"),
    "float": ("floating", "flying", "hovering", "floating in the air"),
    "pulse": ("growing and shrinking", "pulsing", "breathing"),
}
WEATHER_WORDS = {
    "clear": ("in fine weather", "in clear weather", "without a cloud"),
    "rain": ("in the rain", "while it rains", "as rain falls", "in rainy weather", "when it is raining"),
    "snow": (
        "while it snows",
        "as snowflakes fall",
        "under falling snowflakes",
        "in a snowfall",
        "when it is snowing",
    ),
}
WEATHER_NOUNS = {
    "clear": ("fine weather", "clear weather"),
    "rain": ("rain", "rainy", "raining"),
    "snow": ("snowflakes", "snowing", "snowfall"),
}
VAGUE_WALK = ("walks", "is walking", "strolls", "goes for a walk", "runs", "moves")
ADJECTIVES = (
    "little",
    "small",
    "cute",
    "happy",
    "funny",
    "big",
    "smiling",
    "lovely",
    "tiny",
    "friendly",
    "nice",
    "shiny",
)
OPENINGS = (
    "a video of",
    "a picture book page with",
    "we see",
    "watch",
    "look,",
    "now",
    "then",
    "suddenly",
    "once upon a time",
    "a cartoon of",
)
ENDINGS = (
    "slowly",
    "again",
    "happily",
    "all day long",
    "for a while",
    "with a smile",
    "alone",
    "in a picture book",
    "with big eyes",
)
SUBJECT_WORDS = ("thing", "character", "creature", "friend", "something", "it", "toy")
_SYLLABLES = (
    "ba",
    "dra",
    "gon",
    "ki",
    "lo",
    "mer",
    "nu",
    "pi",
    "ro",
    "sho",
    "ta",
    "vel",
    "wi",
    "zu",
    "er",
    "ing",
    "an",
    "the",
    "st",
    "ou",
)


def known_words() -> tuple[str, ...]:
    """Every word that captions are made of, sorted; what people use beyond them, the model has not learnt."""
    return tuple(sorted({word.strip(",.") for phrase in _all_phrases() for word in phrase.split()}))


def prompt_phrases() -> dict[str, dict[str, str]]:
    """The parts of a whole caption in order: what people may write for each, and how a sentence has it."""
    return {
        "colour": {word: word for words in COLOUR_WORDS.values() for word in words},
        "subject": {word: word for words in SHAPE_WORDS.values() for word in words},
        "action": _written(ACTION_WORDS, ACTION_PARTICIPLES) | {phrase: phrase for phrase in VAGUE_WALK},
        "place": _written(PLACE_WORDS, PLACE_NOUNS),
        "weather": _written(WEATHER_WORDS, WEATHER_NOUNS),
    }


def _written(whole: dict[str, tuple[str, ...]], short: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Phrases that stand in a sentence as they are; for each short one, the plainest of these instead."""
    phrases = {phrase: whole[name][0] for name, words in short.items() for phrase in words}
    return phrases | {phrase: phrase for words in whole.values() for phrase in words}


def _all_phrases() -> Iterator[str]:
    for table in (COLOUR_WORDS, SHAPE_WORDS, PLACE_WORDS, PLACE_NOUNS, WEATHER_WORDS, WEATHER_NOUNS):
        for phrases in table.values():
            yield from phrases
    for table in (ACTION_WORDS, ACTION_PARTICIPLES):
        for phrases in table.values():
            yield from phrases
    yield from (*VAGUE_WALK, *ADJECTIVES, *OPENINGS, *ENDINGS, *SUBJECT_WORDS)
    yield from (
        "a",
        "an",
        "the",
        "that",
        "is",
        "and",
        "it",
        "of",
        "on",
        "in",
        "with",
        "while",
        "still",
        "there",
    )


def plain_caption(scene: Scene) -> str:
    """The shortest whole sentence: ``a red ball jumps on a green meadow in the rain``."""
    action, place = ACTION_WORDS[scene.action][0], PLACE_WORDS[scene.setting][0]
    weather = "" if scene.weather == "clear" else WEATHER_WORDS[scene.weather][0]
    return _join(_article(scene.colour), scene.colour, scene.shape, action, place, weather)


def caption(scene: Scene, rng: np.random.Generator, *, complete: bool = False) -> str:
    """One of the many ways to ask for a scene.

    Args:
        scene: what is to be seen.
        rng: draws the words.
        complete: name every attribute, without slips or unknown words (for evaluation).
    """
    parts = _parts(scene, rng, complete)
    text = parts.sentence(rng) if rng.random() < 0.8 else parts.keywords(rng)
    if rng.random() < 0.15:
        text = f"{_pick(OPENINGS, rng)} {text}"
    if rng.random() < 0.12:
        text = f"{text} {_pick(ENDINGS, rng)}"
    if not complete:
        text = _slip(text, rng)
    if rng.random() < 0.3:
        text = text[0].upper() + text[1:] + rng.choice(["", ".", "!"])
    return text


def brief_caption(scene: Scene, rng: np.random.Generator) -> str:
    """What people say once the subject is on the screen: the action alone, or who does it."""
    verb, participle = _pick(ACTION_WORDS[scene.action], rng), _pick(ACTION_PARTICIPLES[scene.action], rng)
    shape = _pick(SHAPE_WORDS[scene.shape], rng)
    colour = _pick(COLOUR_WORDS[scene.colour], rng)
    forms = (
        f"it {verb}",
        f"now it {verb}",
        f"the {shape} {verb}",
        participle,
        f"{colour} {shape} {participle}",
        f"then the {colour} {shape} {verb}",
    )
    return _pick(forms, rng)


class _Parts:
    """The words chosen for a scene, before they are put in order."""

    def __init__(
        self,
        colour: str,
        shape: str,
        place: str,
        noun: str,
        verb: str,
        participle: str,
        weather: str,
        weather_noun: str,
    ) -> None:
        self.colour, self.shape, self.place, self.noun = colour, shape, place, noun
        self.verb, self.participle = verb, participle
        self.weather, self.weather_noun = weather, weather_noun

    def sentence(self, rng: np.random.Generator) -> str:
        adjective = _pick(ADJECTIVES, rng) if rng.random() < 0.2 else ""
        colour_after = self.colour and rng.random() < 0.12
        noun = _join(adjective, "" if colour_after else self.colour, self.shape)
        subject = f"{'the' if rng.random() < 0.35 else _article(noun)} {noun}"
        if colour_after:
            subject = f"{subject} that is {self.colour}"
        participle = f"{self.participle} {subject.split(' ', 1)[1]}"
        forms = [
            _join(subject, self.verb, self.place),
            _join(self.place + ("," if self.place else ""), subject, self.verb),
            _join(subject, self.participle, self.place),
            _join(subject, self.place, self.verb),
            _join(_article(participle), participle, self.place)
            if self.participle
            else _join(subject, self.place),
            _join("there is", subject, self.place, "and it" if self.verb else "", self.verb),
        ]
        told = forms[rng.choice(len(forms), p=[0.4, 0.15, 0.15, 0.1, 0.1, 0.1])]
        return (
            f"{self.weather}, {told}" if self.weather and rng.random() < 0.25 else _join(told, self.weather)
        )

    def keywords(self, rng: np.random.Generator) -> str:
        words = [
            _join(self.colour, self.shape),
            self.participle or self.verb,
            self.noun,
            self.weather_noun,
        ]
        order = rng.permutation(len(words))
        return (", " if rng.random() < 0.5 else " ").join(words[i] for i in order if words[i])


def _parts(scene: Scene, rng: np.random.Generator, complete: bool) -> _Parts:
    def kept(chance_missing: float) -> bool:
        return complete or rng.random() >= chance_missing

    verb, participle = _pick(ACTION_WORDS[scene.action], rng), _pick(ACTION_PARTICIPLES[scene.action], rng)
    if scene.action == "stand" and not kept(0.25):
        verb = participle = ""
    if scene.action == "right" and not kept(0.2):
        verb, participle = _pick(VAGUE_WALK, rng), "walking"
    has_place = kept(0.05)
    has_weather = scene.weather != "clear" or rng.random() < 0.15
    return _Parts(
        _pick(COLOUR_WORDS[scene.colour], rng) if kept(0.04) else "",
        _pick(SHAPE_WORDS[scene.shape], rng) if kept(0.04) else _pick(SUBJECT_WORDS, rng),
        _pick(PLACE_WORDS[scene.setting], rng) if has_place else "",
        _pick(PLACE_NOUNS[scene.setting], rng) if has_place else "",
        verb,
        participle,
        _pick(WEATHER_WORDS[scene.weather], rng) if has_weather else "",
        _pick(WEATHER_NOUNS[scene.weather], rng) if has_weather else "",
    )


def _slip(text: str, rng: np.random.Generator) -> str:
    """Now and then an unknown word, a letter too many, too few or wrong, or no capitals at all."""
    words = text.split()
    if rng.random() < 0.12:
        invented = "".join(_pick(_SYLLABLES, rng) for _ in range(rng.integers(2, 4)))
        words.insert(int(rng.integers(len(words) + 1)), invented)
    if rng.random() < 0.06:
        i = int(rng.integers(len(words)))
        if len(words[i]) > 4:
            j = int(rng.integers(1, len(words[i])))
            words[i] = words[i][:j] + words[i][j + 1 :]
    return " ".join(words)


def _pick(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"
