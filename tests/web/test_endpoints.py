"""The endpoints, as a program calls them with gradio_client."""

import base64
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from longlive.web.endpoints.clips import ClipEndpoint
from tests.support.event_loop import run_in_thread
from tests.support.fakes import FakeModels, Served, make_engine, serve_page
from tests.support.page_client import AS_JSON, PageClient, call_component, cards_of
from tests.support.run_reader import unfinished

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_page(
        FakeModels(chunk_s=0.05), no_player_timeout_s=20, disconnect_timeout_s=0.5, retention_s=1
    ) as page:
        yield page


def test_start_prompt_and_stop_make_a_story_that_turns_and_is_kept(client: Client) -> None:
    job = client.submit(MEADOW, 7, [], api_name="/start")
    seen, promise = [], None
    for output in job:
        player = output[0]
        if player["kind"] != "segment":
            continue
        seen += cards_of(base64.b64decode(player["data"]))
        if player["chunk"] == 1:
            promise, answer, _ = client.predict(JUMP, "soft", api_name="/prompt")
            assert "will be seen in" in answer
        if player["chunk"] == 4:
            client.predict(api_name="/stop")
    _, timeline, words, take, session_file = output
    assert promise is not None and 2 <= promise["chunk"] <= 4
    turn = 9 + 12 * (promise["chunk"] - 1)
    assert promise["at_seconds"] == pytest.approx(turn / 16, abs=1e-3)
    assert seen[:turn] == [(number, 0) for number in range(turn)]
    assert seen[turn:] == [(number, 1) for number in range(turn, len(seen))]
    assert [span["text"] for span in timeline["spans"]] == [MEADOW, JUMP]
    assert words == "Stopped. Your video is below."
    assert cards_of(take["video"] if isinstance(take, dict) else take) == seen
    assert json.loads(Path(session_file).read_text())["seed"] == 7


def test_a_player_gets_the_messages_that_it_missed_also_after_the_end(
    served: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = replace(served.engine.limits, retention_s=600)  # a busy machine asks late
    monkeypatch.setattr(served.engine, "limits", kept)
    replay_since = partial(call_component, served, client, "replay_since")
    got = []
    for player, *_ in client.submit(MEADOW, 7, [{"at": 2, "text": JUMP}], api_name="/start"):
        got.append(player)
        if player["serial"] == 6:
            client.predict(api_name="/stop")
    token, last = got[0]["token"], got[-1]["serial"]
    assert [one["serial"] for one in got] == list(range(1, last + 1)) and got[-1]["kind"] == "end"
    assert replay_since({"token": token, "after": 0, "before": last + 1}) == got
    assert replay_since({"token": token, "after": 2, "before": 5}) == got[2:4]
    for word in ({"token": token}, {"token": token, "after": "a"}, [], None):
        assert replay_since(word) == []
    served.engine.forget(token)


def test_a_stranger_s_token_of_any_kind_is_nobody_s(served: Served, client: Client) -> None:
    job = client.submit(MEADOW, 7, [], api_name="/start")
    next(iter(job))
    for token in ("stranger", "fremd: äöü", "", 7, None):
        question = {"token": token, "after": 0, "before": 9}
        assert call_component(served, client, "replay_since", question) == [], token
        question = {"token": token, "seconds": 1, "playing": True}
        assert call_component(served, client, "playhead", question) is False, token
    client.predict(api_name="/stop")
    job.result()


@pytest.mark.slow
def test_a_story_is_taken_up_by_its_token_where_the_viewer_was(served: Served, client: Client) -> None:
    job = client.submit(MEADOW, 7, [], api_name="/start")
    got = [player for player, *_ in itertools.islice(iter(job), 12)]
    job.cancel()
    other = PageClient(served.url)
    last = next(one for one in got if one["kind"] == "segment" and one["chunk"] == 3)
    again = other.submit(got[0]["token"], last["first_frame"] / 16, api_name="/resume")
    shots, kinds = [], []
    for output in again:
        player = output[0]
        kinds.append(player["kind"])
        if player["kind"] == "segment":
            shots.append(player)
        if player["kind"] == "segment" and len(shots) == 12:
            other.predict(JUMP, "soft", api_name="/prompt")
            other.predict(api_name="/stop")
    _, timeline, _, take, _ = output
    assert kinds[0] == "begin" and kinds[-1] == "end" and got[0]["token"] == player["token"]
    ends = [one["first_frame"] + one["num_frames"] for one in shots]
    assert [one["first_frame"] for one in shots] == [last["first_frame"], *ends[:-1]], "no gap, nothing twice"
    assert timeline["spans"][0]["start"] == 0
    film = cards_of(take["video"] if isinstance(take, dict) else take)
    assert [frame for frame, _ in film] == list(range(ends[-1]))
    other.close()


def played(job: Any) -> list[dict[str, Any]]:
    """The messages of a run up to its chunk 4; it goes on."""
    got: list[dict[str, Any]] = []
    for player, *_ in job:
        got.append(player)
        if player.get("chunk") == 4:
            return got
    raise AssertionError(got)


def test_a_branch_goes_on_from_a_chunk_of_a_video(served: Served, client: Client) -> None:
    got = played(client.submit(MEADOW, 7, [], api_name="/start"))
    token, made = got[0]["token"], [one for one in got if one["kind"] == "segment"]
    fork = client.submit(token, 2, "a blue cube", "hard", 11, api_name="/branch")
    shots = []
    for output in fork:
        player, message = output[0], output[2]
        if player["kind"] == "notice":
            assert message == "A new take goes on from here, exactly as the other one stood."
        if player["kind"] == "segment":
            shots.append(player)
        if len(shots) == 3:
            client.predict(api_name="/stop")
    assert player["token"] != token
    first = next(one for one in made if one["chunk"] == 2)
    assert (shots[0]["chunk"], shots[0]["first_frame"]) == (2, first["first_frame"])
    assert {one["prompt"] for one in shots} == {"a blue cube"}
    take = output[3]
    film = cards_of(take["video"] if isinstance(take, dict) else take)
    assert [frame for frame, _ in film] == list(range(len(film)))
    assert film[first["first_frame"] - 1][1] == 0 and film[first["first_frame"]][1] == 1
    assert json.loads(Path(output[4]).read_text())["reseeds"] == [{"chunk": 2, "seed": 11}]


def test_a_branch_that_cannot_be_is_refused_in_words(served: Served, client: Client) -> None:
    token = played(client.submit(MEADOW, 7, [], api_name="/start"))[0]["token"]
    for how, words in {
        ("guess", 1, "", "soft", None): "no longer kept",
        (token, 0, "", "soft", None): "chunk is 0, but that video has",
        (token, 9999, "", "soft", None): "chunk is 9999, but that video has",
        (token, 1.5, "", "soft", None): "chunk is 1.5, but it must be a whole number",
        (token, 1, "x" * 10_000, "soft", None): "characters",
        (token, 1, "", "sideways", None): "must be one of soft, hard, keep",
        (token, 1, "", "soft", -1): "seed is -1",
    }.items():
        with pytest.raises(AppError, match=words):
            client.predict(*how, api_name="/branch")
    assert "is below" in client.predict(api_name="/stop"), "it went on all the while"


def test_a_stranger_takes_up_nothing(served: Served, client: Client) -> None:
    job = client.submit(MEADOW, 7, [], api_name="/start")
    next(iter(job))
    other = PageClient(served.url)
    for token in ("", "guess", client.session_hash):
        with pytest.raises(AppError, match="no longer kept"):
            other.predict(token, 0, api_name="/resume")
    with pytest.raises(AppError, match="Press Start first"):
        other.predict(JUMP, "soft", api_name="/prompt")
    assert other.predict(api_name="/stop") == "No video is playing."
    client.predict(api_name="/stop")
    other.close()


def test_generate_makes_a_storyboard_into_a_video_of_the_length_asked_for(client: Client) -> None:
    storyboard = {"prompts": [{"at": 0, "text": MEADOW}, {"at": 1, "text": JUMP, "switch": "hard"}]}
    video, session_file, words = client.predict(storyboard, 2, 5, api_name="/generate")
    cards = cards_of(video["video"] if isinstance(video, dict) else video)
    assert cards == [(number, int(number >= 21)) for number in range(32)]
    second = json.loads(Path(session_file).read_text())["prompts"][1]
    assert (second["text"], second["switch"]) == (JUMP, "hard")
    assert words == "The video is complete. The seed is 5."
    assert json.loads(Path(session_file).read_text())["num_frames"] == 32
    assert Path(session_file).name == "longlive-a-red-ball-stands-on-a-green-meadow-seed5.json"


def test_generate_tells_the_seed_that_it_drew(client: Client) -> None:
    *_, session_file, words = client.predict({"prompts": [MEADOW]}, 0.5, None, api_name="/generate")
    seed = json.loads(Path(session_file).read_text())["seed"]
    assert words == f"The video is complete. The seed is {seed}." and f"-seed{seed}." in session_file


def test_generate_names_what_lies_beyond_its_end(client: Client) -> None:
    prompts = [MEADOW, {"at": 1, "text": JUMP, "switch": "hard"}, {"at": 100, "text": "a blue cube"}]
    job = client.submit({"prompts": prompts}, 2, 5, api_name="/generate")
    first, *_, last = [words for *_, words in job]
    note = "Beyond the end of the video, and not shown: “a blue cube”."
    assert first == f"The seed is 5. {note}"
    assert last == f"The video is complete. The seed is 5. {note}"


@pytest.mark.parametrize(
    "prompt", ["\u8d64\u3044 a ball", "\u0932\u093e\u0932", "../../x", "\U0001f600", "x" * 300]
)
def test_files_of_any_prompt_can_be_fetched_by_their_names(client: Client, prompt: str) -> None:
    video, session_file, _ = client.predict({"prompts": [prompt]}, 0.5, 3, api_name="/generate")
    video = video["video"] if isinstance(video, dict) else video
    assert len(cards_of(video)) == 8 and json.loads(Path(session_file).read_text())["seed"] == 3
    assert Path(session_file).name.startswith("longlive-")


_SEEDS = [
    (2**63, "seed is 9.22"),
    (2**64, "seed is 1.84"),
    (1e300, "seed is 1e.300"),
    ("7", "seed is '7'"),
    (True, "seed is True"),
    (1.5, "seed is 1.5"),
    (-1, "seed is -1"),
    ([7], r"seed is \[7\]"),
    ({}, "seed is {}"),
]


@pytest.mark.parametrize("seed, words", _SEEDS)
@pytest.mark.slow
def test_a_seed_that_is_none_is_answered_in_words(caller: Client, seed: Any, words: str) -> None:
    for call in (
        partial(caller.predict, MEADOW, seed, [], api_name="/start"),
        partial(caller.predict, {"prompts": [MEADOW]}, 1, seed, api_name="/generate"),
    ):
        with pytest.raises(AppError, match=f"{words}.*whole number from 0 to 2"):
            call()


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("start", '["a ball", NaN, []]', "seed is 'nan', but it must be a whole number"),
        ("start", '["a ball", 7, [{"at": Infinity, "text": "b"}]]', "at is 'inf', but it must be seconds"),
        ("generate", '[{"prompts": ["a ball"]}, 1, Infinity]', "seed is 'inf', but it must be a whole"),
        ("generate", '[{"prompts": ["a ball"]}, NaN, 7]', "seconds is 'nan', but it must be a number"),
        ("generate", '[{"prompts": ["a ball"]}, 1e999, 7]', "seconds is 'inf', but it must be a number"),
    ],
)
def test_numbers_that_json_has_not_are_answered_in_words(
    served: Served, name: str, data: str, words: str
) -> None:
    url = f"{served.url}gradio_api/call/{name}"
    event = httpx.post(url, content=f'{{"data": {data}}}', headers=AS_JSON).json()["event_id"]
    answer = httpx.get(f"{url}/{event}", timeout=60).text
    assert "event: error" in answer and words in answer


def test_the_largest_seed_and_one_that_is_a_float_are_taken(client: Client) -> None:
    for seed, taken in ((2**63 - 1, 2**63 - 1), (7.0, 7)):
        *_, session_file, _ = client.predict({"prompts": [MEADOW]}, 0.5, seed, api_name="/generate")
        assert json.loads(Path(session_file).read_text())["seed"] == taken


@pytest.mark.parametrize(
    "storyboard, seconds, seed, words",
    [
        ({"prompts": []}, 2, 7, "list of 1 to 1000 prompts"),
        ({"prompts": [{"text": ""}]}, 2, 7, "empty"),
        ({"prompts": [{"text": "a"}]}, 600, 7, "at most 60"),
        ({"prompts": [{"text": "a"}]}, 2, -3, "seed is -3"),
        ({"prompts": [{"at": 0}]}, 2, 7, "must hold a text"),
        ({"prompts": ["a"]}, "2", 7, "seconds is '2', but it must be a number of seconds above 0"),
        ({"prompts": ["a"]}, True, 7, "seconds is True, but it must be a number"),
        ({"prompts": ["a"]}, 0, 7, "seconds is 0, but it must be a number of seconds above 0"),
    ],
)
def test_generate_refuses_what_it_cannot_do_in_words(
    caller: Client, storyboard, seconds, seed, words
) -> None:
    with pytest.raises(AppError, match=words):
        caller.predict(storyboard, seconds, seed, api_name="/generate")


def test_prompts_that_cannot_be_used_are_refused_in_words_and_the_story_goes_on(client: Client) -> None:
    bad = {"": "empty", "x" * 10_000: "10,000 characters", "a\x07b": r"U\+0007"}
    for prompt, words in bad.items():
        with pytest.raises(AppError, match=words):
            client.predict(prompt, 7, [], api_name="/start")
    job = client.submit(MEADOW, 7, [], api_name="/start")
    chunks = (player["chunk"] for player, *_ in job if player["kind"] == "segment")
    next(chunks)
    for prompt, words in bad.items():
        with pytest.raises(AppError, match=words):
            client.predict(prompt, "soft", api_name="/prompt")
        assert next(chunks) < next(chunks)
    client.predict(api_name="/stop")


def test_a_prompt_without_a_story_and_a_stop_without_one_are_answered_in_words(caller: Client) -> None:
    with pytest.raises(AppError, match="Press Start first"):
        caller.predict(MEADOW, "soft", api_name="/prompt")
    assert caller.predict(api_name="/stop") == "No video is playing."


def test_an_unknown_switch_and_word_are_answered_in_words(client: Client) -> None:
    job = client.submit("a dragon on a meadow", 7, [], api_name="/start")
    outputs = iter(job)
    said = [next(outputs)[2] for _ in range(6)]
    assert all("does not know “dragon”" in words for words in said)
    assert said[0].startswith("Making the first") and not said[-1].startswith("Making the first")
    with pytest.raises(AppError, match="must be one of soft, hard, keep"):
        client.predict(MEADOW, "slow", api_name="/prompt")
    client.predict(api_name="/stop")


def test_two_programs_see_only_their_own_stories(served: Served, client: Client) -> None:
    other = PageClient(served.url)
    jobs = [one.submit(text, 7, [], api_name="/start") for one, text in ((client, MEADOW), (other, JUMP))]
    for job, own in zip(jobs, (MEADOW, JUMP), strict=True):
        texts = (player["prompt"] for player, *_ in job if player["kind"] == "segment")
        assert {next(texts) for _ in range(3)} == {own}
    for one in (client, other):
        one.predict(api_name="/stop")
    other.close()


def test_a_new_start_of_the_same_program_ends_the_old_run(served: Served, client: Client) -> None:
    old = client.submit(MEADOW, 7, [], api_name="/start")
    next(iter(old))
    new = client.submit(JUMP, 7, [], api_name="/start")
    chunks = [
        player["prompt"] for player, *_ in (next(iter(new)) for _ in range(1)) if player["kind"] == "segment"
    ]
    deadline = time.monotonic() + 5
    while not (old.done() and len(unfinished(served.engine)) == 1) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert old.done() and not new.done() and len(unfinished(served.engine)) == 1
    assert chunks in ([], [JUMP])
    client.predict(api_name="/stop")
    assert served.models.most_busy == 1


def test_a_program_that_goes_away_leaves_nothing(served: Served) -> None:
    client = PageClient(served.url)
    job = client.submit(MEADOW, 7, [], api_name="/start")
    next(iter(job))
    job.cancel()
    served.wait_until_empty()
    client.close()


def test_the_endpoints_read_well(caller: Client) -> None:
    api = caller.view_api(return_format="dict")["named_endpoints"]
    assert sorted(api) == [
        "/branch",
        "/compare",
        "/complete",
        "/forget",
        "/generate",
        "/open_link",
        "/prompt",
        "/resume",
        "/share_link",
        "/start",
        "/stop",
        "/storyboard",
        "/verify",
        "/watch_along",
    ]
    assert [p["parameter_name"] for p in api["/resume"]["parameters"]] == ["token", "seconds"]
    names = {path: [p["parameter_name"] for p in entry["parameters"]] for path, entry in api.items()}
    assert names["/start"] == ["prompt", "seed", "later", "start_from", "model", "size"]
    assert names["/prompt"] == ["prompt", "switch"]
    assert names["/generate"] == ["storyboard", "seconds", "seed", "start_from", "model", "size"]
    assert names["/compare"] == ["token", "chunk", "prompt"] and names["/forget"] == ["token"]
    assert names["/branch"] == ["token", "chunk", "prompt", "switch", "seed"]
    assert names["/storyboard"] == ["prompts"]
    assert [one["label"] for one in api["/start"]["returns"]][:3] == ["player", "timeline", "message"]
    assert all(entry["description"] for entry in api.values())


def test_with_mcp_only_the_bounded_endpoint_is_public() -> None:
    from longlive.web.page import build_page

    engine = make_engine()
    page = build_page(engine, with_mcp=True)
    assert list(page.get_api_info()["named_endpoints"]) == ["/generate"]
    engine.close()


def test_a_video_whose_caller_leaves_after_the_first_answer_is_not_made() -> None:
    engine = make_engine(FakeModels(chunk_s=0.05))

    async def leave() -> None:
        answers = ClipEndpoint(engine).generate({"prompts": [MEADOW]}, 60, 7)
        assert await anext(answers) == (None, None, "The seed is 7.")
        [run] = engine.runs
        await answers.aclose()
        assert run.is_leaving

    run_in_thread(leave())
    engine.close()
