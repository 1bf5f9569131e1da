"""Who watches a run along: ids that cannot be guessed, how many are there, and doors that close."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from longlive.audience import audience as module
from longlive.audience.audience import Audience, Audiences
from longlive.errors import BusyError
from longlive.serving.runs.run import Run

MakeRun = Callable[..., Run]


@pytest.fixture
def some_run(tmp_path: Path) -> MakeRun:
    """Makes runs with folders of their own."""
    numbers = itertools.count()

    def make(viewer: str = "ada") -> Run:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return cast(Run, SimpleNamespace(viewer=viewer, store=SimpleNamespace(folder=folder)))

    return make


def test_a_run_has_one_audience_which_its_id_alone_finds(some_run: MakeRun) -> None:
    audiences, run, other = Audiences(), some_run(), some_run()
    audience = audiences.open(run)
    assert audiences.open(run) is audience is audiences.find(audience.id) is audiences.of_run(run)
    assert len(audience.id) >= 22, "128 bits"
    assert audiences.open(other).id != audience.id
    assert audiences.find("") is None and audiences.find(audience.id[:-1]) is None


def test_a_closed_audience_is_found_no_more_and_the_next_has_another_id(some_run: MakeRun) -> None:
    audiences, run = Audiences(), some_run()
    assert not audiences.close(run)
    audience = audiences.open(run)
    assert audiences.close(run) and not audience.is_open
    assert audiences.find(audience.id) is None and audiences.of_run(run) is None
    assert Audiences([run]).of_run(run) is None, "nor after a restart"
    assert audiences.open(run).id != audience.id


def test_a_link_leads_on_after_a_restart(some_run: MakeRun) -> None:
    audiences, run = Audiences(), some_run()
    audience = audiences.open(run)
    audiences.change(audience, takes_proposals=True)
    audiences.change(audience, is_listed=True)
    found = Audiences([some_run(), run]).find(audience.id)
    assert found is not None and found.run is run
    assert found.takes_proposals and found.is_listed and found.is_open


def test_those_who_watch_go_on_with_the_next_run_of_the_same_viewer(some_run: MakeRun) -> None:
    audiences, first, second, stranger = Audiences(), some_run(), some_run(), some_run("bob")
    audience = audiences.open(first)
    audiences.lead_on("bob", stranger)
    assert audience.run is first
    audiences.lead_on("ada", second)
    assert audience.run is second and audiences.of_run(first) is None
    kept = Audiences([first, second]).find(audience.id)
    assert kept is not None and kept.run is second


def test_a_run_that_has_an_audience_gets_no_other(some_run: MakeRun) -> None:
    audiences, first, second = Audiences(), some_run(), some_run()
    one, two = audiences.open(first), audiences.open(second)
    audiences.lead_on("ada", second)
    assert (one.run, two.run) == (first, second)


def test_only_those_are_listed_that_are_to_be(some_run: MakeRun) -> None:
    audiences = Audiences()
    audience, _ = audiences.open(some_run()), audiences.open(some_run())
    assert audiences.listed() == []
    audiences.change(audience, is_listed=True)
    assert audiences.listed() == [audience]
    audiences.change(audience, takes_proposals=True)
    assert audiences.listed() == [audience], "what is not given stays"


def test_proposals_are_told_without_who_made_them_and_only_where_they_are_asked_for(
    some_run: MakeRun,
) -> None:
    audience = Audience(some_run())
    audience.proposals.propose("the-voice", "10.0.0.1", "a blue cube")
    assert audience.describe() == {"takes_proposals": False, "proposals": []}
    audience.takes_proposals = True
    shown = [{"number": 1, "text": "a blue cube", "votes": 1}]
    assert audience.describe() == {"takes_proposals": True, "proposals": shown}


def test_those_who_watch_are_counted_while_they_do(
    some_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WATCHERS", 2)
    audience = Audience(some_run())
    with audience.join(), audience.join():
        assert audience.count == 2
        with pytest.raises(BusyError, match="2 are watching already"), audience.join():
            pass
    with pytest.raises(ZeroDivisionError), audience.join():
        raise ZeroDivisionError
    assert (audience.count, audience.peak) == (0, 2)
