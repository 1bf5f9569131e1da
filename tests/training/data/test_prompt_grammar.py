"""The open prompt set: whole, each prompt within its story, in good English, made again byte for byte."""

import re
from collections import Counter
from pathlib import Path

import pytest

from longlive.errors import ConfigError
from longlive.generation.storyboard import read_storyboard
from longlive.prompts import check_prompt
from longlive.training.data.prompt_files import read_prompt_pairs
from longlive.training.data.prompt_grammar import (
    GRAMMAR,
    Story,
    read_grammar,
    write_prompt_set,
    write_stories,
)

PUBLISHED = GRAMMAR.parent / "interactive_160x6.jsonl"
TRADEMARKS_AND_NAMES = {"disney", "pixar", "lego", "barbie", "nike", "coca", "tesla", "ferrari", "hogwarts"}


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    rules = read_grammar(GRAMMAR)
    return write_stories(rules, rules["seed"])


def sentences(prompt: str) -> list[str]:
    return re.split(r"(?<=\.) ", prompt)


def new_sentence(story: Story, number: int) -> str:
    """The one sentence of a prompt that the story's other prompts do not have."""
    parts = [sentences(prompt) for prompt in story.prompts]
    others = {part for index, prompt in enumerate(parts) if index != number for part in prompt}
    (new,) = [part for part in parts[number] if part not in others]
    return new


def test_the_published_set_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    write_prompt_set(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == PUBLISHED.read_bytes()


def test_there_are_160_stories_of_6_prompts_of_80_to_100_words(stories: list[Story]) -> None:
    assert [len(story.prompts) for story in stories] == [6] * 160
    assert all(80 <= len(prompt.split()) <= 100 for story in stories for prompt in story.prompts)


def test_no_story_and_no_prompt_comes_twice(stories: list[Story]) -> None:
    assert len({(story.subject, story.place) for story in stories}) == 160
    assert len({prompt for story in stories for prompt in story.prompts}) == 960
    people = [story.subject for story in stories if "wearing" in story.subject]
    assert len(set(people)) == len(people) == 120


def test_each_prompt_keeps_subject_place_and_all_but_one_sentence(stories: list[Story]) -> None:
    for story in stories:
        for number, prompt in enumerate(story.prompts):
            assert story.subject in prompt and story.place in prompt
            assert new_sentence(story, number)
        assert len({len(sentences(prompt)) for prompt in story.prompts}) == 1


def test_no_action_is_told_twice_in_a_story(stories: list[Story]) -> None:
    for story in stories:
        endings = [" ".join(new_sentence(story, number).split()[-6:]) for number in range(6)]
        assert len(set(endings)) == 6, endings


def test_what_an_action_leaves_behind_is_said_until_another_ends_it(stories: list[Story]) -> None:
    checked = 0
    for story in stories:
        texts = [new_sentence(story, number) for number in range(6)]
        sits = [" sits down on " in text for text in texts]
        for number in range(1, 6):
            if sits[number - 1] and "wearing" in story.subject and "loom" not in texts[number - 1]:
                checked += 1
                assert "eated on" in texts[number] or " gets up from " in texts[number], texts[number]
    assert checked > 20


def test_cameras_lights_and_times_of_day_vary(stories: list[Story]) -> None:
    rules = read_grammar(GRAMMAR)
    for table in ("cameras", "lights"):
        used = Counter(
            entry["text"].partition("{")[0]
            for story in stories
            for entry in rules[table]
            if entry["text"].partition("{")[0] in story.prompts[0]
        )
        assert len(used) == len(rules[table])
        assert max(used.values()) < 40


def test_the_english_has_the_right_articles_and_no_holes(stories: list[Story]) -> None:
    for text in (prompt for story in stories for prompt in story.prompts):
        assert not re.search(r"\b[Aa] [aeio]\w+|\b[Aa]n [^aeiouh\W]\w+|\b(the|a|an) (the|a|an)\b", text), text
        assert not re.search(r"[{}_]|  | [,.]|,,|\.\.|,\.", text), text
        assert text.endswith(".") and text[0].isupper()
        assert all(part[0].isupper() for part in sentences(text)), text
        assert not re.search(r"\b(\w+) \1\b", text), text


def test_pronouns_fit_the_subject(stories: list[Story]) -> None:
    for story in stories:
        words = {word for prompt in story.prompts for word in re.findall(r"\w+", prompt.lower())}
        woman = {"woman", "girl"} & set(re.findall(r"\w+", story.subject))
        man = {"man", "boy"} & set(re.findall(r"\w+", story.subject))
        assert not (woman and words & {"he", "his", "him"}), story
        assert not (man and words & {"she", "her"}), story
        assert woman or man or not words & {"he", "his", "him", "she", "her"}, story


def test_it_names_no_trademark_and_nobody(stories: list[Story]) -> None:
    for text in (prompt for story in stories for prompt in story.prompts):
        inner = [word for part in sentences(text) for word in part.split()[1:]]
        assert not [word for word in inner if word[0].isupper()], "a capital within a sentence is a name"
        assert not TRADEMARKS_AND_NAMES & set(re.findall(r"\w+", text.lower()))


def test_the_app_and_the_training_read_it() -> None:
    scenes = read_storyboard(PUBLISHED, switch_every=10, line=159)
    assert [scene.at for scene in scenes] == [0, 10, 20, 30, 40, 50]
    assert all(check_prompt(scene.text) == scene.text for scene in scenes)
    assert len(read_prompt_pairs(PUBLISHED)) == 160 * 5


def test_another_seed_gives_another_set(tmp_path: Path, stories: list[Story]) -> None:
    other = write_prompt_set(tmp_path / "other.jsonl", seed=1)
    assert len(other) == 160
    assert not {prompt for story in other for prompt in story.prompts} & {
        story.prompts[2] for story in stories
    }


def test_a_grammar_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    grammar, out = tmp_path / "grammar.toml", tmp_path / "set.jsonl"
    with pytest.raises(ConfigError, match="cannot be read"):
        write_prompt_set(out, grammar=grammar)
    for text, words in (
        ("[", "cannot be read"),
        ("seed = 1", "lacks something"),
        ("a = \xe4", "cannot be read"),
    ):
        grammar.write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match=words):
            write_prompt_set(out, grammar=grammar)
    grammar.write_text(GRAMMAR.read_text(encoding="utf-8").replace("[80, 100]", "[8, 10]"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no new story of 8 to 10 words"):
        write_prompt_set(out, grammar=grammar)
    assert not out.exists()


def test_a_place_that_cannot_be_written_to_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ConfigError, match="--out"):
        write_prompt_set(tmp_path / "file" / "set.jsonl")
    assert (tmp_path / "file").read_text() == "old"
