"""A run decodes one chunk while the next is denoised, if the executor overlaps."""

from longlive.serving.runs.events import RunFinished
from tests.support.fakes import FakeModels, make_engine
from tests.support.run_reader import is_finished, read


def test_a_chunk_is_decoded_while_the_next_is_denoised() -> None:
    overlapped = {}
    for overlap in (False, True):
        models = FakeModels(chunk_s=0.03, decode_s=0.03)
        engine = make_engine(models, overlap=overlap, max_video_s=4.0, buffer_ahead_s=99)
        finished = read(engine.start("ada", "a ball", seed=0), is_finished)[-1]
        assert isinstance(finished, RunFinished) and finished.video is not None
        engine.close()
        overlapped[overlap] = models.overlapped
    assert overlapped[False] == 0
    assert overlapped[True] >= 3
