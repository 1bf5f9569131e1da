"""The results of many viewers in one table."""

from dataclasses import replace

from longlive.benchmark.loadtest.figures import ViewerResult
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.report import combine, table

FACTS = {"model": None, "executor": None, "health": (), "min_capacity": None, "max_capacity": None}
FACTS |= {"drops": 0, "refused_drops": 0, "longest_step_s": 0.02, "load_cpu_share": 0.1, "load_average": 0.5}


def test_the_figures_of_all_are_those_of_each_together() -> None:
    first = ViewerResult(
        "viewer 1",
        "meadow",
        0.5,
        stalls=1,
        longest_stall_s=0.75,
        min_delay_s=0.0,
        prompt_to_screen_s=(1.0, 2.0),
        prompts=3,
        unseen_prompts=1,
    )
    later = ViewerResult(
        "later 1",
        "beach",
        20.0,
        queue_updates=((0.5, 2, 40.0), (9.0, 1, 12.0)),
        min_delay_s=0.4,
        prompt_to_screen_s=(3.0,),
        prompts=1,
    )
    out = ViewerResult(
        "later 2", "snow", end="The queue is full.", has_failed=True, refusals=("Wait a little.",)
    )
    result = combine(
        "http://app/",
        Plan(viewers=1, waiting=2),
        [first, later, out],
        seconds=30.0,
        **FACTS,
    )
    assert (result.stalls, result.longest_stall_s, result.min_delay_s) == (1, 0.75, 0.0)
    assert (result.first_picture_p50_s, result.first_picture_p95_s) == (0.5, 0.5), "waiting is no part of it"
    assert (result.prompts, result.unseen_prompts, result.prompt_to_screen_p50_s) == (4, 1, 2.0)
    assert (result.queued, result.served, result.failed) == (1, 2, 1)
    lines = table(result).splitlines()
    assert not any("held up" in line for line in lines)
    assert "held up for 0.3 s" in table(replace(result, longest_step_s=0.3)).splitlines()[-1]
    assert "later 1 queue position 2, at most 40 s; first picture after 20.0 s (2 at 0 s, 1 at 9 s)" in lines
    assert "later 2 refused: Wait a little." in lines and "later 2 ended: The queue is full." in lines
