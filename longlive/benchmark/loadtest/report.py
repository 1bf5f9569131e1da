"""The result of a load test: figures of all viewers together, as JSON, and as a table."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from longlive.benchmark.loadtest.figures import ViewerResult
from longlive.benchmark.loadtest.plan import Plan
from longlive.benchmark.loadtest.virtual_player import STALL_S
from longlive.benchmark.loadtest.watching.watchers_result import WatchersResult
from longlive.benchmark.statistics import percentile
from longlive.runtime.environment import device_name, git_revision, processor_name, versions


@dataclass(frozen=True)
class LoadTestResult:
    """What a load test found, for all viewers together and for each.

    Attributes:
        plan: the load.
        stalls, longest_stall_s, min_delay_s: as for one viewer.
        first_picture_p50_s, first_picture_p95_s: of viewers who did not wait in the queue.
        prompts, unseen_prompts: sent; of those, not seen.
        prompt_to_screen_p50_s, prompt_to_screen_p95_s: of all prompts that were seen.
        prompt_to_picture_p50_s, prompt_to_picture_p95_s: the same, by the colours of the pictures.
        pictures, lost_pictures, read_pictures, wrong_pictures, unrecognized_pictures: of all viewers.
        queued, served: viewers who were sent a queue position; viewers who got pictures.
        wrong_positions, exceeded_waits: of what was sent to those who waited.
        failed: runs that ended otherwise than the viewer wanted.
        model, executor, health: from ``/health``; each status that it had.
        min_capacity, max_capacity: viewers that the app said it could serve.
        drops, refused_drops: clients that abandoned their run; those that were refused.
        seconds: the test took.
        longest_step_s: the longest time in which no viewer was stepped: the test's own delay.
        load_cpu_share: processor cores that the test itself used, browsers left out.
        load_average: of this machine over the minute before the test.
        viewers: the result of each.
        watchers: what those who watched along got; None if there were none.
    """

    url: str
    plan: Plan
    stalls: int
    longest_stall_s: float
    min_delay_s: float | None
    first_picture_p50_s: float | None
    first_picture_p95_s: float | None
    prompts: int
    unseen_prompts: int
    prompt_to_screen_p50_s: float | None
    prompt_to_screen_p95_s: float | None
    prompt_to_picture_p50_s: float | None
    prompt_to_picture_p95_s: float | None
    pictures: int
    lost_pictures: int
    read_pictures: int
    wrong_pictures: int
    unrecognized_pictures: int
    queued: int
    served: int
    wrong_positions: int
    exceeded_waits: int
    failed: int
    model: str | None
    executor: str | None
    health: tuple[str, ...]
    min_capacity: int | None
    max_capacity: int | None
    drops: int
    refused_drops: int
    seconds: float
    longest_step_s: float
    load_cpu_share: float
    load_average: float
    viewers: tuple[ViewerResult, ...]
    watchers: WatchersResult | None = None


def combine(url: str, plan: Plan, viewers: Sequence[ViewerResult], **facts: Any) -> LoadTestResult:
    """Combine the results of all viewers; ``facts`` are the fields that no viewer knows."""
    firsts = [
        one.first_picture_s for one in viewers if one.first_picture_s is not None and not one.queue_updates
    ]
    to_screen = [delay for one in viewers for delay in one.prompt_to_screen_s]
    to_picture = [delay for one in viewers for delay in one.prompt_to_picture_s]
    return LoadTestResult(
        url=url,
        plan=plan,
        stalls=sum(one.stalls for one in viewers),
        longest_stall_s=max(one.longest_stall_s for one in viewers),
        min_delay_s=min((one.min_delay_s for one in viewers if one.min_delay_s is not None), default=None),
        first_picture_p50_s=percentile(firsts, 50),
        first_picture_p95_s=percentile(firsts, 95),
        prompts=sum(one.prompts for one in viewers),
        unseen_prompts=sum(one.unseen_prompts for one in viewers),
        prompt_to_screen_p50_s=percentile(to_screen, 50),
        prompt_to_screen_p95_s=percentile(to_screen, 95),
        prompt_to_picture_p50_s=percentile(to_picture, 50),
        prompt_to_picture_p95_s=percentile(to_picture, 95),
        pictures=sum(one.pictures for one in viewers),
        lost_pictures=sum(one.lost_pictures for one in viewers),
        read_pictures=sum(one.read_pictures for one in viewers),
        wrong_pictures=sum(one.wrong_pictures for one in viewers),
        unrecognized_pictures=sum(one.unrecognized_pictures for one in viewers),
        queued=sum(bool(one.queue_updates) for one in viewers),
        served=sum(one.first_picture_s is not None for one in viewers),
        wrong_positions=sum(one.wrong_positions for one in viewers),
        exceeded_waits=sum(one.exceeded_waits for one in viewers),
        failed=sum(one.has_failed for one in viewers),
        viewers=tuple(viewers),
        **facts,
    )


def as_json(result: LoadTestResult) -> dict[str, Any]:
    """The result with the date, the machine, the versions and the revision."""
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
    "min_delay_s": "min",
    "prompts": "prompts",
    "pictures": "pictures",
    "lost_pictures": "lost",
    "read_pictures": "read",
    "wrong_pictures": "wrong",
    "unrecognized_pictures": "unrecog.",
}


def table(result: LoadTestResult) -> str:
    """The result as text: all viewers together, one row for each, and remarks on each."""
    apart = ("plan", "viewers", "watchers", "url")
    facts = {name: value for name, value in vars(result).items() if name not in apart}
    lines = _rows(facts)
    if result.watchers is not None:
        lines += ["", "those who watched along", *_rows(vars(result.watchers))]
    lines += ["", "".join(f"{head:>10}" for head in _COLUMNS.values()) + "  profile"]
    for one in result.viewers:
        cells = [getattr(one, name) for name in _COLUMNS]
        row = "".join(f"{'-' if cell is None else cell:>10}" for cell in cells)
        lines.append(f"{row}  {one.profile}")
    for one in result.viewers:
        lines += _remarks(one)
    if result.longest_step_s > STALL_S:
        lines.append(
            f"The load test itself was held up for {result.longest_step_s:.1f} s: "
            "this machine is busy, and some stalls may be the test's own."
        )
    return "\n".join(lines)


def _rows(facts: dict[str, Any]) -> list[str]:
    return [f"{name:<24} {'-' if value is None else value}" for name, value in facts.items()]


def _remarks(one: ViewerResult) -> list[str]:
    """Refusals, queue positions and notices of a viewer, and how it ended if that was not wanted."""
    lines = [f"{one.viewer} refused: {message}" for message in one.refusals]
    if one.queue_updates:
        (_, first, wait_s), *_ = one.queue_updates
        longest = "" if wait_s is None else f", at most {wait_s:.0f} s"
        actual = (
            "no picture came"
            if one.first_picture_s is None
            else f"first picture after {one.first_picture_s:.1f} s"
        )
        positions = ", ".join(f"{position} at {at:.0f} s" for at, position, _ in one.queue_updates)
        lines.append(f"{one.viewer} queue position {first}{longest}; {actual} ({positions})")
    elif one.notices:
        lines.append(f"{one.viewer} notices: {' / '.join(dict.fromkeys(one.notices))}")
    if one.has_failed:
        lines.append(f"{one.viewer} ended: {one.end}")
    return lines
