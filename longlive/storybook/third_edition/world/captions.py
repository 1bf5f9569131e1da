"""Captions of a scene as people might write them: synonyms, free order, omissions and typing errors."""

import numpy as np

from longlive.storybook.third_edition.world import phrases as p
from longlive.storybook.third_edition.world.scene import Scene

_CHANGE_ORDER = ("action", "prop", "weather", "light", "setting", "colour", "subject")


def plain_caption(scene: Scene) -> str:
    """The shortest whole sentence: ``a red cat with a hat jumps on a meadow in the rain at night``."""
    weather = "" if scene.weather == "clear" else p.WEATHER_WORDS[scene.weather][0]
    light = "" if scene.light == "day" else p.LIGHT_WORDS[scene.light][0]
    return _join(
        _article(scene.colour),
        scene.colour,
        scene.subject,
        p.PROP_WORDS[scene.prop][0],
        p.ACTION_WORDS[scene.action][0],
        p.PLACE_WORDS[scene.setting][0],
        weather,
        light,
    )


def caption(scene: Scene, rng: np.random.Generator, *, complete: bool = False) -> str:
    """One of the many ways to ask for a scene.

    Args:
        scene: to be described.
        rng: chooses the phrasing.
        complete: name every attribute, without typing errors or unknown words (for evaluation).
    """
    phrases = _choose(scene, rng, complete)
    kind = rng.random()
    if kind < 0.62:
        text = _sentence(phrases, rng)
    elif kind < 0.82:
        text = _sentences(phrases, scene, rng)
    else:
        text = _keywords(phrases, rng)
    if rng.random() < 0.15:
        text = f"{_pick(p.OPENINGS, rng)} {text}"
    if rng.random() < 0.10:
        text = f"{text} {_pick(p.ENDINGS, rng)}"
    return _finish(text if complete else _slip(text, rng), rng)


def turn_caption(before: Scene, after: Scene, rng: np.random.Generator) -> str:
    """A prompt for a change of scene: often only what changes, otherwise the whole new scene."""
    changed = [name for name in _CHANGE_ORDER if getattr(before, name) != getattr(after, name)]
    if len(changed) > 2 or rng.random() < 0.5:
        return caption(after, rng)
    parts = [_change_phrase(name, before, after, rng) for name in changed]
    text = " and ".join(parts)
    return _finish(_slip(text, rng), rng)


def _change_phrase(name: str, before: Scene, after: Scene, rng: np.random.Generator) -> str:
    """A short sentence about one change."""
    who = _who(after, rng)
    if name == "action":
        verb = _pick(p.ACTION_WORDS[after.action], rng)
        participle = _pick(p.ACTION_PARTICIPLES[after.action], rng)
        return _pick((f"{who} {verb}", f"now {who} {verb}", f"{who} is {participle}", participle), rng)
    if name == "prop":
        verb = _pick(p.DROP_VERBS[before.prop] if after.prop == "none" else p.PROP_VERBS[after.prop], rng)
        return _pick((f"{who} {verb}", f"now {who} {verb}", f"then {who} {verb}"), rng)
    if name in ("weather", "light"):
        return _pick((p.WEATHER_CHANGES | p.LIGHT_CHANGES)[getattr(after, name)], rng)
    if name == "setting":
        place = _pick(p.PLACE_WORDS[after.setting], rng)
        return _pick((f"{who} is {place}", f"now {place}", f"{who} is now {place}", place), rng)
    if name == "colour":
        colour = _pick(p.COLOUR_WORDS[after.colour], rng)
        return _pick((f"{who} turns {colour}", f"it is {colour} now", f"{who} becomes {colour}"), rng)
    subject = _pick(p.SUBJECT_WORDS[after.subject], rng)
    a_subject = f"{_article(subject)} {subject}"
    looks = f"{_article(after.colour)} {after.colour} {subject}"
    return _pick((f"it turns into {a_subject}", f"now it is {a_subject}", looks), rng)


def _who(scene: Scene, rng: np.random.Generator) -> str:
    subject, colour = _pick(p.SUBJECT_WORDS[scene.subject], rng), _pick(p.COLOUR_WORDS[scene.colour], rng)
    return _pick(
        ("it", "it", f"the {subject}", f"the {subject}", f"the {colour} {subject}", "he", "she"), rng
    )


Chosen = dict[str, str]


def _choose(scene: Scene, rng: np.random.Generator, complete: bool) -> Chosen:
    def kept(chance_missing: float) -> bool:
        return complete or rng.random() >= chance_missing

    chosen = {
        "colour": _pick(p.COLOUR_WORDS[scene.colour], rng) if kept(0.03) else "",
        "subject": _pick(p.SUBJECT_WORDS[scene.subject], rng) if kept(0.03) else _pick(p.ANYONE, rng),
        "verb": _pick(p.ACTION_WORDS[scene.action], rng),
        "participle": _pick(p.ACTION_PARTICIPLES[scene.action], rng),
        "prop": _pick(p.PROP_WORDS[scene.prop], rng),
        "prop_noun": _pick(p.PROP_NOUNS[scene.prop], rng),
        "weather": "",
        "weather_noun": "",
        "light": "",
        "light_noun": "",
    }
    if scene.prop == "none" and rng.random() < 0.05:
        chosen["prop"] = _pick(p.WITHOUT, rng)
    if scene.action == "stand" and not kept(0.25):
        chosen["verb"] = chosen["participle"] = ""
    if scene.action == "right" and not kept(0.2):
        chosen["verb"], chosen["participle"] = _pick(p.VAGUE_WALK, rng), "walking"
    has_place = kept(0.04)
    chosen["place"] = _pick(p.PLACE_WORDS[scene.setting], rng) if has_place else ""
    chosen["noun"] = _pick(p.PLACE_NOUNS[scene.setting], rng) if has_place else ""
    if scene.weather != "clear" or rng.random() < 0.10:
        chosen["weather"] = _pick(p.WEATHER_WORDS[scene.weather], rng)
        chosen["weather_noun"] = _pick(p.WEATHER_NOUNS[scene.weather], rng)
    if scene.light != "day" or (rng.random() < 0.10 and scene.setting not in ("space", "underwater")):
        chosen["light"] = _pick(p.LIGHT_WORDS[scene.light], rng)
        chosen["light_noun"] = _pick(p.LIGHT_NOUNS[scene.light], rng)
    return chosen


def _subject(c: Chosen, rng: np.random.Generator) -> str:
    adjective = _pick(p.ADJECTIVES, rng) if rng.random() < 0.2 else ""
    after = c["colour"] and rng.random() < 0.10
    noun = _join(adjective, "" if after else c["colour"], c["subject"])
    text = f"{'the' if rng.random() < 0.3 else _article(noun)} {noun}"
    return f"{text} that is {c['colour']}" if after else text


def _sentence(c: Chosen, rng: np.random.Generator) -> str:
    subject = _join(_subject(c, rng), c["prop"])
    around = [part for part in (c["place"], c["weather"], c["light"]) if part]
    if rng.random() < 0.5:
        around = [around[i] for i in rng.permutation(len(around))]
    front = around.pop(0) + "," if around and rng.random() < 0.25 else ""
    verb = c["verb"]
    if c["participle"] and rng.random() < 0.25:
        verb = c["participle"]
    if rng.random() < 0.15 and around:
        return _join(front, subject, around[0], verb, *around[1:])
    return _join(front, subject, verb, *around)


def _sentences(c: Chosen, scene: Scene, rng: np.random.Generator) -> str:
    """The same in two or three sentences."""
    subject = _subject(c, rng)
    pronoun = _pick(("it", "it", "he", "she", f"the {c['subject']}"), rng)
    parts = [_join(subject, "is" if c["place"] else "", c["place"])] if rng.random() < 0.5 else []
    if parts:
        parts.append(_join(pronoun, c["verb"] or "is there"))
    else:
        parts.append(_join(subject, c["verb"], c["place"]))
    if scene.prop != "none":
        parts.append(f"{pronoun} {_pick(p.PROP_VERBS[scene.prop], rng)}")
    if c["weather_noun"]:
        plain = {"rain": "it rains", "snow": "it snows", "clear": "the weather is fine"}[scene.weather]
        parts.append(plain if rng.random() < 0.5 else c["weather_noun"])
    if c["light_noun"]:
        parts.append(f"it is {scene.light}" if rng.random() < 0.5 else c["light"])
    if rng.random() < 0.3:
        parts = [parts[i] for i in rng.permutation(len(parts))]
    return _pick((". ", ". ", ", ", " and "), rng).join(parts)


def _keywords(c: Chosen, rng: np.random.Generator) -> str:
    nouns = (c[name] for name in ("noun", "prop_noun", "weather_noun", "light_noun"))
    words = [_join(c["colour"], c["subject"]), c["participle"] or c["verb"], *nouns]
    return (", " if rng.random() < 0.6 else " ").join(
        words[i] for i in rng.permutation(len(words)) if words[i]
    )


def _slip(text: str, rng: np.random.Generator) -> str:
    """The text with, now and then, an unknown word or a missing letter."""
    words = text.split()
    if rng.random() < 0.08:
        invented = "".join(_pick(p.SYLLABLES, rng) for _ in range(rng.integers(2, 4)))
        words.insert(int(rng.integers(len(words) + 1)), invented)
    if rng.random() < 0.05 and words:
        i = int(rng.integers(len(words)))
        if len(words[i]) > 4:
            j = int(rng.integers(1, len(words[i])))
            words[i] = words[i][:j] + words[i][j + 1 :]
    return " ".join(words)


def _finish(text: str, rng: np.random.Generator) -> str:
    return text[:1].upper() + text[1:] + str(rng.choice(["", ".", "!"])) if rng.random() < 0.3 else text


def _pick(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[int(rng.integers(len(phrases)))]


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"
