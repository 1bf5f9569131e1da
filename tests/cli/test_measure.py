"""``measure``: its options, its table and its JSON, and the former name of the command."""

import json
import subprocess
import sys

import pytest

from longlive.benchmark.loadtest.browser import BrowserPlan, BrowserRecording
from longlive.cli import main, measure
from tests.support.paths import ROOT

SEEN = [[1.0 + number / 16, number / 16] for number in range(33)]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, BrowserPlan]]:
    """What the command asked a browser to watch; a viewer who saw two seconds without a stall came of it."""
    calls: list[tuple[str, str, BrowserPlan]] = []

    def record_page(url: str, player: str, plan: BrowserPlan) -> BrowserRecording:
        calls.append((url, player, plan))
        return BrowserRecording(0.5, SEEN, [0.25, 0.75])

    monkeypatch.setattr(measure, "record_page", record_page)
    return calls


def test_both_players_are_measured_one_after_the_other(
    watched: list[tuple[str, str, BrowserPlan]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "http://here/", "--seconds", "2", "--switches", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["live", "compatible"]
    assert (result["live"]["first_picture_s"], result["live"]["stalls"]) == (0.5, 0)
    assert [(url, player) for url, player, _ in watched] == [
        ("http://here/", "live"),
        ("http://here/", "compatible"),
    ]
    assert (watched[0][2].seconds, watched[0][2].switches) == (2.0, 2)


def test_one_player_gets_a_table_of_one_column(
    watched: list[tuple[str, str, BrowserPlan]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "http://here/", "--player", "compatible", "--chromium", "/opt/chrome"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["player", "compatible"] in lines and ["slowest_prompt_s", "0.75"] in lines
    assert [plan.chromium for _, _, plan in watched] == ["/opt/chrome"]


def test_the_former_name_of_the_command_still_works_and_warns() -> None:
    command = [sys.executable, "-m", "longlive.web.measure", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage: python -m longlive measure" in done.stdout
    assert "is now python -m longlive measure" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seconds", "-1"), "--seconds is -1.0, but it must be at least 1"),
        (("--seconds", "nan"), "--seconds is nan"),
        (("--switches", "-2"), "--switches is -2"),
        (("--chromium", "/no/such/chromium"), "cannot be watched with /no/such/chromium: "),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    options: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "http://127.0.0.1:9/", *options]) == 2
    message = capsys.readouterr().err
    assert words in message and len(message.splitlines()) == 1
