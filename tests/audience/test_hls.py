"""Playlists: what they list, what they never take back, and segments that play."""

import io
import re

import av
import pytest

from longlive.audience import hls
from longlive.audience.hls import MAX_KEPT, WINDOW, HlsPlaylist, HlsPlaylists
from longlive.serving.scheduler import RunStatus
from tests.support.settled_runs import FRAMES, SettledRun


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls, "MIN_INTERVAL_S", 0.0)


def names(playlist: HlsPlaylist) -> list[str]:
    return re.findall(r"^room/(.+)\.ts$", playlist.text(), re.MULTILINE)


def value(playlist: HlsPlaylist, tag: str) -> int:
    return int(re.findall(rf"^#EXT-X-{tag}:(\d+)$", playlist.text(), re.MULTILINE)[0])


def test_a_playlist_lists_what_has_settled_and_ends_with_the_run() -> None:
    run = SettledRun()
    run.make(3)
    playlist = HlsPlaylist(run.audience())
    assert playlist.update() and [name.split("-")[0] for name in names(playlist)] == ["0"]
    assert value(playlist, "TARGETDURATION") == 1 and "#EXTINF:0.75000,\n" in playlist.text()
    assert value(playlist, "MEDIA-SEQUENCE") == playlist.next_number - 1
    first = names(playlist)
    assert not playlist.update(), "nothing new"
    run.status = RunStatus.FINISHED
    assert playlist.update() and playlist.is_over
    assert names(playlist)[:1] == first and playlist.text().endswith("\n#EXT-X-ENDLIST\n")


def test_segments_are_one_video_of_all_pictures_in_time() -> None:
    run = SettledRun(position=99.0)
    run.make(5)
    playlist = HlsPlaylist(run.audience())
    playlist.update()
    joined = b"".join(playlist.segment(name) or b"" for name in names(playlist))
    with av.open(io.BytesIO(joined), format="mpegts") as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert times == pytest.approx([number / 16 for number in range(5 * FRAMES)])
    counters = [packet[3] & 15 for packet in re.findall(b"(?s).{188}", joined) if packet[1] & 31 == 1]
    assert counters == [number % 16 for number in range(len(counters))], "no packet is missing"


def test_the_window_slides_and_old_segments_can_be_fetched_for_a_while() -> None:
    run = SettledRun(position=999.0)
    playlist = HlsPlaylist(run.audience())
    seen: dict[str, bytes] = {}
    for count in range(1, MAX_KEPT + 4):
        run.make()
        assert playlist.update()
        assert len(names(playlist)) == min(count, WINDOW)
        seen |= {name: playlist.segment(name) or b"" for name in names(playlist)}
    assert value(playlist, "MEDIA-SEQUENCE") == playlist.next_number - WINDOW
    assert value(playlist, "DISCONTINUITY-SEQUENCE") > 0 and "#EXT-X-DISCONTINUITY\n" not in playlist.text()
    kept = [name for name in seen if playlist.segment(name) is not None]
    assert kept == list(seen)[-MAX_KEPT:] and all(playlist.segment(name) == seen[name] for name in kept)


def test_names_change_with_the_bytes_and_the_sequence_never_goes_back() -> None:
    run = SettledRun(position=2.5)
    run.make(4)
    playlist = HlsPlaylist(run.audience())
    playlist.update()
    before, number = names(playlist), playlist.next_number
    del run.chunks[2:]
    run.make(2, grey=90)
    playlist.update()
    assert names(playlist)[:4] == before and playlist.next_number == number + 2
    assert len(set(names(playlist))) == 6
    assert playlist.text().count("#EXT-X-DISCONTINUITY\n") == 1


def test_the_next_run_of_a_room_follows_after_a_discontinuity() -> None:
    first, second = SettledRun(position=9.0, status=RunStatus.FINISHED), SettledRun(position=99.0)
    first.make(2), second.make(WINDOW - 1, grey=90)
    audience = first.audience()
    audience.goes_on = True
    playlist = HlsPlaylist(audience)
    playlist.update()
    assert "ENDLIST" not in playlist.text()
    counted = value(playlist, "DISCONTINUITY-SEQUENCE")
    audience.run = second.as_run()
    playlist.update()
    last, *rest = playlist.text().split("#EXT-X-DISCONTINUITY\n")
    assert "room/1-" in last and "room/0-" in rest[0] and value(playlist, "DISCONTINUITY-SEQUENCE") == counted
    second.make()
    playlist.update()
    assert "#EXT-X-DISCONTINUITY\n" in playlist.text(), "before the first segment that is listed"
    assert value(playlist, "DISCONTINUITY-SEQUENCE") == counted
    second.make()
    playlist.update()
    assert "#EXT-X-DISCONTINUITY\n" not in playlist.text()
    assert value(playlist, "DISCONTINUITY-SEQUENCE") == counted + 1


def test_a_playlist_that_nobody_reads_goes_on_at_the_live_edge() -> None:
    run = SettledRun(position=99.0)
    run.make(2)
    playlist = HlsPlaylist(run.audience())
    playlist.update()
    number = playlist.next_number
    run.make(3 * WINDOW)
    playlist.update()
    assert len(names(playlist)) == WINDOW and playlist.next_number == number + 3 * WINDOW
    assert names(playlist)[0].startswith(f"{2 + 2 * WINDOW}-")


def test_the_dates_go_on_with_the_video_and_jump_where_the_viewer_has_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1.8e9
    monkeypatch.setattr(hls.time, "time", lambda: now)
    run = SettledRun(position=0.8)
    run.make(3)
    playlist = HlsPlaylist(run.audience())
    playlist.update()
    now, run.position = now + 30.9, 1.6
    playlist.update()
    dates = re.findall("DATE-TIME:.*T(.*)Z", playlist.text())
    assert dates == ["07:59:59.200", "07:59:59.950", "08:00:30.800"]


def test_a_damaged_file_leaves_a_gap() -> None:
    run = SettledRun(position=0.8)
    run.make(3)
    good = run.chunks[1].segments
    object.__setattr__(good[0], "data", b"no video")
    playlist = HlsPlaylist(run.audience())
    playlist.update()
    assert names(playlist) == []
    run.position = 1.6
    playlist.update()
    assert [name[:2] for name in names(playlist)] == ["2-"]


def test_an_audience_has_one_playlist_as_long_as_it_is_open() -> None:
    playlists, audience, other = HlsPlaylists(), SettledRun().audience(), SettledRun().audience()
    playlist = playlists.of(audience)
    assert playlists.of(audience) is playlist is not playlists.of(other)
    audience.is_open = False
    playlists.of(other)
    assert playlists.of(audience) is not playlist
