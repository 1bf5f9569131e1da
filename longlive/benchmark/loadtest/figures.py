"""What the viewers of a load test got, as figures: plain arithmetic on their logs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longlive.benchmark.loadtest.api_viewer import Arrival, Log, Sent
from longlive.benchmark.loadtest.assignments import Look, Verdict, ViewerProfile, judge, look_at
from longlive.benchmark.loadtest.browser import figures
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer
from longlive.benchmark.loadtest.virtual_player import STALL_S, VirtualPlayer

GETTING_IN_S = 3.0


@dataclass(frozen=True)
class ViewerResult:
    """What one viewer got; seconds, unless a name says otherwise.

    Attributes:
        viewer, asked: who, and for what.
        first_picture_s: from Start to the first picture, the time in line included; None if none came.
        seconds: watched, from the first picture on.
        stalls, longest_stall_s: pauses of more than 0.25 s, and the longest of all pauses.
        delay_p50_s, delay_p95_s, least_delay_s: from a segment's coming, once it plays, to its place on the
            screen; 0: it came too late.
        prompts, prompts_unseen, refusals: sent after the first; not seen before the end; refused, in words.
        prompt_to_screen_s: of each prompt, from sending to the first picture that was made of it.
        prompt_to_picture_s: of each prompt, to the first picture that shows the colour asked for.
        segments, pictures, pictures_lost: that came (in a browser: were shown); of the pictures, those that
            did not come (in a browser: holes in what it plays).
        asked_again: messages which came only when asked for.
        pictures_read, wrong_story_pictures, unlike_pictures: read; another viewer's; nobody's.
        told: in line: (seconds since Start, position, seconds it will take at most).
        false_positions, broken_waits: of those told, positions that were not so, waits that took longer.
        playhead_p95_s, unheard: how long the server took to take a word; words it did not take.
        notices, end, has_failed: words that came, the last of them, and whether it ended unasked.
    """

    viewer: str
    asked: str
    first_picture_s: float | None = None
    seconds: float = 0.0
    stalls: int = 0
    longest_stall_s: float = 0.0
    delay_p50_s: float | None = None
    delay_p95_s: float | None = None
    least_delay_s: float | None = None
    prompts: int = 0
    prompts_unseen: int = 0
    refusals: tuple[str, ...] = ()
    prompt_to_screen_s: tuple[float, ...] = ()
    prompt_to_picture_s: tuple[float, ...] = ()
    segments: int = 0
    pictures: int = 0
    pictures_lost: int = 0
    asked_again: int = 0
    pictures_read: int = 0
    wrong_story_pictures: int = 0
    unlike_pictures: int = 0
    told: tuple[tuple[float, int, float | None], ...] = ()
    false_positions: int = 0
    broken_waits: int = 0
    playhead_p95_s: float | None = None
    unheard: int = 0
    notices: tuple[str, ...] = ()
    end: str = ""
    has_failed: bool = False


def figures_of(
    viewer: str,
    profile: ViewerProfile,
    log: Log,
    player: VirtualPlayer,
    others: Sequence[tuple[ViewerProfile, Log]],
) -> ViewerResult:
    """The figures of a viewer whose stream has ended; its pictures are read here.

    Args:
        viewer: its name in the table.
        role, log, player: what it asked for, did and got.
        others: the roles and logs of all others.
    """
    if log.started_at is None or log.ended_at is None:
        return ViewerResult(viewer, str(profile), end="It never began.", has_failed=True)
    until = log.ended_at if log.left_at is None else log.left_at
    stalls = [stall.seconds for stall in player.stalls(until)]
    begun = player.shown_at(0.0)
    shown = [(one.at, _shown(player, one.start_s, until)) for one in log.arrivals]
    delays = [at - came for came, at in shown if at is not None and begun is not None and came > begun]
    looks = [look_at(one.data) if one.data else None for one in log.arrivals]
    verdict = read_story(profile, log.arrivals, looks, others)
    made, seen = prompt_delays(profile, log, player, looks, until)
    return ViewerResult(
        viewer=viewer,
        asked=str(profile),
        first_picture_s=None if log.first_at is None else round(log.first_at - log.started_at, 3),
        seconds=0.0 if log.first_at is None else round(until - log.first_at, 1),
        stalls=sum(stall > STALL_S for stall in stalls),
        longest_stall_s=round(max(stalls, default=0.0), 3),
        delay_p50_s=percentile(delays, 50),
        delay_p95_s=percentile(delays, 95),
        least_delay_s=percentile(delays, 0),
        prompts=len(log.sent),
        prompts_unseen=len(log.sent) - len(made),
        refusals=tuple(log.refused),
        prompt_to_screen_s=made,
        prompt_to_picture_s=seen,
        segments=len(log.arrivals),
        pictures=sum(one.num_frames for one in log.arrivals),
        pictures_lost=lost_pictures(log.arrivals),
        asked_again=log.asked_again,
        pictures_read=verdict.read,
        wrong_story_pictures=verdict.wrong,
        unlike_pictures=verdict.unlike,
        told=tuple((round(one.at - log.started_at, 1), one.position, one.wait_s) for one in log.told),
        false_positions=false_positions(log, [other for _, other in others]),
        broken_waits=broken_waits(log, until),
        playhead_p95_s=percentile(log.answers_s, 95),
        unheard=log.unheard,
        notices=tuple(log.notices),
        end=log.end,
        has_failed=log.has_failed,
    )


def figures_of_tab(
    viewer: str, tab: BrowserViewer, others: Sequence[tuple[ViewerProfile, Log]]
) -> ViewerResult:
    """The figures of a viewer in a browser, by what was on its screen."""
    profile, log, watching = tab.profile, tab.log, tab.watching
    if watching is None:
        return ViewerResult(viewer, str(profile), end=log.end or "It never began.", has_failed=True)
    seen = figures("live", watching, tab.fps)
    verdict = sum((judge(look, profile, [other for other, _ in others]) for look in tab.looks()), Verdict())
    return ViewerResult(
        viewer=viewer,
        asked=str(profile),
        first_picture_s=seen.first_picture_s,
        seconds=seen.seconds,
        stalls=seen.stalls,
        longest_stall_s=seen.longest_gap_s,
        prompts=len(watching.waits),
        prompt_to_screen_s=tuple(round(wait, 3) for wait in watching.waits),
        pictures=seen.pictures_shown,
        pictures_lost=watching.holes,
        pictures_read=verdict.read,
        wrong_story_pictures=verdict.wrong,
        unlike_pictures=verdict.unlike,
        end=log.end,
    )


def read_story(
    profile: ViewerProfile,
    arrivals: Sequence[Arrival],
    looks: Sequence[Look | None],
    others: Sequence[tuple[ViewerProfile, Log]],
) -> Verdict:
    """Whose story the pictures show: of those who had begun theirs by then.

    The pictures of a segment that was made of a prompt which is not one's own are all wrong.
    """
    verdict, own = Verdict(), {profile.prompt(turn) for turn in range(profile.num_prompts)}
    for arrival, look in zip(arrivals, looks, strict=True):
        if arrival.prompt not in own:
            verdict += Verdict(arrival.num_frames, wrong=arrival.num_frames)
        elif look is not None:
            verdict += judge(look, profile, [one for one, log in others if _has_begun(log, arrival.at)])
    return verdict


def _has_begun(log: Log, at: float) -> bool:
    return log.started_at is not None and log.started_at <= at


def prompt_delays(
    profile: ViewerProfile, log: Log, player: VirtualPlayer, looks: Sequence[Look | None], until: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """From each prompt to its first picture, and to the first that shows its colour, on the screen.

    Prompts whose picture was not shown before ``until`` are left out.
    """
    made, seen = [], []
    for sent in log.sent:
        own = [number for number, one in enumerate(log.arrivals) if _is_of(one, sent)]
        if not own or (shown := _shown(player, log.arrivals[own[0]].start_s, until)) is None:
            continue
        made.append(round(shown - sent.at, 3))
        second = _first_second(profile.colour(sent.turn), own, log.arrivals, looks)
        if second is not None and (shown := _shown(player, second, until)) is not None:
            seen.append(round(shown - sent.at, 3))
    return tuple(made), tuple(seen)


def lost_pictures(arrivals: Sequence[Arrival]) -> int:
    """How many of the pictures up to the last that came did not come."""
    came = {one.first_frame + number for one in arrivals for number in range(one.num_frames)}
    return max(came) + 1 - len(came) if came else 0


def false_positions(log: Log, others: Sequence[Log]) -> int:
    """How many of the positions told in line were not so: 1 and all who came before and were not yet in.

    Between a wait's end and the first picture lie up to ``GETTING_IN_S`` seconds, in which both are true.
    """
    assert log.started_at is not None
    before = [other for other in others if other.started_at and other.started_at < log.started_at]

    def position(at: float) -> int:
        return 1 + sum((other.first_at or other.ended_at or at + 1) > at for other in before)

    return sum(
        not position(told.at + GETTING_IN_S) <= told.position <= position(told.at - GETTING_IN_S)
        for told in log.told
    )


def broken_waits(log: Log, until: float) -> int:
    """How many of the waits told in line were shorter than what was left to wait (here up to ``until``)."""
    came = until if log.first_at is None else log.first_at
    waits = [(came - told.at, told.wait_s) for told in log.told if told.wait_s is not None]
    return sum(left > wait_s + GETTING_IN_S for left, wait_s in waits)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` percent lie, to a thousandth; None if there are none."""
    return round(float(np.percentile(values, share)), 3) if len(values) else None


def _shown(player: VirtualPlayer, second: float, until: float) -> float | None:
    shown = player.shown_at(second)
    return shown if shown is not None and shown <= until else None


def _is_of(arrival: Arrival, sent: Sent) -> bool:
    return arrival.at > sent.at and arrival.prompt == sent.text


def _first_second(
    colour: str, numbers: Sequence[int], arrivals: Sequence[Arrival], looks: Sequence[Look | None]
) -> float | None:
    """The second of the first picture of this colour among some segments."""
    for number in numbers:
        look, arrival = looks[number], arrivals[number]
        if look is not None and colour in look.colours:
            return arrival.start_s + look.colours.index(colour) / arrival.fps
    return None
