"""Rounds: who wins, what comes when nobody does, and a clock that stands still while nobody watches."""

import json

import pytest

from longlive.audience.proposals import Proposals
from longlive.audience.rounds import Choice, Rounds
from longlive.generation.storyboard import Scene
from tests.support.hand_clock import HandClock

SCENES = (Scene(0, "a ball"), Scene(1, "a box", "hard"), Scene(2, "a star"))


def make(scenes: tuple[Scene, ...] = SCENES) -> tuple[Rounds, Proposals, HandClock]:
    clock = HandClock()
    proposals = Proposals(clock=clock)
    return Rounds(proposals, scenes, seconds=20, clock=clock), proposals, clock


def test_the_clock_of_a_round_runs_only_while_it_is_told_to() -> None:
    rounds, _, clock = make()
    clock.now += 100
    assert rounds.left_s == 20 and not rounds.is_running
    rounds.run(True)
    clock.now += 5
    rounds.run(True)
    assert rounds.left_s == 15
    rounds.run(False)
    clock.now += 100
    assert rounds.left_s == 15
    rounds.run(True)
    clock.now += 15
    assert rounds.left_s == 0
    rounds.end()
    assert (rounds.number, rounds.left_s) == (2, 20)


def test_the_winner_is_taken_and_the_others_wait() -> None:
    rounds, proposals, _ = make()
    first = proposals.propose("anna", "1", "one")
    second = proposals.propose("ben", "2", "two")
    proposals.vote("cleo", "3", second.number)
    assert rounds.end() == Choice("two", 2, second.number, "soft")
    assert [one.number for one in proposals.open()] == [first.number]
    assert rounds.end() == Choice("one", 1, first.number)


def test_silence_and_ties_are_for_the_storyboard_from_its_second_prompt_on() -> None:
    rounds, proposals, _ = make()
    assert rounds.end() == Choice("a box", switch="hard")
    proposals.propose("anna", "1", "one")
    proposals.propose("ben", "2", "two")
    assert rounds.end() == Choice("a star")
    assert len(proposals.open()) == 2, "those that are tied wait on"
    assert [rounds.end(), rounds.end()] == [Choice("a ball"), Choice("a box", switch="hard")]


def test_without_a_storyboard_silence_changes_nothing_and_the_oldest_of_the_best_wins() -> None:
    rounds, proposals, _ = make(())
    assert rounds.end() is None and rounds.number == 2
    for voice in ("anna", "ben"):
        proposals.propose(voice, voice, f"of {voice}")
    assert rounds.end() == Choice("of anna", 1, 1)


def test_a_restart_goes_on_in_the_same_round() -> None:
    rounds, _, clock = make()
    rounds.end()
    rounds.run(True)
    clock.now += 7
    again, *_ = make()
    again.restore(json.loads(json.dumps(rounds.state())))
    assert (again.number, again.left_s, again.is_running) == (2, 13, False)
    assert again.end() == rounds.end()


@pytest.mark.parametrize(
    "state", [{}, {"number": "x", "left_s": 1, "scene": 1}, {"number": 1, "left_s": None}]
)
def test_a_state_that_is_none_is_refused(state: dict[str, object]) -> None:
    rounds, *_ = make()
    with pytest.raises((KeyError, TypeError, ValueError)):
        rounds.restore(state)
    assert (rounds.number, rounds.left_s) == (1, 20)
