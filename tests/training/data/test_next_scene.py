"""Next scenes are asked for, checked, written a row at a time, and never asked for twice."""

import codecs
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from longlive.errors import ConfigError, EndpointError
from longlive.training.data import chat_models as scene_writers
from longlive.training.data.chat_models import EndpointChat, LocalChat, Messages
from longlive.training.data.next_scene import (
    RULES,
    Summary,
    fault_of,
    next_scene,
    prompt_digest,
    rejected_file,
    write_next_scenes,
)
from longlive.training.data.prompt_files import PromptPair, read_prompt_pairs
from longlive.training.data.prompt_grammar import GRAMMAR
from tests.support.chat_server import fails, says, serving

PAIRS = read_prompt_pairs(GRAMMAR.parent / "interactive_160x6.jsonl")[:800:40]
SOURCE, GOOD = PAIRS[0].prompt, PAIRS[0].next_prompt


class Scripted:
    """A writer that answers from a list, or by a function of the prompt; keeps what it was asked."""

    def __init__(self, *answers: str | Exception, by: Callable[[str], str | Exception] | None = None) -> None:
        self.answers, self.by = list(answers), by
        self.asked: list[Messages] = []
        self.seeds: list[int] = []

    def answer(self, messages: Messages, seed: int) -> str:
        self.asked.append(messages)
        self.seeds.append(seed)
        prompt = messages[0]["content"].rpartition("\n")[2]
        answer = self.by(prompt) if self.by else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def good(prompt: str) -> str:
    return next(pair.next_prompt for pair in PAIRS if pair.prompt == prompt)


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_the_open_sets_own_scenes_are_good(pair: PromptPair) -> None:
    assert fault_of(pair.prompt, pair.next_prompt) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("…!", "empty"),
        (f"Sure, here is the next shot: {GOOD}", "talks about itself"),
        (f"Here's a description. {GOOD}", "talks about itself"),
        (f"Next scene: {GOOD}", "talks about itself"),
        (f"I'm sorry, but {GOOD}", "talks about itself"),
        (f"- {GOOD}", "a list"),
        (f"1. {GOOD}", "a list"),
        (GOOD.replace(". ", ".\n\n", 1), "more than one paragraph"),
        (f'"{GOOD}"', "quotation marks"),
        (f"“{GOOD}”", "quotation marks"),
        ("Лиса бежит по снегу. " * 20, "not in English"),
        ("Der Fuchs läuft langsam durch tiefen Schnee und schaut zurück. " * 9, "not in English"),
        (" ".join(GOOD.split()[:69]), "it has 69 words, not 80 to 100"),
        (GOOD + " and on and on it goes" * 10, "words, not 80 to 100"),
        (SOURCE, "nothing in it is new"),
        (SOURCE.replace("slow", "fast"), "nothing in it is new"),
        (PAIRS[7].next_prompt, "about something else"),
    ],
)
def test_a_text_that_is_no_next_scene_is_refused_with_the_reason(text: str, fault: str) -> None:
    assert fault in str(fault_of(SOURCE, text))


def test_the_length_has_a_slack_of_ten_words() -> None:
    words = GOOD.split()
    long = [*words, *words][:110]
    assert fault_of(SOURCE, " ".join(long)) is None
    assert "111 words" in str(fault_of(SOURCE, " ".join([*long, "end"])))


def test_a_refused_answer_is_asked_for_again_with_the_reason() -> None:
    writer = Scripted("Sure! A fox.", f"<think>Hm.\nWell.</think>\n\n{GOOD}\n")
    assert next_scene(SOURCE, writer, seed=4, tries=3) == (GOOD, None)
    first, second = writer.asked
    assert first == [{"role": "user", "content": f"{RULES}\n\nThe shot:\n{SOURCE}"}]
    assert second[0] == first[0]
    assert second[1] == {"role": "assistant", "content": "Sure! A fox."}
    assert "since it talks about itself" in second[2]["content"]
    assert writer.seeds == [4, 5]


def test_a_prompt_without_a_usable_answer_is_rejected_with_the_last_one(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    summary = write_next_scenes([SOURCE], out, Scripted("Sure!", "", "A fox."), tries=3)
    assert summary == Summary(prompts=1, duplicates=0, done_before=0, written=0, rejected=1)
    (row,) = rows(rejected_file(out))
    assert row["prompt"] == SOURCE and row["answer"] == "A fox." and "words" in row["reason"]
    assert out.read_bytes() == b""


def test_pairs_are_written_without_duplicates_and_read_by_training(tmp_path: Path) -> None:
    out = tmp_path / "new" / "pairs.jsonl"
    prompts = [pair.prompt for pair in PAIRS[:3]]
    done: list[int] = []
    summary = write_next_scenes([*prompts, *prompts[:2]], out, Scripted(by=good), progress=done.append)
    assert summary == Summary(prompts=3, duplicates=2, done_before=0, written=3, rejected=0)
    assert read_prompt_pairs(out) == PAIRS[:3]
    assert rows(out)[0]["source"] == prompt_digest(prompts[0])
    assert sum(done) == 3


def test_a_second_run_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    prompts = [pair.prompt for pair in PAIRS[:5]]
    write_next_scenes(prompts[:1], out, Scripted("no", "no", "no"))
    write_next_scenes(prompts[1:3], out, Scripted(by=good))
    writer = Scripted(by=good)
    summary = write_next_scenes(prompts, out, writer)
    assert summary == Summary(prompts=5, duplicates=0, done_before=3, written=2, rejected=0)
    assert len(writer.asked) == 2
    assert [row["prompt"] for row in rows(out)] == prompts[1:]


@pytest.mark.parametrize("kept", [0, 1, 25, 300])
def test_half_a_row_of_a_killed_run_is_cut_off_and_written_again(tmp_path: Path, kept: int) -> None:
    out = tmp_path / "pairs.jsonl"
    prompts = [pair.prompt for pair in PAIRS[:2]]
    write_next_scenes(prompts, out, Scripted(by=good))
    whole = out.read_bytes()
    os.truncate(out, whole.index(b"\n") + 1 + kept)
    summary = write_next_scenes(prompts, out, Scripted(by=good))
    assert (summary.done_before, summary.written) == (1, 1)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    "saved",
    [
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.removesuffix(b"\n"),
        lambda data: data.replace(b"\n", b"\n\n"),
        lambda data: codecs.BOM_UTF8 + data,
        lambda data: data.decode().encode("utf-16"),
    ],
    ids=["cr", "crlf", "no last end", "blank lines", "bom", "utf-16"],
)
def test_no_row_is_lost_however_an_editor_saved_the_file(
    tmp_path: Path, saved: Callable[[bytes], bytes]
) -> None:
    out = tmp_path / "pairs.jsonl"
    prompts = [pair.prompt for pair in PAIRS[:3]]
    write_next_scenes(prompts[:2], out, Scripted(by=good))
    out.write_bytes(saved(out.read_bytes()))
    summary = write_next_scenes(prompts, out, Scripted(by=good))
    assert (summary.done_before, summary.written) == (2, 1)
    assert read_prompt_pairs(out) == PAIRS[:3]


@pytest.mark.parametrize(
    "text", ["a fox runs", "a fox\nan owl\n", '{"prompt": "a"}\n', '{"source": "a"}\n{"sour} x']
)
def test_a_file_of_something_else_is_never_touched(tmp_path: Path, text: str) -> None:
    out = tmp_path / "prompts.txt"
    out.write_text(text)
    with pytest.raises(ConfigError, match="holds other things than scenes"):
        write_next_scenes([SOURCE], out, Scripted(by=good))
    assert out.read_text() == text


def test_when_the_endpoint_dies_the_others_of_the_same_moment_are_still_written(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    prompts = [pair.prompt for pair in PAIRS[:8]]
    writer = Scripted(by=lambda prompt: EndpointError("gone") if prompt == prompts[4] else good(prompt))
    with pytest.raises(EndpointError, match="gone"):
        write_next_scenes(prompts, out, writer, parallel=3)
    assert [row["prompt"] for row in rows(out)] == [*prompts[:4], prompts[5]]
    assert write_next_scenes(prompts, out, Scripted(by=good), parallel=3).written == 3
    assert {row["prompt"] for row in rows(out)} == {*prompts}


def test_a_full_disk_leaves_whole_rows_and_is_told(tmp_path: Path) -> None:
    out, prompts = tmp_path / "pairs.jsonl", [pair.prompt for pair in PAIRS[:3]]
    write_next_scenes(prompts[:1], out, Scripted(by=good))
    whole = out.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"OUT .* cannot be written"):
            write_next_scenes(prompts, out, Scripted(by=good))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert out.read_bytes() == whole
    assert write_next_scenes(prompts, out, Scripted(by=good)).written == 2


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "pairs.jsonl", Path("/dev/null")):
        with pytest.raises(ConfigError, match=r"OUT .* cannot be written"):
            write_next_scenes([SOURCE], out, Scripted(by=good))


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    for name in ("tries", "parallel"):
        with pytest.raises(ConfigError, match=f"--{name} is 0"):
            write_next_scenes([SOURCE], tmp_path / "out.jsonl", Scripted(), **{name: 0})


def test_an_endpoint_that_stumbles_writes_all_prompts_in_the_end(tmp_path: Path) -> None:
    replies = (fails(500), says("Sure, here is nothing."), fails(429), says(GOOD))
    with serving(*replies) as server:
        writer = EndpointChat(server.url, "qwen", pause_s=0.01)
        assert write_next_scenes([SOURCE], tmp_path / "pairs.jsonl", writer, parallel=4).written == 1
    assert read_prompt_pairs(tmp_path / "pairs.jsonl") == [PromptPair(SOURCE, GOOD)]


def test_a_local_model_of_random_weights_is_rejected_cleanly(
    tmp_path: Path, tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_writers, "MAX_TOKENS", 20)
    out = tmp_path / "pairs.jsonl"
    summary = write_next_scenes([SOURCE], out, LocalChat(tiny_language_model), tries=2)
    assert (summary.written, summary.rejected) == (0, 1)
    (row,) = rows(rejected_file(out))
    assert row["answer"] and "it has 20 words" in row["reason"]
