"""Models unlike LongLive through the engine and on the page: one latent at a time, two sets, rollouts."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from longlive import Session, load_models
from longlive.generation.session_file import SessionRecord
from longlive.generation.storyboard import Scene
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.runs.events import RunFinished
from longlive.web.page import build_page
from tests.support.run_reader import is_finished, read
from tests.support.tiny_model import write_tiny_model

SECONDS = 5.0
MODELS = {
    "sgf-plus-framewise": {"chunk": 1, "window": 21, "sink": 4, "context_transformer": True},
    "causvid": {"window": 12, "sink": 0, "overlap": 3, "steps": (1000, 757, 522), "warp_steps": False},
}


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_tiny_model(tmp_path / "model", name=request.param, switch="keep", **MODELS[request.param])
    return tmp_path / "model"


@pytest.fixture
def engine(folder: Path) -> Iterator[Engine]:
    limits = Limits(max_video_s=SECONDS, buffer_ahead_s=99)
    engine = Engine(ThreadExecutor(ModelRunner(load_models(folder))), limits=limits)
    yield engine
    engine.close()


def test_a_run_is_whole_its_prompts_drift_and_its_file_replays(engine: Engine, folder: Path) -> None:
    run = engine.start("ada", "a red ball", seed=7, script=[Scene(1.0, "a blue cube")])
    events = read(run, is_finished, timeout=60)
    segments = [event.segment for event in events if isinstance(event, SegmentEvent)]
    assert [one.first_frame for one in segments] == [
        sum(one.num_frames for one in segments[:number]) for number in range(len(segments))
    ]
    assert sum(one.num_frames for one in segments) == SECONDS * 16
    finished = events[-1]
    assert isinstance(finished, RunFinished) and finished.session_file is not None
    record = SessionRecord.read(finished.session_file)
    assert [event.switch for event in record.prompts] == [None, "keep"]
    with Session.of_record(load_models(folder), record) as session:
        for digest in record.chunks:
            session.next_latents()
            assert session.digests[-1] == digest


def test_the_page_offers_the_models_own_switch(engine: Engine) -> None:
    page = build_page(engine)
    (switch,) = [block for block in page.blocks.values() if getattr(block, "elem_id", None) == "switch"]
    assert isinstance(switch, gr.Radio) and switch.value == "keep"
    examples = [str(function.js) for function in page.fns.values() if "a blue ball" in str(function.js)]
    assert examples and all('"switch": "keep"' in js for js in examples)
