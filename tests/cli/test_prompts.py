"""``python -m longlive prompts``: its commands from end to end, and what it reports about mistakes."""

import json
from pathlib import Path

import pytest

from longlive.cli import main
from longlive.training.data.prompt_files import read_prompt_pairs
from longlive.training.data.prompt_grammar import GRAMMAR
from tests.support.chat_server import fails, says, serving

PUBLISHED = GRAMMAR.parent / "interactive_160x6.jsonl"
PAIR = read_prompt_pairs(PUBLISHED)[0]


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(["prompts", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_switch_writes_pairs_that_check_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "prompts.txt", tmp_path / "pairs.jsonl"
    source.write_text(f"{PAIR.prompt}\n\n{PAIR.prompt}\n", encoding="utf-8")
    monkeypatch.setenv("MY_KEY", "secret")
    with serving(says(PAIR.next_prompt)) as server:
        arguments = ["switch", str(source), str(out), "--endpoint", server.url, "--model", "qwen"]
        summary = result_of(capsys, *arguments, "--api-key-env", "MY_KEY", "--parallel", "2")
        assert result_of(capsys, *arguments)["done_before"] == 1
    assert len(server.asked) == 1
    assert server.asked[0][1]["authorization"] == "Bearer secret"
    assert summary == {
        "prompts": 1,
        "duplicates": 1,
        "done_before": 0,
        "written": 1,
        "rejected": 0,
        "out": str(out),
        "rejected_file": str(tmp_path / "pairs.rejected.jsonl"),
    }
    assert result_of(capsys, "check", str(out)) == {"prompts": 2, "different": 2, "pairs": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "either --endpoint and --model, or --local"),
        (["--endpoint", "http://localhost:1"], "either --endpoint"),
        (["--model", "qwen"], "either --endpoint"),
        (["--endpoint", "http://localhost:1", "--model", "qwen", "--local", "x"], "either --endpoint"),
        (
            ["--endpoint", "http://localhost:1", "--model", "q", "--api-key-env", "NO_SUCH"],
            "no such variable",
        ),
        (["--endpoint", "nowhere", "--model", "qwen"], "must be an http"),
        (["--local", "x", "--parallel", "2"], "answers one at a time"),
    ],
)
def test_switch_says_what_is_wrong_before_it_writes_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    source, out = tmp_path / "prompts.txt", tmp_path / "pairs.jsonl"
    source.write_text("a fox runs\n", encoding="utf-8")
    assert main(["prompts", "switch", str(source), str(out), *options]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_switch_reports_a_refusal_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("a fox runs\n", encoding="utf-8")
    with serving(fails(401, "bad key")) as server:
        arguments = ["prompts", "switch", str(source), str(tmp_path / "o.jsonl"), "--endpoint", server.url]
        assert main([*arguments, "--model", "qwen"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("longlive: ") and "401" in error and "bad key" in error


def test_set_writes_the_published_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set.jsonl"
    assert result_of(capsys, "set", "--out", str(out)) == {"out": str(out), "stories": 160, "prompts": 960}
    assert out.read_bytes() == PUBLISHED.read_bytes()
    assert main(["prompts", "set", "--out", str(out), "--seed", "1"]) == 0
    assert "set-2.jsonl: 160 stories" in capsys.readouterr().out
    assert out.read_bytes() == PUBLISHED.read_bytes(), "what was there is kept"
    assert main(["prompts", "set", "--out", str(out), "--seed", "1", "--force"]) == 0
    assert out.read_bytes() != PUBLISHED.read_bytes()


def test_set_says_where_it_cannot_be_written_before_it_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "longlive.training.data.prompt_grammar.write_prompt_set", lambda *_, **__: pytest.fail("it was made")
    )
    assert main(["prompts", "set", "--out", str(tmp_path)]) == 2
    assert "it is a folder, and a file is to be written" in capsys.readouterr().err


def test_check_counts_prompts_pairs_and_those_beyond_the_text_encoder(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    first.write_text("a red ball\na red ball\n", encoding="utf-8")
    second.write_text("the blue cube\n" + "the star jumps on " * 5 + "\n", encoding="utf-8")
    assert result_of(capsys, "check", str(first)) == {"prompts": 2, "different": 1}
    report = result_of(
        capsys, "check", str(first), str(second), "--tokenizer", str(tiny_folder), "--tokens", "12"
    )
    assert report["pairs"] == 2
    assert report["too_long"] == [("the star jumps on " * 5)[:60]]
    arguments = ["prompts", "check", str(first), str(second), "--tokenizer", str(tiny_folder)]
    assert main([*arguments, "--tokens", "12"]) == 0
    assert "2 prompts, 1 different, 2 pairs\nmore than 12 tokens" in capsys.readouterr().out


def test_check_refuses_a_folder_without_a_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "1.txt").write_text("a\n", encoding="utf-8")
    assert main(["prompts", "check", str(tmp_path / "1.txt"), "--tokenizer", str(tmp_path)]) == 2
    assert "holds no tokenizer" in capsys.readouterr().err


def test_switch_does_not_add_to_its_own_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text('{"source": "12", "prompt": "a fox runs", "next": "a fox sits"}\n', encoding="utf-8")
    before = source.read_bytes()
    arguments = [str(source), str(source), "--endpoint", "http://127.0.0.1:9", "--model", "m"]
    assert main(["prompts", "switch", *arguments]) == 2
    assert "IN is the same file" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf", b""])
def test_check_reads_capital_suffixes_and_byte_order_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    path = tmp_path / "pairs.JSONL"
    path.write_bytes(data + b'{"prompt": "a fox runs", "next": "a fox sits"}\r\n')
    assert result_of(capsys, "check", str(path)) == {"prompts": 2, "different": 2, "pairs": 1}
