"""What a player is sent that comes back to a run."""

from longlive.serving.executors.events import SegmentEvent
from longlive.serving.runs.events import Rewound
from longlive.web.viewer_stream import ViewerStream
from tests.support.fakes import FakeModels, make_engine
from tests.support.run_reader import is_segment, read, wait_for


def test_who_comes_back_gets_nothing_that_was_dropped() -> None:
    engine = make_engine(FakeModels(chunk_s=0.01), buffer_ahead_s=6.0)
    run = engine.start("ada", "a red ball", seed=7)
    read(run, is_segment(0))
    run.playhead(1.0, playing=False)
    read(run, is_segment(6))
    chunk = run.prompt("a blue cube").chunk
    wait_for(lambda: run.num_chunks > chunk + 2)
    second = run.prompts.spans[1].start
    stream = ViewerStream(run, "live", "")

    def sent(seconds: float) -> list[tuple[str, int]]:
        events = run.events.since(stream.number_before(seconds))
        segments = [one.segment for _, one in events if isinstance(one, SegmentEvent)]
        return [(one.prompt, one.index) for one in segments]

    within = run.events.since(stream.number_before(second + 0.1))
    assert not any(isinstance(event, Rewound) for _, event in within)
    assert sent(second + 0.1)[0] == ("a blue cube", chunk)
    assert sent(second - 0.1)[0] == ("a red ball", chunk - 1), "and what follows, with what was dropped of it"
    engine.close()
