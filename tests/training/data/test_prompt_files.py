"""Prompt files are read whole, checked, and asked for by seed and index."""

from pathlib import Path

import pytest

from longlive.errors import ConfigError, PromptError
from longlive.training.data.prompt_files import ListedPrompts, PromptPair, read_prompt_pairs, read_prompts


def written(folder: Path, content: str | bytes, name: str = "prompts.txt") -> Path:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return folder / name


def test_a_text_file_gives_a_prompt_per_line_whatever_its_line_ends(tmp_path: Path) -> None:
    data = "\ufeffa fox runs\r\n\r\n  an owl\u2028sits \n\t\n日本の橋\r".encode()
    assert read_prompts(written(tmp_path, data)) == ["a fox runs", "an owl\u2028sits", "日本の橋"]


def test_jsonl_gives_every_prompt_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, '{"prompts": ["a", " b", "c"]}\n\n{"prompt": "d", "next": "e"}\n', "p.jsonl")
    assert read_prompts(path) == ["a", "b", "c", "d", "e"]
    assert read_prompt_pairs(path) == [PromptPair("a", "b"), PromptPair("b", "c"), PromptPair("d", "e")]


def test_two_text_files_are_paired_line_by_line(tmp_path: Path) -> None:
    first, second = written(tmp_path, "a\n\nb\n", "1.txt"), written(tmp_path, "c\r\n\r\nd\r\n\r\n", "2.txt")
    assert read_prompt_pairs(first, second) == [PromptPair("a", "c"), PromptPair("b", "d")]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ("c\nd\n", r"1\.txt has 3 prompts and .*2\.txt has 2, .*line 3 is in one file only"),
        ("c\nd\ne\nf\n", r"has 3 prompts and .* has 4, .*line 4 is"),
        ("c\n\nd\ne\n", r"line 2 is in one file only"),
    ],
)
def test_files_that_do_not_match_are_told_with_both_counts_and_the_first_lonely_line(
    tmp_path: Path, second: str, words: str
) -> None:
    first = written(tmp_path, "a\nb\nc\n", "1.txt")
    with pytest.raises(PromptError, match=words):
        read_prompt_pairs(first, written(tmp_path, second, "2.txt"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no prompts"),
        ("\n \r\n", "holds no prompts"),
        (b"a fox\nan owl \xff\xfe\n", r"1 of 2 lines cannot be used\. Line 2: It is not UTF-8 \(byte 7\)"),
        ("a fox\n" + "very " * 401, "Line 2: This prompt has 2,004 characters"),
        ("a fox\nb\x00c\n", "Line 2: This prompt holds the control character U\\+0000"),
        ("a fox\n&nbsp;\n", "Line 2: The prompt is empty"),
        ("\x01\n" * 5, r"5 of 5 lines .*Line 1: .*Line 3: [^:]* …$"),
    ],
)
def test_a_text_file_that_cannot_be_used_is_told_with_its_lines(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(PromptError, match=words) as told:
        read_prompts(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize(
    "line",
    [
        "a fox",
        "[]",
        "3",
        '{"prompt": "a"}',
        '{"prompts": "a"}',
        '{"prompts": ["a", 3]}',
        '{"prompts": [" "]}',
    ],
)
def test_jsonl_lines_that_hold_no_prompts_are_told(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, '{"prompts": ["a", "b"]}\n' + line, "p.jsonl")
    with pytest.raises(PromptError, match=r"1 of 2 lines cannot be used\. Line 2: It"):
        read_prompt_pairs(path)


def test_jsonl_without_any_pair_is_told(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="no two prompts in one line"):
        read_prompt_pairs(written(tmp_path, '{"prompts": ["a"]}\n{"prompts": ["b"]}', "p.jsonl"))


@pytest.mark.parametrize("name", ["story.json", "story.JSON"])
def test_a_storyboard_is_no_line_of_text(name: str, tmp_path: Path) -> None:
    text = '{"prompts": [\n  {"at": 0, "text": "a"},\r\n  "b",\n\n "c"]}\n'
    assert read_prompts(written(tmp_path, text, name)) == ["a", "b", "c"]
    pairs = [PromptPair("a", "b"), PromptPair("b", "c")]
    assert read_prompt_pairs(tmp_path / name) == pairs
    assert len(ListedPrompts.read(tmp_path / name).next_prompts) == 2
    with pytest.raises(PromptError, match="It must hold"):
        read_prompts(written(tmp_path, "a red ball", name))


def test_a_missing_file_and_a_missing_second_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "nothing.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path)
    with pytest.raises(ConfigError, match="text needs a second file"):
        read_prompt_pairs(written(tmp_path, "a\n"))
    with pytest.raises(ConfigError, match=r"JSONL .* none"):
        read_prompt_pairs(written(tmp_path, '{"prompts": ["a", "b"]}', "p.jsonl"), tmp_path / "2.txt")


def test_every_prompt_comes_once_an_epoch_in_an_order_of_the_seed() -> None:
    listed = ListedPrompts([str(number) for number in range(20)], [f"next {number}" for number in range(20)])
    epochs = [
        [listed.prompt_at(seed, 20 * epoch + i) for i in range(20)] for seed in (1, 2) for epoch in (0, 1)
    ]
    assert all(sorted(epoch) == sorted(listed.prompts) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] == [listed.prompt_at(1, i) for i in range(20)]
    pairs = [listed.pair_at(1, i) for i in range(20)]
    assert [pair.prompt for pair in pairs] == epochs[0]
    assert all(pair.next_prompt == f"next {pair.prompt}" for pair in pairs)


def test_the_order_is_the_same_on_every_machine() -> None:
    listed = ListedPrompts(list("abcdefgh"))
    assert "".join(listed.prompt_at(7, i) for i in range(16)) == "cfhbdeagcaebfdhg"


def test_a_list_is_read_with_or_without_next_prompts(tmp_path: Path) -> None:
    first, second = written(tmp_path, "a\n"), written(tmp_path, "b\n", "2.txt")
    alone = ListedPrompts.read(first)
    assert alone.prompt_at(0, 5) == "a"
    with pytest.raises(ConfigError, match="prompts switch"):
        alone.pair_at(0, 0)
    assert ListedPrompts.read(first, second).pair_at(0, 3) == PromptPair("a", "b")
    story = written(tmp_path, '{"prompts": ["a", "b", "c"]}', "p.jsonl")
    assert len(ListedPrompts.read(story).next_prompts) == 2


def test_impossible_lists_and_indices_are_refused() -> None:
    for prompts, next_prompts in (([], []), (["a"], ["b", "c"])):
        with pytest.raises(ConfigError, match="as many next ones"):
            ListedPrompts(prompts, next_prompts)
    with pytest.raises(ConfigError, match="index is -1"):
        ListedPrompts(["a"]).prompt_at(0, -1)
