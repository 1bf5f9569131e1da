"""A report says where it comes from and how to repeat it; a table can be read."""

import argparse
import json
import shlex

from longlive.cli.main import _parser
from longlive.evaluation.report import command_of, report, table
from longlive.evaluation.statistics import NOTHING, share

OPTIONS = ["evaluate", "long", "--models", "before=a b", "after=c", "--prompts", "7", "--seconds", "60"]


def parsed(words: list[str]) -> argparse.Namespace:
    return _parser(words[:2]).parse_args(words)


def test_the_command_says_every_option_and_gives_the_same_run_again() -> None:
    args = parsed(OPTIONS)
    words = shlex.split(command_of(args))
    assert words[:3] == ["python", "-m", "longlive"] and "--json" in words and "--figure" not in words
    again = parsed(words[3:])
    assert vars(again) | {"json": False} == vars(args)


def test_a_report_names_machine_versions_seed_and_definitions(tiny_models: object) -> None:
    told = json.loads(
        json.dumps(report(parsed(OPTIONS), {"before": tiny_models}, {"a": 1}, {"a": "words"}, 90.0))
    )
    assert told["hardware"]["processor"] and told["hardware"]["cores"] >= 1 and told["versions"]["torch"]
    assert (told["seed"], told["prompts"], told["minutes"], told["result"]) == (0, 7, 1.5, {"a": 1})
    assert told["definitions"]["a"] == "words" and "Wilson" in told["definitions"]["intervals"]
    assert told["models"]["before"]["name"] == "tiny" and len(told["models"]["before"]["digest"]) == 64


def test_a_table_has_a_column_for_each_row_and_aligns_them() -> None:
    figure = share([True, False]).times(100).as_json()
    lines = table({"one": {"a": figure, "b": 3}, "two": {"a": NOTHING.as_json(), "longer": "x"}}).splitlines()
    assert lines[0].split() == ["one", "two"] and lines[1].split("  ")[0] == "a"
    assert "50.0 [9.5, 90.5]" in lines[1] and lines[1].endswith("-")
    assert lines[0].index("two") == lines[1].index("-") == lines[3].index("x")
