"""Proposals and votes by HTTP: one voice per cookie, a bounded number per address, and nothing leaks."""

import json
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from longlive.audience.proposals import Proposals
from longlive.audience.voices import VoiceLimits
from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.live_frames import live, read_until
from tests.support.room_page import OPTIONS, TOKEN, browser, propose, room_of


@pytest.fixture(scope="module")
def page() -> Iterator[Served]:
    with serve_page(FakeModels(chunk_s=0.05), room=OPTIONS) as served:
        yield served


@pytest.fixture
def served(page: Served) -> Served:
    """The page, with a room that nobody has proposed anything in yet."""
    room_of(page).proposals = Proposals(VoiceLimits(per_address=3), refuse=OPTIONS.refuse)
    return page


def vote(client: httpx.Client, number: Any) -> httpx.Response:
    return client.post("/watch/room/vote", json={"number": number})


def test_a_browser_is_known_by_a_cookie_that_no_script_reads(served: Served) -> None:
    with browser(served) as ada, browser(served) as ben:
        answer = propose(ada, "a star")
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"number": 1, "text": "a star", "votes": 1}
        cookie = SimpleCookie(answer.headers["set-cookie"])["longlive_voice"]
        assert cookie["httponly"] and cookie["samesite"] == "strict"
        assert ada.get("/watch/room/voice").json()["vote"] == 1
        assert ben.get("/watch/room/voice").json()["vote"] is None
        assert propose(ben, "a box").json()["number"] == 2
        assert vote(ben, 1).json() == {"number": 1, "text": "a star", "votes": 2}
        assert vote(ben, 1).json()["votes"] == 2, "a vote counts once"
        assert vote(ada, 2).json()["votes"] == 1
        assert [(one.text, one.votes) for one in room_of(served).proposals.open()] == [
            ("a star", 1),
            ("a box", 1),
        ]


def test_those_who_watch_hear_of_proposals_and_of_nothing_secret(served: Served) -> None:
    with browser(served) as ada, live(f"{served.url}watch/room/live") as read:
        hello, _ = read_until(read, "hello")
        assert hello["takes_proposals"] and hello["proposals"] == [] and hello["round"]["number"] == 1
        propose(ada, "<script>alert(1)</script>")
        news, _ = read_until(read, "news", takes_proposals=True)
        while not news["proposals"]:
            news, _ = read_until(read, "news")
        shown = [{"number": 1, "text": "<script>alert(1)</script>", "votes": 1}]
        assert news["proposals"] == shown
        room = room_of(served)
        voice = room.proposals.open()[0].voice
        for secret in (room.run.token, voice, TOKEN, "127.0.0.1"):
            assert secret not in json.dumps([hello, news])


def test_votes_under_many_names_from_one_address_count_as_few(served: Served) -> None:
    with browser(served) as ada:
        propose(ada, "a star")
        answers = [httpx.post(f"{served.url}watch/room/vote", json={"number": 1}) for _ in range(10)]
        assert [one.status_code for one in answers] == [200] * 2 + [422] * 8
        assert "3 take part from your address already" in answers[-1].json()["detail"]
        assert room_of(served).proposals.open()[0].votes == 3


def test_a_forged_cookie_is_that_of_nobody(served: Served) -> None:
    cookies = ["", ".", "x", "x.y", f"{'a' * 32}.{'b' * 64}", "é.é", "a;b", "\\", '"', "%00." * 9]
    with browser(served) as ada:
        known = propose(ada, "a star").cookies["longlive_voice"]
        name, signature = known.split(".")
        for forged in (*cookies, name, f"{name}.", f"{name}.{signature[:-1]}0x", f"{name}x.{signature}"):
            headers = {"Cookie": f"longlive_voice={forged}".encode()}
            answer = httpx.get(f"{served.url}watch/room/voice", headers=headers)
            assert answer.status_code == 200 and answer.json()["vote"] is None, forged
        assert ada.get("/watch/room/voice").json()["vote"] == 1


def test_bad_input_is_refused_in_words_and_the_room_goes_on(served: Served) -> None:
    with browser(served) as ada:
        bad: list[tuple[int, str, Any]] = [
            (422, "text must be text", {"text": 7}),
            (422, "text must be text", {}),
            (422, "text must be text", {"text": None}),
            (422, "empty", {"text": " \n "}),
            (422, "301 characters", {"text": "x" * 301}),
            (422, "control character", {"text": "a\u202eb"}),
            (422, "Not here", {"text": "so bad"}),
            (422, "minute", {"text": "the seventh within a minute"}),
            (413, "at most 250,000 bytes", {"text": "x" * 300_000}),
            (422, "JSON object", ["a"]),
        ]
        assert [propose(ada, "a star").status_code for _ in range(2)] == [200, 200]
        for status, reason, body in bad:
            answer = ada.post("/watch/room/propose", json=body)
            assert (answer.status_code, list(answer.json())) == (status, ["detail"]), (body, answer.text)
            assert reason in answer.json()["detail"]
        for number in (0, -1, 10**30, 2, "x", None, 1.5, [1]):
            assert vote(ada, number).status_code in (400, 422), number
        for kind, content in (("text/plain", b'{"text": "a"}'), ("application/json", b"{")):
            headers = {"Content-Type": kind}
            assert ada.post("/watch/room/vote", content=content, headers=headers).status_code in (400, 415)
        assert ada.get("/watch/room/propose").status_code in (404, 405)
        assert propose(ada, "a star", id="unknown").status_code == 404
        assert [one.text for one in room_of(served).proposals.open()] == ["a star"]
    with live(f"{served.url}watch/room/live") as read:
        read_until(read, "segment")


def test_who_was_refused_keeps_the_place_at_the_address_that_it_took(served: Served) -> None:
    with browser(served) as ada:
        for _ in range(5):
            assert propose(ada, "x" * 301).status_code == 422
        assert propose(ada, "a star").status_code == 200
