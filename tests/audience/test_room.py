"""The room plays by itself, takes what was voted for, rests, and goes on in the next run and process."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from longlive.audience.audience import Audiences
from longlive.audience.room import Adapt, Room
from longlive.audience.room_options import RoomOptions
from longlive.audience.room_player import last_pictures
from longlive.errors import PromptError
from longlive.generation.storyboard import Scene
from longlive.prompts import PromptText
from longlive.serving.scheduler import RunStatus
from tests.support.fakes import FakeModels, make_engine, read_card
from tests.support.hand_clock import HandClock
from tests.support.run_reader import wait_for

SCENES = (Scene(0, "a ball"), Scene(1, "a box"))


def same(text: PromptText) -> PromptText:
    return text


class Stage:
    """A room over test cards, whose rounds go by a clock that stands still."""

    def __init__(self, folder: Path | None = None, streams: int = 4, adapt: Adapt = same, **options: Any):
        self.clock = HandClock()
        models = FakeModels(chunk_s=0.01, streams=streams)
        self.engine = make_engine(models, folder=folder, max_queue_size=1)
        asked = RoomOptions(**{"scenes": SCENES} | options)
        self.room = Room(self.engine, asked, clock=self.clock, adapt=adapt)

    def play_until(self, condition: Callable[[], object]) -> None:
        """Tick as the room's thread would, until something is so."""

        def is_so() -> bool:
            self.room.tick()
            return bool(condition())

        wait_for(is_so)

    def end_round(self) -> None:
        self.clock.now += 20
        self.room.tick()

    @property
    def prompts(self) -> list[str]:
        """The prompts that made what is stored."""
        return list(dict.fromkeys(one.prompt for one in self.room.run.store.segments()))


@contextmanager
def stage(folder: Path | None = None, **more: Any) -> Iterator[Stage]:
    found = Stage(folder, **more)
    try:
        yield found
    finally:
        found.room.close()
        found.engine.close()


def test_the_room_plays_by_itself_and_takes_what_was_voted_for() -> None:
    with stage() as one, one.room.join():
        one.play_until(lambda: one.room.run.end_s > 1)
        assert one.room.describe()["round"] | {"ends_at": 0} == {"number": 1, "seconds": 20, "ends_at": 0}
        number = one.room.propose("anna", "1", "a red star").number
        assert one.room.describe()["proposals"] == [{"number": number, "text": "a red star", "votes": 1}]
        one.end_round()
        described = one.room.describe()
        assert described["chosen"] == {"text": "a red star", "votes": 1} and not described["proposals"]
        assert "anna" not in json.dumps(described) and one.room.run.token not in json.dumps(described)
        one.play_until(lambda: "a red star" in one.prompts)
        one.end_round()
        one.play_until(lambda: "a box" in one.prompts)
        assert one.prompts == ["a ball", "a red star", "a box"]
        assert one.room.run.presence.clock.reported_at is not None, "its player reports"


def test_a_room_that_nobody_watches_rests_and_goes_on_when_somebody_comes() -> None:
    with stage(rest_s=60) as one:
        one.play_until(lambda: one.room.run.end_s > 1)
        one.clock.now += 61
        one.play_until(lambda: one.room.run.status is RunStatus.SUSPENDED)
        made, number = one.room.run.num_chunks, one.room.rounds.number
        one.end_round()
        assert (one.room.run.num_chunks, one.room.rounds.number) == (made, number), "no round ends either"
        with one.room.join():
            one.play_until(lambda: one.room.run.num_chunks > made)


def test_the_next_run_begins_with_the_last_pictures_and_the_present_prompt() -> None:
    with stage(length_s=3) as one, one.room.join():
        audiences, first = Audiences(), one.room.run
        audiences.add(one.room)
        one.room.propose("anna", "1", "a red star")
        one.play_until(lambda: one.room.run.end_s > 0)
        one.end_round()
        one.play_until(lambda: one.room.run is not first)
        second = one.room.run
        assert audiences.find("room") is one.room and second.end_s > 0
        assert second.store.facts["start"] == [9, 64, 96, 3], "the pictures of one chunk"
        one.play_until(lambda: first.status is RunStatus.FINISHED)
        assert one.room.find(first.name) is first and one.room.find("") is second
        assert one.room.find("0" * 8) is None
        assert one.prompts[0] == "a red star", "it begins with the prompt of the one before"
        assert first.limits == one.engine.limits, "it is kept no longer than others"
        one.play_until(lambda: one.room.run.num_chunks > 1)


def test_nobody_who_waits_comes_between_two_runs_of_the_room() -> None:
    with stage(streams=1, length_s=2) as one, one.room.join():
        first = one.room.run
        one.play_until(lambda: first.status is RunStatus.RUNNING)
        waiting = one.engine.start("viewer", "a box", seed=7, address="1")

        def has_gone_on() -> bool:
            waiting.presence.follow()
            return one.room.run is not first and one.room.run.num_chunks > 1

        one.play_until(has_gone_on)
        assert waiting.status is RunStatus.WAITING


def test_the_last_pictures_are_those_at_the_end() -> None:
    with stage() as one:
        one.play_until(lambda: one.room.run.num_chunks >= 2)
        one.room.pause()
        one.play_until(lambda: one.room.run.status is RunStatus.SUSPENDED)
        run = one.room.run
        pictures, second = last_pictures(run, one.engine.models[run.model].config)
        first = round(second * 16)
        assert [read_card(picture)[0] for picture in pictures] == list(range(first, first + 9))
        assert first + 9 == run.store.num_frames


def test_a_restarted_room_goes_on_where_it_was_with_all_votes(tmp_path: Path) -> None:
    with stage(tmp_path) as one, one.room.join():
        one.play_until(lambda: one.room.run.end_s > 1)
        one.end_round()
        one.play_until(lambda: "a box" in one.prompts)
        star = one.room.propose("anna", "1", "a red star")
        one.room.vote("ben", "2", star.number)
        one.clock.now += 5
        one.room.tick()
        token, made = one.room.run.token, one.room.run.num_chunks
        position = one.room.run.presence.clock.position(one.room.run.end_s)
    kept = tmp_path / "room.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    with stage(tmp_path) as one, one.room.join():
        assert one.room.run.token == token and one.room.run.num_chunks >= made
        assert one.room.rounds.number == 2 and one.room.rounds.left_s == 15
        assert [(p.text, p.votes) for p in one.room.proposals.open()] == [("a red star", 2)]
        again = one.room.run.presence.clock.position(one.room.run.end_s)
        assert position - 0.1 <= again <= position + 3, "those who watch have not seen what comes now"
        one.play_until(lambda: one.room.run.num_chunks > made + 2)
        one.end_round()
        one.play_until(lambda: "a red star" in one.prompts)
        assert one.prompts == ["a ball", "a box", "a red star"]


def test_a_vote_is_on_disk_when_it_is_answered_and_a_killed_room_has_it(tmp_path: Path) -> None:
    with stage(tmp_path) as one:
        star = one.room.propose("anna", "1", "a red star")
        one.room.vote("ben", "2", star.number)
        state = json.loads((tmp_path / "room.json").read_text())
        assert state["proposals"]["votes"] == {"anna": star.number, "ben": star.number}
        assert state["token"] == one.room.run.token


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": 1}', "\x00", '"a"'])
def test_a_state_that_cannot_be_read_lets_the_room_begin_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "room.json").write_text(text)
    with stage(tmp_path) as one:
        one.play_until(lambda: one.room.run.end_s > 0)
        assert one.room.rounds.number == 1


def test_a_room_whose_run_is_gone_begins_another_with_its_prompt(tmp_path: Path) -> None:
    with stage(tmp_path) as one:
        one.play_until(lambda: one.room.run.end_s > 0)
        one.end_round()
        one.play_until(lambda: "a box" in one.prompts)
        one.room.propose("anna", "1", "a red star")
        folder = one.room.run.store.folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with stage(tmp_path) as one:
        one.play_until(lambda: one.room.run.end_s > 0)
        assert one.prompts == ["a box"] and len(one.room.proposals.open()) == 1


def test_a_room_whose_run_fails_begins_another_a_little_later() -> None:
    with stage() as one, one.room.join():
        one.play_until(lambda: one.room.run.end_s > 0)
        first = one.room.run
        first.stop("closed")
        one.play_until(lambda: first.status is RunStatus.FINISHED)
        one.play_until(lambda: one.room.run is not first and one.room.run.end_s > 0)
        second = one.room.run
        second.stop("closed")
        one.play_until(lambda: second.status is RunStatus.FINISHED)
        for _ in range(5):
            one.room.tick()
        assert one.room.run is second, "not again and again"
        one.clock.now += 11
        one.play_until(lambda: one.room.run is not second and one.room.run.end_s > 0)


def test_the_operator_pauses_skips_removes_and_mutes() -> None:
    with stage() as one, one.room.join():
        room = one.room
        one.play_until(lambda: room.run.end_s > 0)
        room.pause()
        one.play_until(lambda: room.run.status is RunStatus.SUSPENDED)
        assert room.describe()["is_paused"] and room.describe()["round"]["ends_at"] is None
        made = room.run.num_chunks
        room.resume()
        one.play_until(lambda: room.run.num_chunks > made)
        room.skip()
        one.play_until(lambda: "a box" in one.prompts)
        ball, star = room.propose("anna", "1", "one"), room.propose("ben", "2", "two")
        room.remove(ball.number)
        with pytest.raises(PromptError, match=f"There is no proposal {ball.number}"):
            room.remove(ball.number)
        room.skip()
        room.mute(star.number)
        with pytest.raises(PromptError, match="from you any more"):
            room.propose("ben", "2", "three")
        with pytest.raises(PromptError, match="Who made proposal 99 is not known"):
            room.mute(99)


def test_a_prompt_is_given_to_the_model_in_words_that_it_knows() -> None:
    with stage(adapt=lambda text: PromptText(f"{text} in short")) as one, one.room.join():
        one.room.skip()
        one.play_until(lambda: "a box in short" in one.prompts)
        assert one.room.describe()["chosen"]["text"] == "a box"


def test_a_thousand_proposals_leave_the_room_playing_and_its_file_small(tmp_path: Path) -> None:
    with stage(tmp_path) as one, one.room.join():
        one.play_until(lambda: one.room.run.end_s > 0)
        for number in range(1000):
            with suppress(PromptError):
                one.room.propose(f"voice {number}", f"address {number % 50}", "x" * 300)
            with suppress(PromptError):
                one.room.propose(f"voice {number}", f"address {number % 50}", f"{number} {'y' * 300}"[:300])
        made = one.room.run.num_chunks
        one.play_until(lambda: one.room.run.num_chunks > made)
        assert len(one.room.proposals.open()) <= 40
        assert (tmp_path / "room.json").stat().st_size < 100_000


def test_the_thread_of_a_room_ticks_until_it_is_closed() -> None:
    with stage() as one:
        one.room.start()
        wait_for(lambda: one.room.run.num_chunks > 1)
        one.room.close()
        assert not one.room._thread.is_alive()
