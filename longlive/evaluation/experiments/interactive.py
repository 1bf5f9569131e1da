"""Table 2: stories of several prompts, switched every ten seconds; Table 3: one prompt for 30 seconds."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longlive.errors import ConfigError, MediaError, reason_of
from longlive.evaluation import clip_score
from longlive.evaluation.clip_score import ClipScorer
from longlive.evaluation.statistics import Scores, estimate, mean
from longlive.evaluation.trials import ATTRIBUTES, CHANGES
from longlive.evaluation.videos import network, pixels
from longlive.evaluation.workers import cached_models, map_in_workers
from longlive.files import read_lines
from longlive.generation.session import Session
from longlive.media.mp4 import write_video
from longlive.models.bundle import ModelBundle
from longlive.prompts import prompts_of_row
from longlive.storybook.world.captions import caption
from longlive.storybook.world.drawing import HEIGHT, WIDTH, Scene, random_scene
from longlive.storybook.world.oracle import read

READ_S = 2.5
LEFT_OUT_S = 1.0
"""Of each segment, so much after its beginning is left out: a prompt takes effect at the next chunk."""

DEFINITIONS = (
    clip_score.DEFINITIONS
    | pixels.DEFINITIONS
    | network.DEFINITIONS
    | {
        "segments": (
            f"A story is one video without a cut; each prompt has as many seconds. The first "
            f"{LEFT_OUT_S:g} s after a "
            "switch, which comes with the first chunk of the segment, are left out of the segment's scores."
        ),
        "oracle_score": (
            "In CLIP's place for models that draw the storybook's world: % of the five attributes of "
            "the prompt "
            f"({', '.join(ATTRIBUTES)}) that the oracle reads as asked for, in pieces of {READ_S:g} s, "
            f"mean over the "
            "segment, then over the stories."
        ),
        "oracle_all": "The same for all five attributes at once.",
        "chance_score": (
            "The same pictures scored against the same segment's prompt of the next story: what a model "
            "that does not "
            "read its prompt would get. Needs two stories."
        ),
        "mean_score": "The mean over the segments of a story, then over the stories.",
        "quality": "pixel_smoothness, pixel_flicker and pixel_motion of the whole video; see stand-ins.",
        "consistency": "pixel_consistency of the whole video; see stand-ins.",
        "intervals over stories": "Every figure is a mean over stories, and its interval one over stories.",
    }
)


class Story(NamedTuple):
    """The prompts of a video in order, the seed of its noise, and the storybook's scenes, if it has any."""

    prompts: tuple[str, ...]
    seed: int
    scenes: tuple[Scene, ...] = ()


class StoryTask(NamedTuple):
    """One video of one model.

    Attributes:
        folder: of the model.
        story, other: what is asked for, and another story, whose prompts give the score of chance.
        segment_s: seconds of a prompt.
        clip: folder or name, and revision, of the CLIP model; None for the oracle.
        video: where to keep the video; None: nowhere.
    """

    folder: Path
    story: Story
    other: Story
    segment_s: float
    clip: tuple[str, str | None] | None
    video: Path | None


def draws_storybook(models: ModelBundle) -> bool:
    """Whether a model draws the storybook's world, which the oracle can read."""
    return (models.config.height, models.config.width) == (HEIGHT, WIDTH)


def drawn_stories(count: int, seed: int, num_prompts: int) -> list[Story]:
    """Stories of the storybook's world: each prompt changes the action, two of five something else too."""
    rng, stories = np.random.default_rng([seed, 33]), []
    for index in range(count):
        scenes = [random_scene(rng)]
        while len(scenes) < num_prompts:
            changes = CHANGES[(index + len(scenes)) % len(CHANGES)]
            new = {
                name: str(rng.choice([value for value in values if value != getattr(scenes[-1], name)]))
                for name, values in changes.items()
            }
            scenes.append(dataclasses.replace(scenes[-1], **new))
        prompts = tuple(caption(scene, rng, complete=True) for scene in scenes)
        stories.append(Story(prompts, seed * 100_003 + index, tuple(scenes)))
    return stories


def read_stories(path: Path, count: int, seed: int, num_prompts: int) -> list[Story]:
    """The first stories of a set such as assets/prompts/interactive_160x6.jsonl.

    Raises:
        ConfigError: if the file has too few, or is of another kind.
    """
    try:
        rows = [prompts_of_row(line.decode()) for line in read_lines(path) if line.strip()]
        texts = [tuple(map(str, prompts))[:num_prompts] for prompts in rows[:count]]
    except (OSError, ValueError) as error:
        rule = f'each line must be {{"prompts": […]}} ({reason_of(error)})'
        raise ConfigError(
            "--stories", str(path), rule, "Try assets/prompts/interactive_160x6.jsonl."
        ) from error
    if len(texts) < count or any(len(prompts) < num_prompts for prompts in texts):
        rule = f"it must hold {count} stories of {num_prompts} prompts"
        raise ConfigError("--stories", str(path), rule, "Ask for fewer with --prompts.")
    return [Story(prompts, seed * 100_003 + index) for index, prompts in enumerate(texts)]


def measure_stories(
    models: Mapping[str, ModelBundle],
    stories: Mapping[str, Sequence[Story]],
    *,
    segment_s: float,
    clip: tuple[str, str | None] | None,
    videos: Path | None,
    num_workers: int,
) -> Iterator[dict[str, Any]]:
    """The scores of each model by segment, its quality and consistency; the result so far after each story.

    Args:
        models: by their labels.
        stories: for each of them; all with as many prompts.
        segment_s: seconds of a prompt.
        clip: name and revision of the CLIP model; needed if a model does not draw the storybook's world.
        videos: folder in which the videos are kept, by model; None: nowhere.
        num_workers: processes.
    """
    by_clip = [label for label, bundle in models.items() if not draws_storybook(bundle)]
    prompts = [prompt for label in by_clip for story in stories[label] for prompt in story.prompts]
    facts = scorer(*clip).facts(prompts) if clip else None
    runs: list[dict[str, Any]] = []
    for label, bundle in models.items():
        own = stories[label]
        own_clip = clip if label in by_clip else None
        tasks = [
            StoryTask(
                bundle.folder,
                story,
                own[(number + 1) % len(own)],
                segment_s,
                own_clip,
                videos and videos / f"{label}_{number:03}.mp4",
            )
            for number, story in enumerate(own)
        ]
        found: list[dict[str, Any]] = []
        run: dict[str, Any] = {"model": label, "scored_by": "clip" if own_clip else "oracle"}
        for scores in map_in_workers(_score_story, tasks, num_workers, label):
            found.append(scores)
            so_far = [*runs, run | _summary(found, len(own) > 1)]
            yield {"segment_s": segment_s, "clip_model": facts, "runs": so_far}
        runs = so_far


def _summary(found: Sequence[dict[str, Any]], has_other: bool) -> dict[str, Any]:
    names = list(found[0]["segments"][0])
    segments = [
        {"segment": number + 1}
        | {name: estimate([story["segments"][number][name] for story in found]).as_json() for name in names}
        for number in range(len(found[0]["segments"]))
    ]
    over_segments = {
        f"mean_{name}": estimate(
            [float(np.mean([segment[name] for segment in story["segments"]])) for story in found]
        ).as_json()
        for name in names
        if has_other or not name.startswith("chance")
    }
    whole = {name: mean([story["video"][name] for story in found]).as_json() for name in found[0]["video"]}
    lost = [story["error"] for story in found if story["error"]]
    return {"stories": len(found), "videos_not_kept": lost, "segments": segments} | over_segments | whole


@torch.no_grad()
def _score_story(task: StoryTask) -> dict[str, Any]:
    """The scores of each segment of a video, and of the whole."""
    models = cached_models(task.folder)
    pictures, error = _generate(models, task)
    fps = models.config.fps
    frames = round(task.segment_s * fps)
    segments = []
    for number in range(len(task.story.prompts)):
        part = pictures[number * frames + round(LEFT_OUT_S * fps) : (number + 1) * frames]
        own, other = (_score(task, part, story, number, fps) for story in (task.story, task.other))
        segments.append(own | {f"chance_{name}": value for name, value in other.items()})
    return {
        "error": error,
        "segments": segments,
        "video": pixels.pixel_scores(pictures, fps) | network.network_scores(pictures, fps),
    }


def _generate(models: ModelBundle, task: StoryTask) -> tuple[Tensor, str | None]:
    """The video of a story, uint8 (F, 3, H, W), kept as a file if asked for; and why it could not be kept."""
    total = round(task.segment_s * models.config.fps) * len(task.story.prompts)
    chunks, current, count = [], 0, 0
    with Session(models, task.story.prompts[0], seed=task.story.seed) as session:
        while count < total:
            due = min(int(session.seconds // task.segment_s), len(task.story.prompts) - 1)
            if due != current:
                session.set_prompt(task.story.prompts[due])
                current = due
            chunks.append(session.next_chunk().until(total))
            count += len(chunks[-1].frames)
    error = None
    if task.video is not None:
        try:
            write_video(task.video, chunks, models.config.display_scale, encoder=models.runtime.encoder)
        except MediaError as reason:  # a full disk, say: it is scored all the same
            error = str(reason)
    pictures = torch.from_numpy(np.concatenate([chunk.frames for chunk in chunks]))
    return pictures.permute(0, 3, 1, 2), error


def _score(task: StoryTask, pictures: Tensor, story: Story, number: int, fps: float) -> Scores:
    if task.clip is not None:
        step = max(1, round(fps / clip_score.PICTURES_PER_SECOND))
        return {"clip_score": scorer(*task.clip).score(pictures[::step], story.prompts[number])}
    scene = story.scenes[number]
    readings = [
        read(piece) for piece in pictures.split(round(READ_S * fps)) if len(piece) >= READ_S * fps / 2
    ]
    right = np.array(
        [[getattr(one, name) == getattr(scene, name) for name in ATTRIBUTES] for one in readings]
    )
    return {"oracle_score": 100 * float(right.mean()), "oracle_all": 100 * float(right.all(1).mean())}


_scorers: dict[tuple[str, str | None], ClipScorer] = {}


def scorer(name: str, revision: str | None) -> ClipScorer:
    """The CLIP model, kept in this process for further tasks."""
    if (name, revision) not in _scorers:
        _scorers[name, revision] = ClipScorer(name, revision)
    return _scorers[name, revision]
