"""The prompts to come, and what each has made."""

import math

import pytest

from longlive.chunks import SwitchMode
from longlive.errors import PromptError
from longlive.generation.storyboard import Scene
from longlive.serving.executors.messages import Prompt, Reschedule
from longlive.serving.runs.prompt_schedule import (
    PromptSchedule,
    PromptSpan,
    defer,
    defer_all,
    place_scenes,
)
from tests.support.fakes import tiny_config

FIRST = Prompt("a ball")
SCRIPT = [Prompt("jumps", chunk=4, scripted=True), Prompt("rests", chunk=9, scripted=True)]


def test_a_viewers_own_prompt_cancels_the_script_but_not_the_beginning() -> None:
    prompts = PromptSchedule([FIRST, *SCRIPT])
    prompts.add(Prompt("own", chunk=2))
    assert [prompt.text for prompt in prompts] == ["a ball", "own"]
    assert [prompt.text for prompt in prompts.upcoming] == [prompt.text for prompt in prompts.own] == ["own"]
    prompts.add(SCRIPT[1])
    assert [prompt.text for prompt in prompts] == ["a ball", "own", "rests"]


def test_each_prompt_of_a_viewer_gets_a_chunk_of_its_own() -> None:
    prompts = PromptSchedule([FIRST])
    assert prompts.next_chunk(0) == 1, "the first chunk belongs to the first prompt"
    assert prompts.next_chunk(6) == 6
    prompts.add(Prompt("a", chunk=6))
    assert prompts.next_chunk(6) == 7


def test_prompts_come_into_force_one_after_another() -> None:
    prompts = PromptSchedule([Prompt("a", chunk=2), Prompt("b", chunk=2), Prompt("c", chunk=9)])
    assert prompts.take_due(1) is None
    assert [prompts.take_due(3), prompts.take_due(4), prompts.take_due(5)] == [
        Prompt("a", chunk=2),
        Prompt("b", chunk=2),
        None,
    ]
    assert len(prompts) == 1
    prompts.drop_until(9, rewinding=False)
    assert not list(prompts)


def test_a_prompt_that_rewinds_stays_until_it_has_come_into_force() -> None:
    prompts = PromptSchedule([Prompt("a", chunk=5, rewinds=True), Prompt("b", chunk=6, rewinds=True)])
    assert prompts.rewind_chunk == 5
    prompts.drop_until(7, rewinding=False)
    assert len(prompts) == 2, "chunk 7 was made before"
    prompts.drop_until(5, rewinding=True)
    assert [prompt.text for prompt in prompts] == ["b"] and prompts.rewind_chunk == 6
    assert defer(Prompt("a", chunk=5, rewinds=True), started_chunk=9).chunk == 5


def test_the_chunks_that_prompts_are_certain_to_have() -> None:
    prompts = PromptSchedule([Prompt("a", chunk=3, scripted=True), Prompt("b", chunk=9, scripted=True)])
    assert [prompts.last_chunk(started) for started in (2, 3, 9)] == [0, 3, 9]
    prompts.add(Prompt("c", chunk=12))
    assert prompts.last_chunk(0) == 12


def test_what_was_made_of_dropped_seconds_is_forgotten() -> None:
    prompts = PromptSchedule()
    for number, (start, end) in enumerate([(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]):
        prompts.extend_span(number, f"prompt {number}", start, end)
    prompts.cut_spans(3.0)
    assert [(span.start, span.end) for span in prompts.spans] == [(0.0, 2.0), (2.0, 3.0)]


def test_a_prompt_for_a_chunk_that_has_started_is_moved_to_the_next() -> None:
    assert defer(Prompt("a", "hard", chunk=2), started_chunk=4) == Prompt("a", "hard", chunk=5)
    assert defer(Prompt("a", chunk=9), started_chunk=4) == Prompt("a", chunk=9)


def test_a_prompt_s_span_grows_with_its_pictures() -> None:
    prompts = PromptSchedule()
    prompts.extend_span(0, "a", 0.0, 0.5)
    prompts.extend_span(0, "a", 0.5, 1.25)
    prompts.extend_span(1, "b", 1.25, 2.0)
    assert prompts.spans == [PromptSpan(0, "a", 0.0, 1.25), PromptSpan(1, "b", 1.25, 2.0)]


def test_prompts_to_come_are_removed_and_added_but_not_those_that_have_begun() -> None:
    own = Prompt("own", chunk=2, rewinds=True)
    prompts = PromptSchedule([FIRST, own, *SCRIPT])
    prompts.reschedule(Reschedule(removed=(4, 9), added=(Prompt("new", chunk=12),), started_chunk=4))
    assert [prompt.text for prompt in prompts] == ["a ball", "own", "jumps", "new"]
    late = Reschedule(removed=(12, 4), added=(Prompt("newer", chunk=20),), is_strict=True, started_chunk=4)
    with pytest.raises(PromptError, match="being shown already"):
        prompts.reschedule(late)
    assert [prompt.text for prompt in prompts] == ["a ball", "own", "jumps", "new"]


def test_prompts_that_are_added_get_a_chunk_of_their_own_that_has_not_started() -> None:
    added = tuple(Prompt(text, chunk=chunk) for text, chunk in (("a", 2), ("b", 2), ("c", 7), ("d", 7)))
    change = defer_all(Reschedule(added=added, occupied=(5, 8)), started_chunk=3)
    assert [prompt.chunk for prompt in change.added] == [4, 6, 7, 9] and change.started_chunk == 3
    change = defer_all(Reschedule(added=added), started_chunk=-1)
    assert [prompt.chunk for prompt in change.added] == [2, 3, 7, 8]


def test_what_a_worker_does_not_know_of_yet() -> None:
    prompts = PromptSchedule([FIRST, *SCRIPT])
    handed = tuple(prompts)
    assert prompts.change_since(handed) is None
    prompts.reschedule(Reschedule(removed=(4,), added=(Prompt("new", chunk=6),)))
    change = prompts.change_since(handed)
    assert change == Reschedule(removed=(4,), added=(Prompt("new", chunk=6),), occupied=(0, 9))


def starts_of(placed: list[Prompt], length: int) -> list[float]:
    """The second at which each chunk begins: 9 pictures after a cut, else 12, 16 a second."""
    cuts = {0} | {prompt.chunk for prompt in placed if prompt.switch == "hard"}
    frames = [9 if chunk in cuts else 12 for chunk in range(length)]
    return [sum(frames[:chunk]) / 16 for chunk in range(length)]


@pytest.mark.parametrize("switch", ["soft", "hard"])
def test_a_scene_begins_at_the_first_chunk_not_before_its_second_also_after_cuts(switch: SwitchMode) -> None:
    times = [0.5, 2.0, 2.1, 2.2, 4.0, 9.0, 9.1875]
    placed = place_scenes([Scene(at, f"at {at}", switch) for at in reversed(times)], tiny_config())
    assert [prompt.text for prompt in placed] == [f"at {at}" for at in times]
    assert len({prompt.chunk for prompt in placed}) == len(times) and all(one.scripted for one in placed)
    starts = starts_of(placed, 40)
    free = 1
    for at, prompt in zip(times, placed, strict=True):
        first = next(chunk for chunk in range(free, 40) if starts[chunk] >= at)
        assert prompt.chunk == first, f"{at} s is before {starts[prompt.chunk]} s"
        free = first + 1


def test_scenes_of_a_video_that_plays_are_placed_from_there_on() -> None:
    placed = place_scenes(
        [Scene(3.0, "a"), Scene(80_000, "b")], tiny_config(), chunk=3, second=2.0, cuts=(4,)
    )
    assert placed[0].chunk == 5, "2.75, then 3.3125 after the short chunk"
    assert placed[1].chunk == 5 + math.ceil((80_000 - 3.3125) / 0.75)
