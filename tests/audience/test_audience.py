"""Who watches a run along: ids that cannot be guessed, how many are there, and doors that close."""

from types import SimpleNamespace
from typing import cast

import pytest

from longlive.audience import audience as module
from longlive.audience.audience import Audience, Audiences
from longlive.errors import BusyError
from longlive.serving.runs.run import Run


def some_run() -> Run:
    return cast(Run, SimpleNamespace())


def test_a_run_has_one_audience_which_its_id_alone_finds() -> None:
    audiences, run, other = Audiences(), some_run(), some_run()
    audience = audiences.open(run)
    assert audiences.open(run) is audience is audiences.find(audience.id) is audiences.of_run(run)
    assert len(audience.id) >= 22, "128 bits"
    assert audiences.open(other).id != audience.id
    assert audiences.find("") is None and audiences.find(audience.id[:-1]) is None


def test_a_closed_audience_is_found_no_more_and_the_next_has_another_id() -> None:
    audiences, run = Audiences(), some_run()
    assert not audiences.close(run)
    audience = audiences.open(run)
    assert audiences.close(run) and not audience.is_open
    assert audiences.find(audience.id) is None and audiences.of_run(run) is None
    assert audiences.open(run).id != audience.id


def test_those_who_watch_are_counted_while_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHERS", 2)
    audience = Audience(some_run())
    with audience.join(), audience.join():
        assert audience.count == 2
        with pytest.raises(BusyError, match="2 are watching already"), audience.join():
            pass
    with pytest.raises(ZeroDivisionError), audience.join():
        raise ZeroDivisionError
    assert (audience.count, audience.peak) == (0, 2)
