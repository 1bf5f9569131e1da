"""Draws by counter: nothing depends on how a batch is cut, and no two draws are the same by mistake."""

import torch

from longlive.training.objectives.draws import DROP, CounterRng

CPU = torch.device("cpu")


def test_a_sample_draws_the_same_in_any_micro_batch() -> None:
    whole, half = CounterRng(3, range(4), CPU), CounterRng(3, range(2, 4), CPU)
    assert torch.equal(whole.uniform(5)[2:], half.uniform(5))
    assert torch.equal(whole.clip_noise(5, (2, 3))[2:], half.clip_noise(5, (2, 3)))
    assert torch.equal(whole.steps(5, 7, 4)[2:], half.steps(5, 7, 4))
    chunk = {"chunk": 2, "step": 1}
    assert torch.equal(whole.chunk_noise(5, (2, 3), **chunk)[2:], half.chunk_noise(5, (2, 3), **chunk))


def test_exit_and_switch_are_drawn_once_for_all_samples() -> None:
    one, other = CounterRng(3, [0], CPU), CounterRng(3, [7], CPU)
    calls = range(40)
    assert [one.exit_step(call, 4) for call in calls] == [other.exit_step(call, 4) for call in calls]
    assert {one.exit_step(call, 4) for call in calls} == {0, 1, 2, 3}
    starts = (21, 39, 57)
    assert {one.switch_start(sequence, starts) for sequence in calls} == set(starts)
    assert one.switch_start(0, ()) is None


def test_different_draws_are_different() -> None:
    draws = CounterRng(3, [0, 1], CPU)
    drawn = [
        draws.clip_noise(0, (8,)),
        draws.clip_noise(1, (8,)),
        CounterRng(4, [0, 1], CPU).clip_noise(0, (8,)),
        *(
            draws.chunk_noise(number, (8,), chunk=c, step=s)
            for number in (0, 1)
            for c in (0, 1)
            for s in (0, 1)
        ),
    ]
    rows = torch.cat(drawn)
    assert len({tuple(row.tolist()) for row in rows}) == len(rows)
    assert not torch.equal(draws.uniform(0), draws.uniform(0, kind=DROP))
    assert ((draws.uniform(0) >= 0) & (draws.uniform(0) < 1)).all()
