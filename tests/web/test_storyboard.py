"""The prompts to come of a video, as programs and the page's table read and change them."""

import base64
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.support.fakes import FakeModels, Served, serve_page
from tests.support.page_client import call_component, cards_of

MEADOW, JUMP, CUBE = (
    "a red ball stands on a green meadow",
    "the red ball jumps on a green meadow",
    "a blue cube on snow",
)
LATER = [{"at": 3.0, "text": JUMP, "switch": "soft"}, {"at": 60, "text": CUBE, "switch": "hard"}]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    models = FakeModels(chunk_s=0.05)
    with serve_page(models, no_player_timeout_s=60, disconnect_timeout_s=2, retention_s=1) as page:
        yield page


class Video:
    """A program's video, of which each segment is read when it is asked for."""

    def __init__(self, client: Client, later: list[dict[str, Any]]) -> None:
        self.client, self.cards = client, []
        self._job = client.submit(MEADOW, 7, later, api_name="/start")
        self._outputs = iter(self._job)
        self.token = next(self._outputs)[0]["token"]

    def read_until(self, chunk: int) -> None:
        """Read up to the end of a chunk."""
        for player, *_ in self._outputs:
            if player["kind"] == "segment":
                self.cards += cards_of(base64.b64decode(player["data"]))
                if player["chunk"] == chunk and player["ends_chunk"]:
                    return
        raise AssertionError(f"it ended before chunk {chunk}")

    def stop(self) -> None:
        self.client.predict(api_name="/stop")
        for _ in self._outputs:
            pass


@pytest.fixture
def video(client: Client) -> Iterator[Video]:
    video = Video(client, LATER)
    yield video
    video.stop()


def texts(rows: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(row["chunk"], row["text"]) for row in rows]


def test_a_program_reads_replaces_and_removes_the_prompts_to_come(client: Client, video: Video) -> None:
    video.read_until(0)
    board = client.predict(None, api_name="/storyboard")
    assert board["is_open"] and texts(board["begun"]) == [(0, MEADOW)]
    assert board["scheduled"] == [
        {"chunk": 5, "at_seconds": 3.562, "text": JUMP, "switch": "soft", "is_fixed": False},
        {"chunk": 81, "at_seconds": 60.562, "text": CUBE, "switch": "hard", "is_fixed": False},
    ]
    wanted = [{"at": 4.8, "text": CUBE}, {"at": 4.3, "text": JUMP, "switch": "hard"}]
    board = client.predict(wanted, api_name="/storyboard")
    assert texts(board["scheduled"]) == [(6, JUMP), (7, CUBE)]
    assert [row["switch"] for row in board["scheduled"]] == ["hard", "soft"], "the model's own"
    video.read_until(6)
    turn = 9 + 12 * 5
    assert video.cards[turn - 1 : turn + 1] == [(turn - 1, 0), (turn, 1)]
    video.read_until(7)
    assert video.cards[-1][1] == 2
    board = client.predict([{"at": 30, "text": MEADOW}], api_name="/storyboard")
    assert texts(board["begun"])[:3] == [(0, MEADOW), (6, JUMP), (7, CUBE)] and len(board["scheduled"]) == 1
    assert client.predict([], api_name="/storyboard")["scheduled"] == []


NO_STORYBOARDS: tuple[tuple[Any, str], ...] = (
    ("a ball", "must be a list"),
    ({"at": 3}, "must be a list"),
    ([{"at": 3, "text": " "}], r"prompts\[0\]: The prompt is empty"),
    ([{"at": 3, "text": "a"}, {"at": 4, "text": "x" * 2001}], r"prompts\[1\]: This prompt has 2,001"),
    ([{"text": "a ball"}], r"prompts\[0\].at is None"),
    ([{"at": "soon", "text": "a"}], r"prompts\[0\].at is 'soon', but it must be seconds"),
    ([{"at": -1, "text": "a"}], "must be seconds from 0"),
    ([{"at": True, "text": "a"}], "must be seconds from 0"),
    ([{"at": 20, "text": "a", "switch": "fade"}], "must be one of"),
    ([{"at": 20, "text": "a"}, {"at": 20.0, "text": "b"}], "at is 20.0, but two prompts begin then"),
    ([{"at": 0, "text": "a"}], "Choose a later second"),
    ([{"at": 10 + number, "text": "a"} for number in range(6000)], "6000, but at most 1000 are read"),
    ([[[[]]]], r"prompts\[0\]"),
)


def test_what_is_no_storyboard_is_refused_in_words_and_changes_nothing(client: Client) -> None:
    video = Video(client, later=[{"at": 100, "text": JUMP}])
    video.read_until(0)
    for prompts, words in NO_STORYBOARDS:
        with pytest.raises(AppError, match=words):
            client.predict(prompts, api_name="/storyboard")
    board = client.predict(None, api_name="/storyboard")
    assert [row["text"] for row in board["scheduled"]] == [JUMP]
    video.stop()


def test_without_a_video_there_is_no_storyboard(caller: Client) -> None:
    with pytest.raises(AppError, match="No video is playing"):
        caller.predict([], api_name="/storyboard")


def test_a_start_whose_prompts_share_a_second_is_refused(caller: Client) -> None:
    twice = [{"at": 5, "text": JUMP}, {"at": 5.0, "text": CUBE}]
    with pytest.raises(AppError, match="two prompts begin then"):
        caller.submit(MEADOW, 7, twice, api_name="/start").result()


def test_the_table_changes_single_prompts_of_a_run_by_its_token(served: Served, video: Video) -> None:
    video.read_until(0)
    ask = partial(call_component, served, video.client, "storyboard", elem_id="storyboard")
    token = {"token": video.token}
    assert texts(ask(token)["scheduled"]) == [(5, JUMP), (81, CUBE)]
    moved = ask(token | {"removed": [5], "prompts": [{"at": 8.0, "text": JUMP}]})
    assert texts(moved["scheduled"]) == [(11, JUMP), (81, CUBE)]
    added = ask(token | {"prompts": [{"at": 20, "text": MEADOW}]})
    assert [text for _, text in texts(added["scheduled"])] == [JUMP, MEADOW, CUBE]
    assert "being shown already" in ask(token | {"removed": [5]})["error"]
    assert ask(token | {"removed": [0]})["error"] == ask(token | {"removed": [5]})["error"]
    assert "must be a whole number" in ask(token | {"removed": ["x"]})["error"]
    assert "must be a list" in ask(token | {"removed": 3})["error"]
    assert "must be a list" in ask(token | {"prompts": {"a": 1}})["error"]
    assert len(ask(token)["scheduled"]) == 3
    assert ask(token | {"removed": "all"})["scheduled"] == []
    for question in ({"token": "nobody"}, {}, None, [], "text", {"token": None}):
        answer = ask(question)
        assert answer["is_open"] is False and "no longer kept" in answer["error"]
    video.stop()
    assert ask(token | {"removed": "all"})["is_open"] is False


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        (
            json.dumps({"prompts": [{"at": 0, "text": MEADOW}, {"at": 2.5, "text": JUMP, "switch": "hard"}]}),
            [(0, MEADOW, "soft"), (2.5, JUMP, "hard")],
        ),
        (
            json.dumps({"subject": "a ball", "prompts": [MEADOW, JUMP]}),
            [(0, MEADOW, "soft"), (10, JUMP, "soft")],
        ),
        (json.dumps({"prompt": MEADOW, "next": CUBE}), [(0, MEADOW, "soft"), (10, CUBE, "soft")]),
    ],
)
def test_a_file_is_read_as_the_command_line_reads_it(
    served: Served, caller: Client, text: str, prompts: list[tuple[float, str, str]]
) -> None:
    answer = call_component(served, caller, "read_storyboard", {"text": text}, elem_id="storyboard")
    assert [(row["at"], row["text"], row["switch"]) for row in answer["prompts"]] == prompts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "It must hold"),
        ("{", "It must hold"),
        ("[1, 2]", "It must hold"),
        ('{"prompts": "a ball"}', "must be a list"),
        ('{"prompts": []}', "list of 1 to 1000"),
        ('{"prompts": [{"at": 1, "text": "a"}]}', "first prompt must be at 0"),
        ('{"prompts": [{"at": 0, "text": "a"}, {"at": 0, "text": "b"}]}', "two prompts begin then"),
        ('{"prompts": [{"at": 0, "text": "a", "switch": "wipe"}]}', "must be one of"),
        (json.dumps({"prompts": ["a"] * 10_000}), "number of prompts is 10000, but at most 1000"),
    ],
)
def test_a_file_that_is_no_storyboard_is_refused_in_words(
    served: Served, caller: Client, text: str, words: str
) -> None:
    answer = call_component(served, caller, "read_storyboard", {"text": text}, elem_id="storyboard")
    assert words in answer["error"] and len(answer["error"]) <= 501


@pytest.mark.parametrize("question", [None, {}, [], {"texts": "{}"}], ids=str)
def test_what_is_no_file_is_refused_in_words(served: Served, caller: Client, question: Any) -> None:
    answer = call_component(served, caller, "read_storyboard", question, elem_id="storyboard")
    assert "must be text" in answer["error"]
