"""Proposals and votes: one each, bounded in number, rate and length, cleaned, kept over a restart."""

import json
import random
import threading

import pytest

from longlive.audience import proposals as module
from longlive.audience.proposals import Proposals
from longlive.audience.voices import VoiceLimits
from longlive.errors import PromptError
from longlive.prompts import MAX_CHARACTERS
from tests.support.hand_clock import HandClock

BALL, BOX = "the red ball jumps", "the blue box sleeps"


def texts(proposals: Proposals) -> list[tuple[str, int]]:
    return [(one.text, one.votes) for one in proposals.open()]


def many(**more: int) -> VoiceLimits:
    return VoiceLimits(per_minute={"proposals": 1000, "votes": 1000}, **more)


def test_the_proposal_with_the_most_votes_wins_and_its_voters_vote_anew() -> None:
    proposals = Proposals()
    assert proposals.winner() is None and proposals.open() == ()
    ball, box = proposals.propose("anna", "1", BALL), proposals.propose("ben", "2", BOX)
    assert (ball.number, ball.votes, box.number) == (1, 1, 2)
    assert proposals.winner() is None, "one vote each"
    assert proposals.vote("cleo", "3", box.number).votes == 2
    assert texts(proposals) == [(BOX, 2), (BALL, 1)]
    winner = proposals.winner()
    assert winner is not None and winner.text == BOX and winner.voice == "ben"
    assert proposals.take(winner.number) == winner
    assert proposals.vote_of("cleo") is None and proposals.vote_of("anna") == ball.number
    with pytest.raises(PromptError, match="no longer open"):
        proposals.take(winner.number)
    with pytest.raises(PromptError, match="no longer open"):
        proposals.vote("cleo", "3", winner.number)


def test_a_vote_is_moved_not_doubled() -> None:
    proposals = Proposals()
    ball, box = proposals.propose("anna", "1", BALL), proposals.propose("ben", "2", BOX)
    for number in (ball.number, box.number, box.number, ball.number):
        proposals.vote("cleo", "3", number)
    assert texts(proposals) == [(BALL, 2), (BOX, 1)]
    proposals.vote("anna", "1", box.number)
    assert texts(proposals) == [(BOX, 2), (BALL, 1)]


def test_who_proposes_what_waits_already_votes_for_it() -> None:
    proposals = Proposals()
    first = proposals.propose("anna", "1", BALL)
    assert proposals.propose("ben", "2", f"  {BALL.upper()} ").number == first.number
    assert texts(proposals) == [(BALL, 2)]


def test_a_voice_has_one_proposal_which_it_may_replace_until_others_vote_for_it() -> None:
    proposals = Proposals()
    first = proposals.propose("anna", "1", BALL)
    second = proposals.propose("anna", "1", BOX)
    assert texts(proposals) == [(BOX, 1)] and second.number > first.number
    proposals.vote("ben", "2", second.number)
    with pytest.raises(PromptError, match="Others vote for what you proposed"):
        proposals.propose("anna", "1", "the green star turns")
    assert texts(proposals) == [(BOX, 2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\x00", "control character"),
        ("x" * 301, "301 characters; at most 300"),
        ("&#120;" * 51 + "x" * 60, "characters; at most 300"),
        ("x" * (MAX_CHARACTERS + 1), "at most 300"),
        (7, "must be text"),
        (None, "must be text"),
        (["a"], "must be text"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_in_words(text: str, reason: str) -> None:
    proposals = Proposals()
    with pytest.raises(PromptError, match=reason):
        proposals.propose("anna", "1", text)
    assert proposals.open() == () and proposals.vote_of("anna") is None


def test_html_is_plain_text() -> None:
    assert Proposals().propose("anna", "1", "<b>a ball</b>&lt;script&gt;").text == "<b>a ball</b><script>"


def test_the_hook_refuses_what_was_cleaned() -> None:
    seen: list[str] = []

    def refuse(text: str) -> str | None:
        seen.append(text)
        return "Not here." if "ball" in text else None

    proposals = Proposals(refuse=refuse)
    with pytest.raises(PromptError, match=r"^Not here\.$"):
        proposals.propose("anna", "1", "a &#98;all  jumps")
    assert seen == ["a ball jumps"] and not proposals.open()
    assert proposals.propose("anna", "1", BOX).votes == 1


def test_votes_from_one_address_under_many_names_count_as_four() -> None:
    proposals = Proposals()
    ball = proposals.propose("anna", "1", BALL)
    refused = 0
    for name in range(100):
        try:
            proposals.vote(f"name{name}", "2", ball.number)
        except PromptError as error:
            assert "4 take part from your address already" in str(error)
            refused += 1
    assert refused == 96 and texts(proposals) == [(BALL, 5)]
    assert proposals.vote("dora", "3", ball.number).votes == 6


def test_a_voice_that_moves_takes_a_place_at_its_new_address() -> None:
    proposals = Proposals(VoiceLimits(per_address=1))
    ball = proposals.propose("anna", "1", BALL)
    proposals.vote("anna", "2", ball.number)
    proposals.vote("ben", "1", ball.number)
    with pytest.raises(PromptError, match="1 take part"):
        proposals.vote("anna", "1", ball.number)
    assert texts(proposals) == [(BALL, 2)]


def test_a_place_is_free_again_when_its_voice_has_no_vote_and_was_silent() -> None:
    clock = HandClock()
    proposals = Proposals(VoiceLimits(per_address=1), clock=clock)
    ball = proposals.propose("anna", "1", BALL)
    clock.now += 601
    with pytest.raises(PromptError, match="1 take part"):
        proposals.vote("ben", "1", ball.number)
    proposals.propose("cleo", "2", BOX)
    proposals.take(ball.number)
    assert proposals.vote("ben", "1", 2).votes == 2


def test_a_thousand_proposals_a_minute_leave_six_and_nothing_grows() -> None:
    clock = HandClock()
    proposals = Proposals(clock=clock)
    accepted = 0
    for number in range(1000):
        clock.now += 0.05
        try:
            proposals.propose("anna", "1", f"ball {number}")
            accepted += 1
        except PromptError as error:
            assert "6 proposals came within a minute" in str(error)
    assert accepted == 6 and texts(proposals) == [("ball 5", 1)]
    clock.now += 61
    proposals.propose("anna", "1", BALL)


def test_no_more_proposals_wait_than_can_be_read() -> None:
    proposals = Proposals()
    for number in range(module.MAX_OPEN):
        proposals.propose(f"voice {number}", f"address {number}", f"ball {number}")
    with pytest.raises(PromptError, match="40 proposals wait already"):
        proposals.propose("anna", "1", BALL)
    proposals.propose("voice 0", "address 0", BALL)
    assert len(proposals.open()) == module.MAX_OPEN, "one's own can still be replaced"


def test_no_more_voices_are_remembered_than_fit_and_idle_ones_go_first() -> None:
    clock = HandClock()
    proposals = Proposals(many(most=2), clock=clock)
    ball = proposals.propose("anna", "1", BALL)
    box = proposals.propose("ben", "2", BOX)
    with pytest.raises(PromptError, match="Too many take part now"):
        proposals.vote("cleo", "3", ball.number)
    proposals.take(ball.number)
    clock.now += 601
    assert proposals.vote("cleo", "3", box.number).votes == 2
    assert proposals.vote_of("ben") == box.number


def test_a_muted_voice_is_heard_no_more() -> None:
    proposals = Proposals()
    ball, box = proposals.propose("anna", "1", BALL), proposals.propose("ben", "2", BOX)
    proposals.vote("cleo", "3", ball.number)
    proposals.mute("anna")
    assert texts(proposals) == [(BOX, 1)] and proposals.vote_of("cleo") is None
    for act in (
        lambda: proposals.propose("anna", "1", BALL),
        lambda: proposals.vote("anna", "1", box.number),
    ):
        with pytest.raises(PromptError, match="does not take proposals and votes from you"):
            act()
    assert texts(proposals) == [(BOX, 1)]


def test_a_withdrawn_proposal_takes_its_votes_along() -> None:
    proposals = Proposals()
    ball = proposals.propose("anna", "1", BALL)
    assert proposals.withdraw(ball.number) and not proposals.withdraw(ball.number)
    assert proposals.vote_of("anna") is None and proposals.winner() is None


def test_a_proposal_waits_for_some_rounds_with_its_votes_and_then_goes() -> None:
    proposals = Proposals()
    ball, box = proposals.propose("anna", "1", BALL), proposals.propose("ben", "2", BOX)
    proposals.vote("ben", "2", ball.number)
    proposals.end_round()
    assert texts(proposals) == [(BALL, 2)], "nobody votes for the other one any more"
    for _ in range(module.MAX_ROUNDS - 2):
        proposals.end_round()
    assert texts(proposals) == [(BALL, 2)]
    proposals.end_round()
    assert proposals.open() == () and box.number not in {one.number for one in proposals.open()}


def test_a_restart_loses_no_proposal_and_no_vote() -> None:
    before = Proposals()
    ball, box = before.propose("anna", "1", BALL), before.propose("ben", "2", "<b>é &amp;amp; \U0001f600</b>")
    before.vote("cleo", "3", box.number)
    before.propose("dora", "4", "the green star turns")
    before.mute("dora")
    after = Proposals()
    after.restore(json.loads(json.dumps(before.state())))
    assert after.open() == before.open() and after.state() == before.state()
    assert after.vote("cleo", "9", ball.number).votes == 2
    assert after.propose("eve", "5", "a new one").number == 4
    with pytest.raises(PromptError, match="from you any more"):
        after.vote("dora", "4", ball.number)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"last": 1, "open": [], "votes": {}, "muted": []},
        {"last": 1, "open": {"1": ["a"]}, "votes": {}, "muted": []},
        {"last": "x", "open": {}, "votes": {}, "muted": []},
        {"last": 1, "open": {"1": ["", "anna", 0]}, "votes": {}, "muted": []},
        {"last": 1, "open": {}, "votes": {"anna": None}, "muted": []},
    ],
)
def test_a_state_that_is_none_changes_nothing(state: dict[str, object]) -> None:
    proposals = Proposals()
    ball = proposals.propose("anna", "1", BALL)
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        proposals.restore(state)
    assert proposals.open() == (ball,)


def test_votes_of_many_threads_are_all_counted() -> None:
    proposals = Proposals(many())
    numbers = [proposals.propose(f"author {one}", f"home {one}", f"ball {one}").number for one in range(4)]
    last: dict[str, int] = {}

    def act(thread: int) -> None:
        choose = random.Random(thread)
        for _ in range(50):
            voice = f"voice {thread} {choose.randrange(5)}"
            last[voice] = choose.choice(numbers)
            proposals.vote(voice, voice, last[voice])

    threads = [threading.Thread(target=act, args=(one,)) for one in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {voice: proposals.vote_of(voice) for voice in last} == last
    assert sum(one.votes for one in proposals.open()) == len(last) + len(numbers)
