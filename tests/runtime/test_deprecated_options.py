"""Old option names still work for one release, with a warning."""

import argparse
import logging

import pytest

import app
from longlive.runtime.deprecated_options import RENAMED_OPTIONS, replace_deprecated
from longlive.runtime.options import parse_with_environment

OPTIONS = ["executor", "retention_s", "max_queue_size", "port"]


def replace(arguments: list[str], **environment: str) -> tuple[list[str], dict[str, str]]:
    return replace_deprecated(arguments, environment, options=OPTIONS, prefix="LONGLIVE")


def test_old_names_are_replaced_and_each_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    arguments, variables = replace(
        ["--carrier", "ray", "--grace-s=5", "--carrier=thread", "--port", "1"], LONGLIVE_LINE="3", OTHER="x"
    )
    assert arguments == ["--executor", "ray", "--retention-s=5", "--executor=thread", "--port", "1"]
    assert variables == {"LONGLIVE_MAX_QUEUE_SIZE": "3", "OTHER": "x"}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert [record.args for record in caplog.records] == [
        ("--carrier", "--executor"),
        ("--grace-s", "--retention-s"),
        ("LONGLIVE_LINE", "LONGLIVE_MAX_QUEUE_SIZE"),
    ]


def test_new_names_stay_and_win_over_old_variables(caplog: pytest.LogCaptureFixture) -> None:
    given = ["--executor", "ray", "--max-queue-size=2"]
    assert replace(given)[0] == given and not caplog.records
    variables = replace([], LONGLIVE_CARRIER="ray", LONGLIVE_EXECUTOR="thread")[1]
    assert variables == {"LONGLIVE_EXECUTOR": "thread"} and len(caplog.records) == 1


def test_only_whole_names_are_replaced_and_nothing_after_two_dashes() -> None:
    given = ["--carriers", "carrier", "--grace", "--", "--carrier", "ray"]
    assert replace(given)[0] == given


def test_a_name_that_the_command_uses_itself_is_left_alone() -> None:
    """``generate --line 3`` is the line of a file."""
    for options in (["line"], ["line", "max_queue_size"]):
        given = ["--line", "3"], {"LONGLIVE_LINE": "3"}
        assert replace_deprecated(*given, options=options, prefix="LONGLIVE") == given


def test_no_name_is_both_old_and_new() -> None:
    assert not set(RENAMED_OPTIONS) & set(RENAMED_OPTIONS.values())


def test_a_parser_with_new_names_takes_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--retention-s", type=float, default=1.0)
    parser.add_argument("--max-queue-size", type=int, default=1)
    monkeypatch.setenv("LONGLIVE_LINE", "4")
    options = parse_with_environment(parser, ["--grace-s", "2"], prefix="LONGLIVE")
    assert (options.retention_s, options.max_queue_size) == (2.0, 4)
    assert "grace" not in parser.format_help()


def test_the_app_takes_the_old_name_of_its_executor(caplog: pytest.LogCaptureFixture) -> None:
    assert app.read_options(["--carrier", "ray"]).executor == "ray"
    assert "--carrier is deprecated" in caplog.text
