"""The genuine ``spaces`` package in its ZeroGPU mode; see fake_zero_gpu.py for what is played."""

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from gradio_client import Client

from longlive import ModelBundle, load_models
from longlive.generation.session_file import SessionRecord
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.messages import Prompt
from longlive.serving.executors.model_runner import ModelRunner
from longlive.serving.executors.stream_worker import LEASE_BRIDGE_S
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.executors.zerogpu import COMPILE_S
from longlive.serving.limits import Limits
from tests.support.cpp_compiler import needs_cpp_compiler
from tests.support.fake_zero_gpu import VISITOR, FakeDevice, fake_device, program, until
from tests.support.fakes import PATIENT
from tests.support.tiny_passes import largest_difference, passes
from tests.support.tiny_transformer import tiny_transformer


@contextmanager
def served(folder: Path, *command: str, **facts: Any) -> Iterator[tuple[FakeDevice, Client]]:
    """A program on ZeroGPU, with its device and a visitor; ``facts`` as for ``program``."""
    with fake_device(folder) as device, program(device, *command, **facts) as address:
        yield device, Client(address, headers=VISITOR, verbose=False, httpx_kwargs=PATIENT)


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDevice, Client]]:
    with served(tmp_path_factory.mktemp("device"), "tests/support/counter_app.py") as page:
        yield page


@pytest.fixture
def counting(counter: tuple[FakeDevice, Client]) -> tuple[FakeDevice, Client]:
    """The counter's page, with a device as it comes."""
    device, client = counter
    device.idle, device.left_s = True, None
    return device, client


def test_a_generator_takes_prompts_while_it_runs_in_its_own_process(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    assert device.reports == 1
    job = client.submit(str(tmp_path), 60, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    promised = client.predict(str(tmp_path), "jump", api_name="/prompt")
    *_, last = (output.split() for output in job)
    assert last[2:] == ["59", "jump"]
    texts = [output.split()[3] for output in job.outputs()]
    assert texts.index("jump") == promised
    lease = device.leases[-1]
    assert (lease.pid, lease.seconds) == (int(last[0]), 30)
    until(lambda: not lease.is_out)
    assert not lease.has_failed


def test_health_and_metrics_are_served_there_too(counting: tuple[FakeDevice, Client]) -> None:
    _, client = counting
    assert httpx.get(f"{client.src}health").json()["executor"] == "zerogpu"
    assert "longlive_runs_started_total 0.0" in httpx.get(f"{client.src}metrics").text


def test_a_worker_is_used_again_if_the_device_says_so(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    first, second = (client.predict(str(tmp_path), 1, 30, api_name="/count").split() for _ in range(2))
    assert first[0] == second[0]
    assert int(second[1]) == int(first[1]) + 1
    device.idle = False
    third = client.predict(str(tmp_path), 1, 30, api_name="/count").split()
    assert third[0] != second[0]
    assert third[1] == "1", "a new worker begins as the program was when it was forked"


def test_a_cancelled_generator_gives_its_device_back(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    job = client.submit(str(tmp_path), 100_000, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    job.cancel()
    until(lambda: not device.out())
    assert not device.leases[-1].has_failed


def test_a_killed_worker_and_a_used_up_quota_are_errors(
    counting: tuple[FakeDevice, Client], tmp_path: Path
) -> None:
    device, client = counting
    job = client.submit(str(tmp_path), 100_000, 30, api_name="/count")
    until(lambda: len(job.outputs()) > 5)
    device.kill(device.leases[-1])
    with pytest.raises(Exception, match="GPU task aborted"):
        job.result()
    assert device.leases[-1].has_failed
    device.left_s = 41
    with pytest.raises(Exception, match=r"\(60s requested vs. 41s left\). Try again in 3:12:00"):
        client.predict(str(tmp_path), 1, 60, api_name="/count")
    assert device.refused == [60]


SCENES = (
    "a red ball stands on a green meadow",
    "the red ball jumps on a green meadow",
    "a blue cube rolls on snow",
    "the blue cube stands on snow",
)
SEED = 7


class Viewer:
    """One who is told a story; ``words`` are what came, in order."""

    def __init__(self, client: Client, name: str, buffer_ahead_s: float = -1) -> None:
        self._client, self.name = client, name
        self.words: list[dict[str, Any]] = []
        self.job = client.submit(name, SCENES[0], SEED, buffer_ahead_s, api_name="/tell")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def num_chunks(self) -> int:
        return sum(word.get("ends", False) for word in self.words)

    @property
    def num_resumed(self) -> int:
        return sum(word.get("notice", "").startswith("resumed_") for word in self.words)

    def gets_nothing_for(self, seconds: float) -> bool:
        before = self.num_chunks
        time.sleep(seconds)
        return self.num_chunks == before

    def send(self, text: str) -> int:
        return self._client.predict(self.name, text, api_name="/send")

    def play(self, seconds: float, playing: bool = True) -> None:
        assert self._client.predict(self.name, seconds, playing, api_name="/play")

    def stop(self) -> None:
        self._client.predict(self.name, api_name="/stop")

    def end(self) -> dict[str, Any]:
        """The last word, once it has come."""
        self._thread.join(120)
        assert "finished" in self.words[-1], self.words[-1]
        return self.words[-1]

    def is_told(self, num_chunks: int) -> None:
        until(lambda: self.num_chunks >= num_chunks, 120)

    def _listen(self) -> None:
        for word in self.job:
            self.words.append(json.loads(word))


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDevice, Client]]:
    with served(tmp_path_factory.mktemp("device"), "tests/support/story_app.py") as page:
        yield page


@pytest.fixture
def telling(stories: tuple[FakeDevice, Client]) -> tuple[FakeDevice, Client]:
    """The page of stories, with a device as it comes, which nobody uses."""
    device, client = stories
    device.idle, device.left_s = True, None
    until(lambda: not device.out())
    device.refused.clear()
    return device, client


@pytest.fixture(scope="module")
def storybook() -> ModelBundle:
    return load_models("storybook")


def assert_whole(storybook: ModelBundle, end: dict[str, Any], num_chunks: int) -> SessionRecord:
    """The thread executor, given the same prompts for the same chunks, makes the same latents."""
    record = SessionRecord.read(end["session"])
    assert len(record.chunks) == num_chunks
    assert record.model_digest == storybook.digest
    prompts = tuple(Prompt(event.text, event.switch or "soft", event.chunk) for event in record.prompts)
    seconds = storybook.config.num_frames(num_chunks * storybook.config.chunk) / storybook.config.fps
    limits = Limits(buffer_ahead_s=math.inf, max_video_s=seconds)
    order = Job(name="thread", seed=SEED, prompts=prompts, limits=limits)
    reports = ThreadExecutor(ModelRunner(storybook)).start(order).events()
    kept = [report.checkpoint for report in reports if isinstance(report, SegmentEvent) and report.checkpoint]
    assert tuple(one.digest for one in kept) == record.chunks
    assert [one.event for one in kept if one.event] == list(record.prompts)
    assert Path(end["take"]).stat().st_size > 1000
    return record


@pytest.mark.slow
@pytest.mark.parametrize("idle", [True, False], ids=["a worker is used again", "each lease has a new worker"])
def test_a_story_with_three_prompts_goes_on_in_further_leases_as_if_there_were_one(
    telling: tuple[FakeDevice, Client], storybook: ModelBundle, idle: bool
) -> None:
    device, client = telling
    device.idle = idle
    num_before = len(device.leases)
    viewer = Viewer(client, "three prompts")
    promised = [0]
    for number, scene in enumerate(SCENES[1:]):
        viewer.is_told(3 + 3 * number)
        promised.append(viewer.send(scene))
    until(lambda: viewer.num_resumed >= 2, 120)
    viewer.is_told(viewer.num_chunks + 2)
    viewer.stop()
    end = viewer.end()
    assert (end["finished"], end["failed"]) == ("user", "")
    record = assert_whole(storybook, end, viewer.num_chunks)
    assert [(event.chunk, event.text) for event in record.prompts] == list(zip(promised, SCENES, strict=True))
    leases = device.leases[num_before:]
    assert len(leases) >= 3
    assert len({lease.pid for lease in leases}) == (1 if idle else len(leases))
    until(lambda: not device.out())
    assert not any(lease.has_failed for lease in leases)


@pytest.mark.slow
def test_a_killed_worker_costs_a_story_nothing(
    telling: tuple[FakeDevice, Client], storybook: ModelBundle
) -> None:
    device, client = telling
    viewer = Viewer(client, "killed")
    viewer.is_told(3)
    viewer.send(SCENES[1])
    viewer.is_told(6)
    until(lambda: device.leases[-1].is_out, 120)
    device.kill(killed := device.leases[-1])
    viewer.is_told(12)
    viewer.stop()
    end = viewer.end()
    assert not end["failed"]
    assert viewer.num_resumed >= 1
    record = assert_whole(storybook, end, viewer.num_chunks)
    assert [event.text for event in record.prompts] == list(SCENES[:2])
    assert killed.has_failed
    assert device.leases[-1].pid != killed.pid


@pytest.mark.slow
def test_a_stopped_story_frees_its_worker_for_the_next(telling: tuple[FakeDevice, Client]) -> None:
    device, client = telling
    first = Viewer(client, "first")
    first.is_told(2)
    first.stop()
    first.end()
    until(lambda: not device.out())
    second = Viewer(client, "second")
    second.is_told(2)
    assert device.leases[-1].pid == device.leases[-2].pid
    second.stop()
    assert not second.end()["failed"]


@pytest.mark.slow
def test_a_story_whose_viewer_is_gone_frees_its_worker(telling: tuple[FakeDevice, Client]) -> None:
    device, client = telling
    viewer = Viewer(client, "gone", buffer_ahead_s=1.5)
    viewer.is_told(1)
    viewer.job.cancel()
    until(lambda: not device.out())
    assert not device.leases[-1].has_failed


@pytest.mark.slow
def test_two_stories_are_told_at_once_each_in_its_own_worker(telling: tuple[FakeDevice, Client]) -> None:
    device, client = telling
    viewers = [Viewer(client, name) for name in ("here", "there")]
    for viewer in viewers:
        viewer.is_told(3)
    assert len({lease.pid for lease in device.out()}) == 2
    for viewer in viewers:
        viewer.stop()
        assert not viewer.end()["failed"]


@pytest.mark.slow
def test_a_worker_makes_no_more_than_the_playhead_asks_for(
    telling: tuple[FakeDevice, Client], storybook: ModelBundle
) -> None:
    _, client = telling
    viewer = Viewer(client, "paused", buffer_ahead_s=1.5)
    viewer.is_told(1)
    viewer.play(0.0, playing=False)
    until(lambda: viewer.gets_nothing_for(2.0), 60)
    at = viewer.num_chunks
    chunk_s = storybook.config.chunk_seconds()
    assert at * chunk_s <= 1.5 + LEASE_BRIDGE_S + chunk_s, "enough is ready, and the viewer stands still"
    viewer.play(60.0, playing=True)
    viewer.is_told(at + 4)
    viewer.stop()
    assert not viewer.end()["failed"]


@pytest.mark.slow
def test_a_used_up_quota_ends_a_story_in_words_and_keeps_it(
    telling: tuple[FakeDevice, Client], storybook: ModelBundle
) -> None:
    device, client = telling
    num_before = len(device.leases)
    viewer = Viewer(client, "poor")
    viewer.is_told(2)
    device.left_s = 4
    until(lambda: device.leases[-1].seconds == 3, 60)
    viewer.is_told(viewer.num_chunks + 1)
    device.left_s = 2
    end = viewer.end()
    assert viewer.num_resumed >= 1
    assert end["finished"] == "quota"
    assert "quota (5s requested vs. 2s left). Try again in 3:12:00" in end["failed"]
    seconds = [lease.seconds for lease in device.leases[num_before:]]
    assert seconds == sorted(seconds, reverse=True)
    assert set(seconds) == {5, 3}
    assert set(device.refused) == {5}
    assert_whole(storybook, end, viewer.num_chunks)
    refused = Viewer(client, "too poor")
    end = refused.end()
    assert end["finished"] == "quota" and end["failed"].startswith("You have exceeded your ZeroGPU quota")


@pytest.mark.slow
def test_the_app_itself_sees_that_it_is_on_zerogpu(tmp_path: Path) -> None:
    """Its own page, with the model on a GPU that this process does not have."""
    command = ["app.py", "--device", "cuda", "--dtype", "float32", "--port"]
    with served(tmp_path, *command, anew=True) as (device, client):
        job = client.submit(SCENES[0], SEED, None, api_name="/start")
        until(lambda: len(job.outputs()) > 3, 60)
        answer, *_ = client.predict(SCENES[1], "soft", api_name="/prompt")
        until(lambda: any(output[0].get("chunk") == answer["chunk"] for output in job.outputs()), 60)
        client.predict(api_name="/stop")
        *_, take, session_file = job.result()
        assert SessionRecord.read(session_file).prompts[1].chunk == answer["chunk"]
        assert take
        until(lambda: not device.out())
        assert [(lease.seconds, lease.visitor) for lease in device.leases] == [(40, VISITOR["x-ip-token"])]
        assert device.reports == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_blocks_are_compiled_in_a_worker_at_the_start_and_run_in_all_that_follow(tmp_path: Path) -> None:
    needs_cpp_compiler()
    with torch.no_grad():
        expected = passes(tiny_transformer(), "relative")
    pids = set()
    with served(tmp_path, "tests/support/compiled_app.py", patience_s=1500) as (device, client):
        (compiling,) = device.leases
        assert (compiling.seconds, compiling.is_out, compiling.has_failed) == (COMPILE_S, False, False)
        device.idle = False  # each call has a new worker
        for _ in range(2):
            lines, pid, made = client.predict(api_name="/predict")
            assert lines[0] == "compiling the blocks ahead of time on a GPU"
            assert lines[1].startswith("blocks run by ")
            assert largest_difference([torch.tensor(one) for one in made], expected) < 3e-6
            pids.add(pid)
    assert len(pids | {compiling.pid}) == 3
