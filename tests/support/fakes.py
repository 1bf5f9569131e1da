"""A model that draws test cards: the number of the picture and of the prompt, as black and white cells."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from longlive.audience.room_options import RoomOptions
from longlive.chunks import AttendedChunks, FrameChunk, LatentChunk, StreamPlace, SwitchMode
from longlive.config import ModelConfig, ResumeMode, Size, StreamConfig, TransformerConfig
from longlive.errors import LostError
from longlive.generation.lookahead import OnLatents, OnStep, ignore_step
from longlive.generation.session_file import PromptEvent, SessionRecord, describe_models
from longlive.generation.stopwatch import Stopwatch
from longlive.models.bundle import RuntimeProfile
from longlive.models.model_card import ModelCard, Story
from longlive.serving.engine import Engine
from longlive.serving.executors.events import SegmentEvent
from longlive.serving.executors.job import Job
from longlive.serving.executors.model_runner import ModelRunner, SessionOpener, Turn
from longlive.serving.executors.thread import ThreadExecutor
from longlive.serving.limits import Limits
from longlive.serving.served_models import ServedModels
from tests.support.run_reader import forget_all, unfinished, wait_for

PATIENT = {"timeout": 60.0}
"""What a program of the tests tells httpx: a busy machine answers late."""

CELL = 16
PORTRAIT, SQUARE = (64, 96), (80, 80)
FRAME_BITS, PROMPT_BITS = 12, 6
COLOURS = ((196, 92, 74), (70, 130, 180), (90, 150, 90), (200, 160, 60), (140, 100, 170), (90, 90, 110))

CARD = ModelCard(
    about="A model of test cards.",
    words=(
        "a",
        "the",
        "red",
        "blue",
        "ball",
        "cube",
        "jumps",
        "rolls",
        "stands",
        "on",
        "green",
        "meadow",
        "snow",
    ),
    stories=(
        Story(
            "A jump",
            ((0.0, "a red ball stands on a green meadow"), (2.0, "the red ball jumps on a green meadow")),
        ),
        Story("A roll", ((0.0, "a blue cube rolls on snow"),)),
    ),
)


def tiny_config() -> ModelConfig:
    """96x64 pictures; the transformer's sizes do not matter here."""
    transformer = TransformerConfig(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=12,
        out_channels=12,
        text_dim=8,
        freq_dim=8,
        ffn_dim=16,
        num_layers=1,
    )
    return ModelConfig(name="test cards", transformer=transformer, height=64, width=96, display_scale=4)


def sized_cards(**how: Any) -> "FakeModels":
    """Test cards that come upright, and nearly square, too."""
    config = dataclasses.replace(tiny_config(), sizes=(PORTRAIT, SQUARE))
    card = dataclasses.replace(CARD, about_sizes="The cards were drawn for 96x64.")
    return FakeModels(config=config, card=card, **how)


@dataclass
class FakeModels:
    """What a page needs of a ModelBundle, and the faults to play."""

    config: ModelConfig = field(default_factory=tiny_config)
    card: ModelCard = CARD
    source: str = "test cards"
    digest: str = "cards" * 12
    dtype: torch.dtype = torch.float32
    transformer: Any = field(default_factory=lambda: SimpleNamespace(backend=SimpleNamespace(name="none")))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    chunk_s: float = 0.02
    open_s: float = 0.0
    break_at: int | None = None
    open_now: int = 0
    busy_now: int = 0
    most_busy: int = 0
    streams: int = 4
    encoder: str = "x264"
    decode_s: float = 0.0
    overlapped: int = 0
    finished: int = 0
    smaller: Callable[["FakeModels"], "FakeModels"] | None = None
    out_of_memory: list[tuple[str, int]] = field(default_factory=list)

    @property
    def runtime(self) -> RuntimeProfile:
        return RuntimeProfile(max_streams=self.streams, encoder=self.encoder, downgrade=self.smaller)  # type: ignore[arg-type]

    def work(self, stage: str, chunk: int) -> None:
        """Run out of memory once for each time that this stage of this chunk is listed."""
        if (stage, chunk) in self.out_of_memory:
            self.out_of_memory.remove((stage, chunk))
            raise torch.OutOfMemoryError("CUDA out of memory")


class FakeSession:
    """What a run needs of a Session; of a prompt, it reads 1000 characters."""

    def __init__(self, models: FakeModels, job: Job, turn: Turn) -> None:
        self.models, self.opened_with, self.seed = models, models, job.seed
        models.work("open", 0)
        self.prompts = [PromptEvent(0, job.prompts[0].text, None)] if job.resume is None else []
        self.num_chunks, self.is_closed = 0, False
        self.earliest_rewind, self.before = 0, None
        self.latents_stopwatch, self.decode_ms = Stopwatch(models.device), {"decode": 1000 * models.decode_s}
        record = job.resume.record if job.resume else job.record
        self.size = models.config.at(record.size if record else job.size).size
        self.reseeds = record.reseeds if record else ()
        if job.resume is not None:
            self.prompts = list(job.resume.record.prompts)
            self.num_chunks = len(job.resume.latents)
            if not job.resume.exact:
                self.prompts.append(PromptEvent(self.num_chunks, self.prompts[-1].text, "soft"))
        models.open_now += 1
        time.sleep(models.open_s)

    def set_prompt(self, text: str, switch: SwitchMode = "soft") -> int:
        self.prompts.append(PromptEvent(self.num_chunks, text, switch))
        self.earliest_rewind = self.num_chunks + 1
        return self.num_chunks

    def rewind(self, num_chunks: int) -> None:
        if not self.earliest_rewind <= num_chunks <= self.num_chunks:
            raise ValueError(f"cannot go back to {num_chunks} of {self.num_chunks} chunks")
        self.num_chunks = num_chunks
        self.before = StreamPlace(self.models.config.num_frames(3 * num_chunks), ())

    def next_chunk(self) -> FrameChunk:
        return self.decode(self.next_latents())

    def next_latents(
        self, on_latents: OnLatents = lambda _: None, on_step: OnStep = ignore_step
    ) -> LatentChunk:
        """Empty latents; as a model does, it remembers the chunk before first, unless a switch comes."""
        self.latents_stopwatch = Stopwatch(self.models.device)
        last = self.prompts[-1]
        if not (last.chunk == self.num_chunks and last.switch in ("soft", "hard")):
            with self.latents_stopwatch.stage("remember"):
                self.models.work("remember", self.num_chunks)
                time.sleep(self.models.chunk_s / 4)
        chunk = self._draw(on_step)
        on_latents(chunk)
        self.before = None
        self.num_chunks += 1
        return chunk

    def _draw(self, on_step: OnStep) -> LatentChunk:
        models = self.models
        models.busy_now += 1
        models.most_busy = max(models.most_busy, models.busy_now)
        try:
            with self.latents_stopwatch.stage("denoise"):
                for _ in range(4):
                    time.sleep(models.chunk_s / 4)
                    on_step(0.0, torch.empty(0))
            models.finished += 1
        finally:
            models.busy_now -= 1
        if models.break_at == self.num_chunks:
            raise RuntimeError("the weights fell over")
        models.work("denoise", self.num_chunks)
        place = self.num_chunks, len(self.prompts) - 1, self.prompts[-1].text, 3 * self.num_chunks
        latents = torch.full((1, 3, 1, 1, 1), float(self.num_chunks))
        return LatentChunk(*place, latents, before=self.before, attended=self._attended())

    def _attended(self) -> AttendedChunks:
        """The first chunk since the last cut, and the two before this one, as a small model would."""
        last, now = self.prompts[-1], self.num_chunks
        first = max((one.chunk for one in self.prompts if one.switch == "hard"), default=0)
        window = tuple(range(max(first + 1, now - 2), now))
        return AttendedChunks(
            (first,) if now > first else (), window, last.switch if last.chunk == now else None
        )

    def decode(self, chunk: LatentChunk) -> FrameChunk:
        """Test cards: 1 for the first latent, 4 for each later one."""
        models = self.models
        models.work("decode", chunk.index)
        time.sleep(models.decode_s / 2)
        models.overlapped += models.busy_now
        time.sleep(models.decode_s / 2)
        first, end = (models.config.num_frames(chunk.first_latent + n) for n in (0, chunk.latents.shape[1]))
        frames = np.stack([draw_card(number, chunk.prompt_index, self.size) for number in range(first, end)])
        place = chunk.index, chunk.prompt_index, chunk.prompt, first
        return FrameChunk(*place, frames, models.config.fps, chunk.ends_chunk)

    @property
    def truncated_prompt(self) -> str | None:
        text = self.prompts[-1].text
        return text if len(text) > 1000 else None

    def record(self) -> SessionRecord:
        return SessionRecord(
            **describe_models(self.opened_with)  # type: ignore[arg-type]
            | {"width": self.size[0], "height": self.size[1]},
            seed=self.seed,
            take=0,
            stream=StreamConfig.of(self.models.config),
            prompts=tuple(self.prompts),
            chunks=(),
            reseeds=self.reseeds,
        )

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True
        self.opened_with.open_now -= 1


def make_engine(
    models: Any = None,
    *,
    others: Sequence[FakeModels] = (),
    overlap: bool | None = None,
    opener: SessionOpener = FakeSession,
    folder: Path | None = None,
    resume: ResumeMode = "auto",
    **limits: float,
) -> Engine:
    """An engine over thread executors, of test cards unless other models are given; ``others`` come after."""
    runners = [
        ModelRunner(one, open_session=opener, overlap=overlap) for one in (models or FakeModels(), *others)
    ]
    served = ServedModels(map(ThreadExecutor, runners))
    return Engine(served, limits=Limits(**limits), folder=folder, resume=resume)  # type: ignore[arg-type]


def sketches() -> FakeModels:
    """A second model of test cards, which knows other words and was not trained for smooth changes."""
    config = dataclasses.replace(tiny_config(), name="sketches", switch="keep")
    stories = (Story("A line", ((0.0, "a line"), (2.0, "a long line"))), Story("A dot", ((0.0, "a dot"),)))
    card = ModelCard("A model of sketches.", ("a", "long", "line", "dot"), stories)
    return FakeModels(config=config, card=card, chunk_s=0.05)


def with_less_memory(models: FakeModels) -> FakeModels:
    return dataclasses.replace(models, smaller=None, open_now=0, streams=1)


class LosingExecutor(ThreadExecutor):
    """Its workers die before the chunks that are listed, as often as they are."""

    def __init__(self, runner: ModelRunner, losses: list[int]) -> None:
        super().__init__(runner)
        self.losses = losses

    def start(self, job):
        handle = super().start(job)
        plain = handle.events

        def events():
            for event in plain():
                if isinstance(event, SegmentEvent) and event.segment.index in self.losses:
                    self.losses.remove(event.segment.index)
                    raise LostError("killed")
                yield event

        handle.events = events
        return handle


def draw_card(frame: int, prompt: int, size: Size = (96, 64)) -> np.ndarray:
    """A picture: cells for the frame's bits, row by row, then for the prompt's, on its colour."""
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = COLOURS[prompt % len(COLOURS)]
    bits = [frame >> bit & 1 for bit in range(FRAME_BITS)] + [prompt >> bit & 1 for bit in range(PROMPT_BITS)]
    for number, bit in enumerate(bits):
        row, column = divmod(number, width // CELL)
        picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 235 if bit else 20
    return picture


def read_card(picture: np.ndarray) -> tuple[int, int]:
    """(frame, prompt) of a picture that shows a test card at any scale, (H, W, 3)."""
    cell = picture.shape[1] * CELL // 96
    values = [
        picture[int((number // 6 + 0.5) * cell), int((number % 6 + 0.5) * cell)].mean() > 128
        for number in range(FRAME_BITS + PROMPT_BITS)
    ]
    frame = sum(bit << place for place, bit in enumerate(values[:FRAME_BITS]))
    return frame, sum(bit << place for place, bit in enumerate(values[FRAME_BITS:]))


@dataclass
class Served:
    """A page that is being served."""

    url: str
    engine: Engine
    models: FakeModels
    page: Any

    def wait_until_empty(self, timeout: float = 60.0) -> None:
        """Wait until no run, no session and no file of one is left; AssertionError if that does not come."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not unfinished(self.engine) and not self.models.open_now and not self.files():
                return
            time.sleep(0.02)
        runs, sessions = len(unfinished(self.engine)), self.models.open_now
        raise AssertionError(f"{runs} runs, {sessions} sessions, files {self.files()} are left")

    def clear(self) -> None:
        """Stop and forget all runs, as happens by itself some seconds after their viewers have gone."""
        for run in unfinished(self.engine):
            run.stop("closed")
        wait_for(lambda: forget_all(self.engine), timeout=60)
        self.wait_until_empty()

    def files(self) -> list[Path]:
        """The folders of runs."""
        return [path for path in self.engine.folder.iterdir() if path.is_dir()]


@contextmanager
def serve_page(
    models: FakeModels | None = None,
    *,
    player: str = "live",
    runner: ModelRunner | None = None,
    others: Sequence[FakeModels] = (),
    room: RoomOptions | None = None,
    **limits: float,
) -> Iterator[Served]:
    """The page over a model of test cards (and ``others``), or over the one of ``runner``, on a free port.

    With ``room``, there is one.
    """
    from longlive.web.health import routes_of
    from longlive.web.launch import open_room
    from longlive.web.page import build_page, page_options

    models = models or FakeModels()
    if runner is None:
        engine = make_engine(models, others=others, **limits)
    else:
        engine = Engine(ThreadExecutor(runner), limits=Limits(**limits))  # type: ignore[arg-type]
    options = page_options(routes_of(engine.status, engine.metrics))
    shown = open_room(room, engine) if room else None
    page = build_page(engine, player=player, room=shown)
    _, url, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **options)
    try:
        yield Served(url, engine, models, page)
    finally:
        page.close()
        if shown:
            shown.close()
        engine.close()
