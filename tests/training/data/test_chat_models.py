"""Language models behind an endpoint that is good, bad, slow, busy or dead, and a tiny local one."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from longlive.errors import CheckpointError, ConfigError, EndpointError
from longlive.training.data import chat_models as scene_writers
from longlive.training.data.chat_models import EndpointWriter, LocalWriter, Messages
from tests.support.chat_server import fails, hangs, says, serving

ASK: Messages = [{"role": "user", "content": "What happens next?"}]


def test_a_good_endpoint_answers_and_is_asked_by_the_protocol() -> None:
    with serving(says("A fox runs.")) as server:
        writer = EndpointWriter(server.url + "/", "qwen", key="secret")
        assert writer.answer(ASK, seed=5) == "A fox runs."
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == "Bearer secret"
    assert (body["model"], body["messages"], body["seed"]) == ("qwen", ASK, 5)


def test_the_whole_address_will_do_and_without_a_key_none_is_sent() -> None:
    with serving(says("yes")) as server:
        assert EndpointWriter(f"{server.url}/chat/completions", "qwen").answer(ASK, 0) == "yes"
    path, headers, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert "authorization" not in headers


def test_faults_that_pass_are_tried_again() -> None:
    with serving(fails(500), hangs, fails(503), says("at last")) as server:
        writer = EndpointWriter(server.url, "qwen", timeout_s=1.0, pause_s=0.01)
        assert writer.answer(ASK, 0) == "at last"
    assert len(server.asked) >= 4


def test_the_pause_that_the_server_asks_for_is_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(scene_writers, "time", SimpleNamespace(sleep=pauses.append))  # no other thread's
    replies = (fails(429, Retry_After="7"), fails(429, Retry_After="9999"), fails(500), says("ok"))
    with serving(*replies) as server:
        assert EndpointWriter(server.url, "qwen", pause_s=1.0).answer(ASK, 0) == "ok"
    assert pauses == [7.0, scene_writers.LONGEST_PAUSE_S, 4.0]


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_a_refusal_is_told_at_once(status: int) -> None:
    with (
        serving(fails(status, "unknown model")) as server,
        pytest.raises(EndpointError, match=f"refuses: {status} .*unknown model.*Check the address"),
    ):
        EndpointWriter(server.url, "qwen").answer(ASK, 0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("text", ["<html>", "[]", '{"choices": []}', '{"choices": [{"message": 3}]}', "null"])
def test_another_protocol_is_told(text: str) -> None:
    with (
        serving(fails(200, text)) as server,
        pytest.raises(EndpointError, match="does not speak the protocol"),
    ):
        EndpointWriter(server.url, "qwen").answer(ASK, 0)


def test_an_answer_without_words_is_an_empty_one() -> None:
    with serving(fails(200, '{"choices": [{"message": {"content": null}}]}')) as server:
        assert EndpointWriter(server.url, "qwen").answer(ASK, 0) == ""


def test_a_dead_endpoint_is_told_after_a_few_tries() -> None:
    with serving(says("yes")) as server:
        url = server.url
    writer = EndpointWriter(url, "qwen", timeout_s=0.5, pause_s=0.01)
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"no answer in 5 tries.*ConnectError.*What was written stays"):
        writer.answer(ASK, 0)
    assert time.monotonic() - started < 5


def test_a_silent_endpoint_is_told() -> None:
    with serving(hangs) as server, pytest.raises(EndpointError, match="ReadTimeout"):
        EndpointWriter(server.url, "qwen", timeout_s=0.05, pause_s=0.01).answer(ASK, 0)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--endpoint"):
        EndpointWriter(url, "qwen")


def test_a_local_model_answers_the_same_for_the_same_seed(
    tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_writers, "MOST_TOKENS", 20)
    writer = LocalWriter(tiny_language_model)
    state = torch.random.get_rng_state()
    first = writer.answer(ASK, seed=1)
    assert first == writer.answer(ASK, seed=1) != writer.answer(ASK, seed=2)
    assert len(first.split()) == 20 and "What" not in first
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_local_model_with_a_chat_template_is_talked_to_by_it(
    tmp_path: Path, tiny_language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_writers, "MOST_TOKENS", 20)
    shutil.copytree(tiny_language_model, tmp_path / "chat")
    template = "{% for m in messages %}the {{ m.content }} {% endfor %}red fox"
    (tmp_path / "chat" / "chat_template.jinja").write_text(template)
    plain, chat = LocalWriter(tiny_language_model), LocalWriter(tmp_path / "chat")
    read = chat._generate.tokenizer.apply_chat_template(ASK, tokenize=False)
    assert read == "the What happens next? red fox"
    assert chat.answer(ASK, seed=1) != plain.answer(ASK, seed=1)


def test_a_missing_local_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded for text generation"):
        LocalWriter(tmp_path / "nothing")
