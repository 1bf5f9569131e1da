"""Rotary positions: the released constants and split, relative scores, and tables that no cast can spoil."""

import pytest
import torch
from torch import Tensor

from longlive.models import rope as rope_module
from longlive.models.rope import THETA, Rope, reverse, rotate, runs


def angles_of(position: tuple[int, int, int], head_dim: int) -> Tensor:
    """The angle of each channel pair, straight from the formula: time, then rows, then columns."""
    space = 2 * (head_dim // 6)
    sizes = (head_dim - 2 * space, space, space)
    parts = [
        p * 10000.0 ** -(torch.arange(0, d, 2).double() / d) for p, d in zip(position, sizes, strict=True)
    ]
    return torch.cat(parts)


def test_theta_is_the_released_one() -> None:
    """A wrong theta of 9999 changes the goldens by less than their tolerance."""
    assert THETA == 10000.0


def test_a_head_of_128_is_split_44_42_42() -> None:
    rope = Rope(128, 4)
    assert (rope.time.shape[1], rope.rows.shape[1], rope.columns.shape[1]) == (44, 42, 42)


@pytest.mark.parametrize("head_dim", [12, 16, 32, 48, 128])
def test_each_token_turns_by_its_own_place(head_dim: int) -> None:
    rotation = Rope(head_dim, 40).rotation([7, 8, 3], rows=2, columns=3)
    assert rotation.shape == (18, 1, head_dim // 2, 2)
    for token, position in [(0, (7, 0, 0)), (5, (7, 1, 2)), (7, (8, 0, 1)), (17, (3, 1, 2))]:
        angles = angles_of(position, head_dim)
        assert torch.allclose(rotation[token, 0, :, 0].double(), angles.cos(), atol=1e-6)
        assert torch.allclose(rotation[token, 0, :, 1].double(), angles.sin(), atol=1e-6)


def test_rotate_turns_neighbouring_pairs() -> None:
    x = torch.tensor([1.0, 0.0, 0.0, 2.0]).view(1, 1, 1, 4)
    quarter = torch.tensor([0.0, 1.0]).repeat(2).view(1, 1, 2, 2)
    assert torch.allclose(rotate(x, quarter).flatten(), torch.tensor([0.0, 1.0, -2.0, 0.0]), atol=1e-6)


def test_scores_depend_on_differences_of_time_alone() -> None:
    torch.manual_seed(0)
    rope, q, k = Rope(12, 64), torch.randn(1, 1, 1, 12), torch.randn(1, 1, 1, 12)
    scores = [
        (rotate(q, rope.rotation([a], 1, 1)) * rotate(k, rope.rotation([b], 1, 1))).sum()
        for a, b in ((5, 2), (63, 60), (3, 0))
    ]
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    assert torch.allclose(scores[0], scores[2], atol=1e-5)


def test_the_reverse_undoes_a_rotation() -> None:
    torch.manual_seed(0)
    x, rotation = torch.randn(2, 12, 3, 12), Rope(12, 64).rotation([60, 2], 2, 3)
    assert torch.allclose(rotate(rotate(x, rotation), reverse(rotation)), x, atol=1e-6)


def test_what_the_compiler_reads_gives_the_same_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, rotation = torch.randn(2, 12, 3, 12), Rope(12, 64).rotation([60, 2], 2, 3)
    plain = rotate(x, rotation)
    monkeypatch.setattr(rope_module.torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(torch, "view_as_complex", None)
    assert torch.allclose(rotate(x, rotation), plain, atol=1e-6)


def test_a_rotation_is_made_once_and_few_are_kept() -> None:
    rope = Rope(12, 64)
    first = rope.rotation([5, 6], 2, 3)
    assert rope.rotation((5, 6), 2, 3) is first
    assert rope.rotation([5, 6], 3, 2) is not first
    for position in range(20):
        rope.rotation([position], 2, 3)
    assert len(rope._recent) == 8
    assert torch.equal(rope.rotation([5, 6], 2, 3), first)


def test_moving_the_tables_forgets_what_was_made_of_them() -> None:
    rope = Rope(12, 64)
    first = rope.rotation([5], 2, 3)
    assert rope.to("meta").rotation([5], 2, 3).device.type == "meta"
    assert first.device.type == "cpu"


def test_a_model_cast_to_bfloat16_keeps_exact_angles() -> None:
    """``Module.to`` casts every floating-point buffer, which would ruin positions beyond a few."""
    cast = Rope(12, 64).to(torch.bfloat16)
    assert torch.equal(cast.rotation([61], 2, 3), Rope(12, 64).rotation([61], 2, 3))


def test_tables_exist_even_when_weights_are_built_without_memory() -> None:
    with torch.device("meta"):
        rope = Rope(12, 64)
    assert torch.equal(rope.rotation([5], 1, 2), Rope(12, 64).rotation([5], 1, 2))


def test_low_precision_goes_in_and_out_but_is_turned_in_float32() -> None:
    torch.manual_seed(0)
    x, rotation = torch.randn(1, 6, 2, 12).bfloat16(), Rope(12, 64).rotation([40], 2, 3)
    turned = rotate(x, rotation)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate(x.float(), rotation).bfloat16())


@pytest.mark.parametrize(("positions", "rows"), [([64], 1), ([70, 0], 1), ([0], 65)])
def test_places_beyond_the_table_are_refused(positions: list[int], rows: int) -> None:
    with pytest.raises(ValueError, match="beyond the table of 64"):
        Rope(12, 64).rotation(positions, rows, 1)


def test_runs_are_the_stretches_that_count_upwards() -> None:
    assert runs([3, 4, 5, 0, 1, 9]) == [(3, 6), (0, 2), (9, 10)]
    assert runs(range(2, 5)) == [(2, 5)]
    assert runs([4]) == [(4, 5)]
