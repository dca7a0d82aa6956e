"""Merged and factored penalties against the sums that they replace."""

import pytest
import torch

import landscope as ls
from landscope.penalties.blocks import PenaltySum
from quadratics import form_of, low_rank


@pytest.mark.parametrize("floors", [(0.2, 0.3), (0.0, 0.1), (0.0, 0.0)])
def test_a_merged_penalty_is_the_sum(floors):
    torch.manual_seed(4)
    parts = [low_rank(floor=floor) for floor in floors]
    total = PenaltySum(tuple(parts))
    merged = ls.penalties.merged_penalty([total])
    w = torch.randn(20, 11).double() * 3
    assert torch.allclose(merged(w), total(w), rtol=1e-9)
    assert torch.allclose(merged.gradient(w), total.gradient(w), rtol=1e-9, atol=1e-9)
    assert torch.allclose(merged.gradient(merged.anchor), torch.zeros(11).double(), atol=1e-9)
    assert merged.provenance["settings"]["largest_error"] == 0


def test_merged_diagonals_are_the_sum_and_leave_free_weights_where_they_are():
    anchors = torch.randn(3, 5).double()
    stiffness = torch.rand(3, 5).double()
    stiffness[:, 2] = 0
    parts = [
        ls.penalties.QuadraticPenalty(anchor=a, stiffness=k, strength=2.0)
        for a, k in zip(anchors, stiffness, strict=True)
    ]
    merged, w = ls.penalties.merged_penalty(parts), torch.randn(7, 5).double()
    assert torch.allclose(merged(w), PenaltySum(tuple(parts))(w), rtol=1e-9)
    assert float(merged.anchor[2]) == float(anchors[-1, 2])


def test_a_merge_to_a_smaller_rank_is_as_wrong_as_it_says():
    torch.manual_seed(5)
    parts = [low_rank(k=4), low_rank(k=4)]
    exact, _ = form_of(PenaltySum(tuple(parts)))
    for rank in (0, 2, 5, 8):
        merged = ls.penalties.merged_penalty(parts, rank=rank)
        assert len(merged.stiffness) == rank
        assert merged.n_stored == (rank + 1) * 11 + rank
        difference = (form_of(merged)[0] - exact) / 2  # a slope is twice the stiffness
        largest = float(torch.linalg.eigvalsh(difference).abs().max())
        assert largest == pytest.approx(merged.provenance["settings"]["largest_error"], rel=1e-6, abs=1e-12)
        assert torch.allclose(merged.anchor, ls.penalties.merged_penalty(parts).anchor, atol=1e-9)
        # The floor is the mean stiffness of all that is not kept.
        assert abs(float(difference.trace())) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalties_on_the_same_directions_merge_at_any_rank(dtype):
    for seed in range(20):
        torch.manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(11, 3).to(dtype)).Q.T.contiguous()
        parts = [ls.penalties.QuadraticPenalty(anchor=torch.randn(11).to(dtype), directions=directions,
                                     stiffness=torch.rand(3).to(dtype)) for _ in range(2)]  # fmt: skip
        merged = ls.penalties.merged_penalty(parts, rank=3)
        w = torch.randn(11).to(dtype)
        assert float(merged(w)) == pytest.approx(float(PenaltySum(tuple(parts))(w)), rel=1e-3)


def test_twenty_tasks_keep_bounded_memory():
    torch.manual_seed(6)
    merged = low_rank(k=2)
    for _ in range(19):
        merged = ls.penalties.merged_penalty([merged, low_rank(k=2)], rank=4)
    assert merged.n_stored == 5 * 11 + 4


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_a_factored_penalty_keeps_the_stiffness_of_rows_and_columns(floor):
    torch.manual_seed(6)
    space = ls.ParameterSpace(("a.weight", "a.bias", "scale"), ((2, 4), (2,), ()))
    penalty = low_rank(floor=floor, k=5)
    factored = ls.penalties.factored_penalty(penalty, space)
    matrix = form_of(penalty)[0]
    for part, shape in zip(factored.parts, ((2, 4), (2, 1), (1, 1)), strict=True):
        m, n = shape
        places = part.columns
        block = matrix[places][:, places].view(m, n, m, n)
        own = form_of(part)[0][places][:, places].view(m, n, m, n)
        assert torch.allclose(
            own, torch.einsum("op,ij->oipj", part.part.outputs, part.part.inputs) * 2 * penalty.strength, rtol=1e-9
        )
        for kept in ("oipi->op", "oioj->ij"):
            assert torch.allclose(torch.einsum(kept, own), torch.einsum(kept, block), rtol=1e-9, atol=1e-12)
    assert float(factored(penalty.anchor)) == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(factored.gradient(penalty.anchor), torch.zeros(11).double())


def test_directions_with_a_common_side_are_factored_exactly():
    torch.manual_seed(7)
    side, others = torch.randn(3).double(), torch.linalg.qr(torch.randn(4, 3).double()).Q.T
    directions = torch.stack([torch.outer(side / side.norm(), other).flatten() for other in others])
    penalty = ls.penalties.QuadraticPenalty(
        anchor=torch.randn(12).double(), directions=directions, stiffness=torch.tensor([2.0, 0.5, 7.0]).double()
    )
    w = torch.randn(5, 12).double()
    factored = ls.penalties.factored_penalty(penalty, ls.ParameterSpace(("w",), ((3, 4),)))
    assert torch.allclose(factored(w), penalty(w), rtol=1e-9)
    assert factored.n_stored == 12 + 9 + 16


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_what_factors_would_make_larger_keeps_its_diagonal(floor):
    torch.manual_seed(8)
    penalty = low_rank(floor=floor, k=3)
    factored = ls.penalties.factored_penalty(penalty, ls.ParameterSpace(("long", "short"), ((9,), (2,))))
    assert [type(part.part).__name__ for part in factored.parts] == ["QuadraticPenalty", "KroneckerPenalty"]
    diagonal = form_of(factored)[0].diagonal()[:9]
    assert torch.allclose(diagonal, form_of(penalty)[0].diagonal()[:9], rtol=1e-9)
    assert factored.n_stored == 2 * 9 + (2 + 4 + 1)
