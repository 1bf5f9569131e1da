"""Which prompt is in use at which chunk, and what becomes of those that are still to come."""

from longlive.generation.prompt_timeline import PromptTimeline
from longlive.generation.session_file import PromptEvent
from longlive.prompts import check_prompt

RED, BLUE, STAR = map(check_prompt, ("a red ball", "a blue cube", "a yellow star"))


def begun() -> PromptTimeline:
    timeline = PromptTimeline([PromptEvent(0, RED, None)])
    timeline.advance()
    return timeline


def test_a_prompt_is_due_until_it_is_in_use() -> None:
    timeline = PromptTimeline([PromptEvent(0, RED, None), PromptEvent(3, BLUE, "soft")])
    assert timeline.index == -1
    for _ in range(2):
        assert timeline.due(0) == PromptEvent(0, RED, None), "asking changes nothing"
    timeline.advance()
    assert (timeline.index, timeline.current.text) == (0, RED)
    assert timeline.due(2) is None
    assert timeline.due(3) == timeline.due(7) == PromptEvent(3, BLUE, "soft"), "late is not lost"


def test_each_pending_prompt_gets_a_chunk_of_its_own() -> None:
    timeline = begun()
    assert [timeline.append(text, "soft", next_chunk=5).chunk for text in (BLUE, STAR, RED)] == [5, 6, 7]
    timeline.drop_pending(keep=1)
    assert [event.text for event in timeline.events] == [RED, BLUE]
    timeline.drop_pending()
    assert timeline.append(STAR, "hard", next_chunk=5) == PromptEvent(5, STAR, "hard")


def test_before_the_first_chunk_the_first_prompt_can_be_replaced() -> None:
    timeline = PromptTimeline([PromptEvent(0, RED, None)])
    timeline.drop_pending()
    assert timeline.append(BLUE, "hard", next_chunk=0) == PromptEvent(0, BLUE, None)
