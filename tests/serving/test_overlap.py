"""A run decodes one chunk while the next is denoised, if the executor overlaps."""

from longlive.serving.events import RunFinished
from tests.serving.test_engine import is_finished, read
from tests.support.fakes import FakeModels, make_engine


def test_a_chunk_is_drawn_while_the_one_before_is_decoded() -> None:
    seen = {}
    for overlap in (False, True):
        models = FakeModels(chunk_s=0.03, decode_s=0.03)
        engine = make_engine(models, overlap=overlap, video_s=4.0, ahead_s=99)
        finished = read(engine.start("ada", "a ball", seed=0), is_finished)[-1]
        assert isinstance(finished, RunFinished) and finished.take is not None
        engine.close()
        seen[overlap] = models.overlapped
    assert seen[False] == 0
    assert seen[True] >= 3
