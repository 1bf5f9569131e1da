"""The prompts to come, and what each has made."""

from longlive.serving.executors.messages import Prompt
from longlive.serving.runs.prompt_schedule import PromptSchedule, PromptSpan, defer

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
