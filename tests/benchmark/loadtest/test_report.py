"""Of many viewers' figures, one table."""

from dataclasses import replace

from longlive.benchmark.loadtest.figures import ViewerResult
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import table, total

FACTS = {"model": None, "executor": None, "health": (), "least_room": None, "most_room": None}
FACTS |= {"drops": 0, "drops_refused": 0, "longest_step_s": 0.02, "load_cpu_share": 0.1, "load_average": 0.5}


def test_the_figures_of_all_are_those_of_each_together() -> None:
    first = ViewerResult(
        "viewer 1",
        "meadow",
        0.5,
        stalls=1,
        longest_stall_s=0.75,
        least_delay_s=0.0,
        prompt_to_screen_s=(1.0, 2.0),
        prompts=3,
        prompts_unseen=1,
    )
    later = ViewerResult(
        "later 1",
        "beach",
        20.0,
        told=((0.5, 2, 40.0), (9.0, 1, 12.0)),
        least_delay_s=0.4,
        prompt_to_screen_s=(3.0,),
        prompts=1,
    )
    out = ViewerResult(
        "later 2", "snow", end="The line is full.", has_failed=True, refusals=("Wait a little.",)
    )
    result = total(
        "http://app/",
        Plan(viewers=1, waiting=2),
        [first, later, out],
        seconds=30.0,
        **FACTS,
    )
    assert (result.stalls, result.longest_stall_s, result.least_delay_s) == (1, 0.75, 0.0)
    assert (result.first_picture_p50_s, result.first_picture_p95_s) == (0.5, 0.5), "waiting is no part of it"
    assert (result.prompts, result.prompts_unseen, result.prompt_to_screen_p50_s) == (4, 1, 2.0)
    assert (result.waited, result.got_in, result.failed) == (1, 2, 1)
    lines = table(result).splitlines()
    assert not any("held up" in line for line in lines)
    assert "held up for 0.3 s" in table(replace(result, longest_step_s=0.3)).splitlines()[-1]
    assert "later 1 in line: 2, at most 40 s; the first picture after 20.0 s (2 at 0 s, 1 at 9 s)" in lines
    assert "later 2 refused: Wait a little." in lines and "later 2 ended: The line is full." in lines
