"""``loadtest``: its options become a plan, and mistakes are reported in one line."""

import pytest

from longlive.benchmark.loadtest import runner
from longlive.benchmark.loadtest.plan import Plan
from longlive.cli import main
from longlive.errors import EndpointError


def test_the_options_become_a_plan_whose_defaults_are_the_plans_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[Plan] = []

    def run_load_test(url: str, plan: Plan, **_: object) -> None:
        plans.append(plan)
        raise EndpointError(f"no LongLive app answers at {url}")

    monkeypatch.setattr(runner, "run_load_test", run_load_test)
    assert main(["loadtest", "http://here/"]) == 2
    assert capsys.readouterr().err == "longlive: no LongLive app answers at http://here/\n"
    options = [
        "--viewers",
        "3",
        "--browsers",
        "1",
        "--waiting",
        "2",
        "--waiting-seconds",
        "4",
        "--read-every",
        "0",
    ]
    assert main(["loadtest", "http://here/", *options, "--seconds", "5", "--patience", "60"]) == 2
    assert plans == [
        Plan(2),
        Plan(3, seconds=5, browsers=1, waiting=2, waiting_s=4, read_every=0, timeout_s=60),
    ]


def test_an_impossible_plan_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loadtest", "http://here/", "--viewers", "0"]) == 2
    assert capsys.readouterr().err.startswith("longlive: ")
