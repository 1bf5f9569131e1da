"""What a load gave to all viewers together: as figures, as JSON, and as lines for people."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from longlive.benchmark.loadtest.figures import ViewerResult, percentile
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.virtual_player import STALL_S
from longlive.runtime.environment import device_name, git_revision, processor_name, versions


@dataclass(frozen=True)
class Result:
    """What a load gave to all viewers together, and to each.

    Attributes:
        plan: the load.
        stalls, longest_stall_s, least_delay_s: as for one viewer.
        first_picture_p50_s, first_picture_p95_s: of those who did not wait in line.
        prompt_to_screen_p50_s, prompt_to_screen_p95_s: of all prompts that were seen; ``prompts`` were sent.
        prompt_to_picture_p50_s, prompt_to_picture_p95_s: the same, as the colours of the pictures tell it.
        pictures, pictures_lost, pictures_read, wrong_story_pictures, unlike_pictures: of all viewers.
        waited, got_in: viewers who were told a position in line; of all who came, who got pictures.
        false_positions, broken_waits: told to those who waited.
        failed: stories that ended otherwise than asked.
        model, carrier, health: as the app tells of itself; each status that it had.
        least_room, most_room: viewers that it said it could feed.
        drops, drops_refused: visitors who started a story and were gone; those who were not let in.
        seconds: that it took.
        longest_step_s: the longest time in which nobody looked after the viewers: the load test's own delay.
        load_cpu_share: processors that the load test itself kept busy, browsers left out.
        load_average: of this machine before, over a minute: what others make it do.
        watched: by viewer.
    """

    url: str
    plan: Plan
    stalls: int
    longest_stall_s: float
    least_delay_s: float | None
    first_picture_p50_s: float | None
    first_picture_p95_s: float | None
    prompts: int
    prompts_unseen: int
    prompt_to_screen_p50_s: float | None
    prompt_to_screen_p95_s: float | None
    prompt_to_picture_p50_s: float | None
    prompt_to_picture_p95_s: float | None
    pictures: int
    pictures_lost: int
    pictures_read: int
    wrong_story_pictures: int
    unlike_pictures: int
    waited: int
    got_in: int
    false_positions: int
    broken_waits: int
    failed: int
    model: str | None
    carrier: str | None
    health: tuple[str, ...]
    least_room: int | None
    most_room: int | None
    drops: int
    drops_refused: int
    seconds: float
    longest_step_s: float
    load_cpu_share: float
    load_average: float
    watched: tuple[ViewerResult, ...]


def total(url: str, plan: Plan, watched: Sequence[ViewerResult], **facts: Any) -> Result:
    """The figures of all viewers as one, with the ``facts`` of Result that no viewer knows."""
    firsts = [one.first_picture_s for one in watched if one.first_picture_s is not None and not one.told]
    screens = [delay for one in watched for delay in one.prompt_to_screen_s]
    pictures = [delay for one in watched for delay in one.prompt_to_picture_s]
    return Result(
        url=url,
        plan=plan,
        stalls=sum(one.stalls for one in watched),
        longest_stall_s=max(one.longest_stall_s for one in watched),
        least_delay_s=min(
            (one.least_delay_s for one in watched if one.least_delay_s is not None), default=None
        ),
        first_picture_p50_s=percentile(firsts, 50),
        first_picture_p95_s=percentile(firsts, 95),
        prompts=sum(one.prompts for one in watched),
        prompts_unseen=sum(one.prompts_unseen for one in watched),
        prompt_to_screen_p50_s=percentile(screens, 50),
        prompt_to_screen_p95_s=percentile(screens, 95),
        prompt_to_picture_p50_s=percentile(pictures, 50),
        prompt_to_picture_p95_s=percentile(pictures, 95),
        pictures=sum(one.pictures for one in watched),
        pictures_lost=sum(one.pictures_lost for one in watched),
        pictures_read=sum(one.pictures_read for one in watched),
        wrong_story_pictures=sum(one.wrong_story_pictures for one in watched),
        unlike_pictures=sum(one.unlike_pictures for one in watched),
        waited=sum(bool(one.told) for one in watched),
        got_in=sum(one.first_picture_s is not None for one in watched),
        false_positions=sum(one.false_positions for one in watched),
        broken_waits=sum(one.broken_waits for one in watched),
        failed=sum(one.has_failed for one in watched),
        watched=tuple(watched),
        **facts,
    )


def as_json(result: Result) -> dict[str, Any]:
    """The result, and where it comes from."""
    return asdict(result) | {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(torch.device("cpu")),
        "processor": processor_name(),
        "versions": versions() | {name: metadata.version(name) for name in ("gradio", "gradio_client")},
        "git_revision": git_revision(),
    }


_COLUMNS = {
    "viewer": "viewer",
    "first_picture_s": "first s",
    "seconds": "seconds",
    "stalls": "stalls",
    "longest_stall_s": "longest",
    "delay_p50_s": "delay",
    "least_delay_s": "least",
    "prompts": "prompts",
    "pictures": "pictures",
    "pictures_lost": "lost",
    "pictures_read": "read",
    "wrong_story_pictures": "wrong",
    "unlike_pictures": "unlike",
}


def table(result: Result) -> str:
    """The result as lines for people: all viewers as one, each by itself, and what was told in line."""
    apart = ("plan", "watched", "url")
    facts = {name: value for name, value in vars(result).items() if name not in apart}
    lines = [f"{name:<24} {'-' if value is None else value}" for name, value in facts.items()]
    lines += ["", "".join(f"{head:>10}" for head in _COLUMNS.values()) + "  asked for"]
    for one in result.watched:
        cells = [getattr(one, name) for name in _COLUMNS]
        row = "".join(f"{'-' if cell is None else cell:>10}" for cell in cells)
        lines.append(f"{row}  {one.asked}")
    for one in result.watched:
        lines += _remarks(one)
    if result.longest_step_s > STALL_S:
        held_up = f"{result.longest_step_s:.1f} s: this machine is busy, and stalls may be of its own making"
        lines.append(f"The load test itself was held up for {held_up}.")
    return "\n".join(lines)


def _remarks(one: ViewerResult) -> list[str]:
    """What a viewer was told, and how it ended if nobody asked for that."""
    lines = [f"{one.viewer} refused: {words}" for words in one.refusals]
    if one.told:
        (_, first, wait_s), *_ = one.told
        promised = "" if wait_s is None else f", at most {wait_s:.0f} s"
        real = (
            "no picture came"
            if one.first_picture_s is None
            else f"the first picture after {one.first_picture_s:.1f} s"
        )
        places = ", ".join(f"{position} at {at:.0f} s" for at, position, _ in one.told)
        lines.append(f"{one.viewer} in line: {first}{promised}; {real} ({places})")
    elif one.notices:
        lines.append(f"{one.viewer} was told: {' / '.join(dict.fromkeys(one.notices))}")
    if one.has_failed:
        lines.append(f"{one.viewer} ended: {one.end}")
    return lines
