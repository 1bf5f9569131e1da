"""The figures of each viewer of a load test, computed from its log."""

from collections.abc import Sequence
from dataclasses import dataclass

from longlive.benchmark.loadtest.assignments import (
    PictureContent,
    PictureCounts,
    ViewerProfile,
    count_pictures,
    read_segment,
)
from longlive.benchmark.loadtest.browser import summarize
from longlive.benchmark.loadtest.browser_viewer import BrowserViewer
from longlive.benchmark.loadtest.viewer_log import Arrival, SentPrompt, ViewerLog
from longlive.benchmark.loadtest.virtual_player import STALL_S, VirtualPlayer
from longlive.benchmark.statistics import percentile

ADMISSION_S = 3.0

Others = Sequence[tuple[ViewerProfile, ViewerLog]]


@dataclass(frozen=True)
class ViewerResult:
    """What one viewer got; in seconds, unless a name says otherwise.

    Attributes:
        viewer, profile: its name, and what it asked for.
        first_picture_s: from Start to the first picture, time in the queue included; None if none came.
        seconds: watched, from the first picture on.
        stalls, longest_stall_s: pauses of more than 0.25 s, and the longest of all pauses.
        delay_p50_s, delay_p95_s, min_delay_s: from a segment's arrival during playback to its turn on the
        screen;
            0 if it came too late.
        prompts, unseen_prompts: sent after the first; of those, not shown before the end.
        refusals: error messages of prompts that were refused.
        prompt_to_screen_s: for each prompt, from sending to the first picture that was made from it.
        prompt_to_picture_s: for each prompt, to the first picture that shows the colour asked for.
        segments, pictures, lost_pictures: that came (in a browser: were shown); pictures that did not come
            (in a browser: gaps in its buffer).
        replayed_messages: messages that came only when asked for.
        read_pictures, wrong_pictures, unrecognized_pictures: read; of another viewer's video; of nobody's.
        queue_updates: (seconds since Start, position, longest wait in seconds or None) that it was sent.
        wrong_positions, exceeded_waits: of those, positions that were wrong, and waits that took longer.
        playhead_p95_s, rejected_playheads: how long the server took to answer a report of the playhead;
        reports
            that it did not accept.
        notices, end, has_failed: messages that came, the last one, and whether the run ended unasked.
    """

    viewer: str
    profile: str
    first_picture_s: float | None = None
    seconds: float = 0.0
    stalls: int = 0
    longest_stall_s: float = 0.0
    delay_p50_s: float | None = None
    delay_p95_s: float | None = None
    min_delay_s: float | None = None
    prompts: int = 0
    unseen_prompts: int = 0
    refusals: tuple[str, ...] = ()
    prompt_to_screen_s: tuple[float, ...] = ()
    prompt_to_picture_s: tuple[float, ...] = ()
    segments: int = 0
    pictures: int = 0
    lost_pictures: int = 0
    replayed_messages: int = 0
    read_pictures: int = 0
    wrong_pictures: int = 0
    unrecognized_pictures: int = 0
    queue_updates: tuple[tuple[float, int, float | None], ...] = ()
    wrong_positions: int = 0
    exceeded_waits: int = 0
    playhead_p95_s: float | None = None
    rejected_playheads: int = 0
    notices: tuple[str, ...] = ()
    end: str = ""
    has_failed: bool = False


def result_of(
    viewer: str, profile: ViewerProfile, log: ViewerLog, player: VirtualPlayer, others: Others
) -> ViewerResult:
    """The result of an API viewer whose stream has ended; its pictures are decoded here.

    Args:
        viewer: its name in the table.
        profile, log, player: what it asked for, did and got.
        others: profiles and logs of all other viewers.
    """
    if log.started_at is None or log.ended_at is None:
        return ViewerResult(viewer, str(profile), end="It never started.", has_failed=True)
    until = log.ended_at if log.left_at is None else log.left_at
    stalls = [stall.seconds for stall in player.stalls(until)]
    playing_at = player.shown_at(0.0)
    shown = [(one.at, _shown_at(player, one.start_s, until)) for one in log.arrivals]
    delays = [
        at - came for came, at in shown if at is not None and playing_at is not None and came > playing_at
    ]
    contents = [read_segment(one.data) if one.data else None for one in log.arrivals]
    counts = check_pictures(profile, log.arrivals, contents, others)
    to_screen, to_picture = prompt_delays(profile, log, player, contents, until)
    return ViewerResult(
        viewer=viewer,
        profile=str(profile),
        first_picture_s=None if log.first_at is None else round(log.first_at - log.started_at, 3),
        seconds=0.0 if log.first_at is None else round(until - log.first_at, 1),
        stalls=sum(stall > STALL_S for stall in stalls),
        longest_stall_s=round(max(stalls, default=0.0), 3),
        delay_p50_s=percentile(delays, 50),
        delay_p95_s=percentile(delays, 95),
        min_delay_s=percentile(delays, 0),
        prompts=len(log.sent),
        unseen_prompts=len(log.sent) - len(to_screen),
        refusals=tuple(log.refusals),
        prompt_to_screen_s=to_screen,
        prompt_to_picture_s=to_picture,
        segments=len(log.arrivals),
        pictures=sum(one.num_frames for one in log.arrivals),
        lost_pictures=lost_pictures(log.arrivals),
        replayed_messages=log.replayed,
        read_pictures=counts.read,
        wrong_pictures=counts.wrong,
        unrecognized_pictures=counts.unrecognized,
        queue_updates=tuple(
            (round(one.at - log.started_at, 1), one.position, one.wait_s) for one in log.queue_updates
        ),
        wrong_positions=wrong_positions(log, [other for _, other in others]),
        exceeded_waits=exceeded_waits(log, until),
        playhead_p95_s=percentile(log.playhead_latencies_s, 95),
        rejected_playheads=log.rejected_playheads,
        notices=tuple(log.notices),
        end=log.end,
        has_failed=log.has_failed,
    )


def result_of_browser(name: str, viewer: BrowserViewer, others: Others) -> ViewerResult:
    """The result of a viewer in a browser, by what was on its screen."""
    profile, log, recording = viewer.profile, viewer.log, viewer.recording
    if recording is None:
        return ViewerResult(name, str(profile), end=log.end or "It never started.", has_failed=True)
    figures = summarize("live", recording, viewer.fps)
    profiles = [other for other, _ in others]
    counts = sum(
        (count_pictures(content, profile, profiles) for content in viewer.contents()), PictureCounts()
    )
    return ViewerResult(
        viewer=name,
        profile=str(profile),
        first_picture_s=figures.first_picture_s,
        seconds=figures.seconds,
        stalls=figures.stalls,
        longest_stall_s=figures.longest_gap_s,
        prompts=len(recording.waits_s),
        prompt_to_screen_s=tuple(round(wait_s, 3) for wait_s in recording.waits_s),
        pictures=figures.pictures_shown,
        lost_pictures=recording.gaps,
        read_pictures=counts.read,
        wrong_pictures=counts.wrong,
        unrecognized_pictures=counts.unrecognized,
        end=log.end,
    )


def check_pictures(
    profile: ViewerProfile,
    arrivals: Sequence[Arrival],
    contents: Sequence[PictureContent | None],
    others: Others,
) -> PictureCounts:
    """Count whose video the segments show, among the viewers who had started by then.

    All pictures of a segment that was made from a prompt which this viewer did not send are wrong.
    """
    counts, own = PictureCounts(), {profile.prompt(turn) for turn in range(profile.num_prompts)}
    for arrival, content in zip(arrivals, contents, strict=True):
        if arrival.prompt not in own:
            counts += PictureCounts(arrival.num_frames, wrong=arrival.num_frames)
        elif content is not None:
            started = [one for one, log in others if _has_started(log, arrival.at)]
            counts += count_pictures(content, profile, started)
    return counts


def _has_started(log: ViewerLog, at: float) -> bool:
    return log.started_at is not None and log.started_at <= at


def prompt_delays(
    profile: ViewerProfile,
    log: ViewerLog,
    player: VirtualPlayer,
    contents: Sequence[PictureContent | None],
    until: float,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds from each prompt to its first picture on the screen, and to the first that shows its colour.

    Prompts whose picture was not shown before ``until`` are left out.
    """
    to_screen, to_picture = [], []
    for sent in log.sent:
        numbers = [number for number, one in enumerate(log.arrivals) if _is_of(one, sent)]
        if not numbers:
            continue
        shown_at = _shown_at(player, log.arrivals[numbers[0]].start_s, until)
        if shown_at is None:
            continue
        to_screen.append(round(shown_at - sent.at, 3))
        second = _first_second(profile.colour(sent.turn), numbers, log.arrivals, contents)
        if second is not None and (shown_at := _shown_at(player, second, until)) is not None:
            to_picture.append(round(shown_at - sent.at, 3))
    return tuple(to_screen), tuple(to_picture)


def lost_pictures(arrivals: Sequence[Arrival]) -> int:
    """How many of the pictures up to the last that came did not come."""
    came = {one.first_frame + number for one in arrivals for number in range(one.num_frames)}
    return max(came) + 1 - len(came) if came else 0


def wrong_positions(log: ViewerLog, others: Sequence[ViewerLog]) -> int:
    """How many queue positions were wrong: other than 1 plus those who started before and had no picture yet.

    Up to ``ADMISSION_S`` seconds lie between leaving the queue and the first picture; in that time both the
    old and the new position count as right.
    """
    assert log.started_at is not None
    before = [other for other in others if other.started_at and other.started_at < log.started_at]

    def position(at: float) -> int:
        return 1 + sum((other.first_at or other.ended_at or at + 1) > at for other in before)

    return sum(
        not position(update.at + ADMISSION_S) <= update.position <= position(update.at - ADMISSION_S)
        for update in log.queue_updates
    )


def exceeded_waits(log: ViewerLog, until: float) -> int:
    """How many of the longest waits were exceeded by more than ``ADMISSION_S``, counted up to ``until``."""
    came = until if log.first_at is None else log.first_at
    waits = [(came - one.at, one.wait_s) for one in log.queue_updates if one.wait_s is not None]
    return sum(waited > wait_s + ADMISSION_S for waited, wait_s in waits)


def _shown_at(player: VirtualPlayer, second: float, until: float) -> float | None:
    at = player.shown_at(second)
    return at if at is not None and at <= until else None


def _is_of(arrival: Arrival, sent: SentPrompt) -> bool:
    return arrival.at > sent.at and arrival.prompt == sent.text


def _first_second(
    colour: str,
    numbers: Sequence[int],
    arrivals: Sequence[Arrival],
    contents: Sequence[PictureContent | None],
) -> float | None:
    """The second of the video at which one of these segments first shows this colour."""
    for number in numbers:
        content, arrival = contents[number], arrivals[number]
        if content is not None and colour in content.colours:
            return arrival.start_s + content.colours.index(colour) / arrival.fps
    return None
