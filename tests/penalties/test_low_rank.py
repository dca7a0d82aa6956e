"""Kronecker penalties whose input factor has a low rank, against dense factors."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.memory.methods.accumulate import accumulate
from landscope.penalties import KroneckerPenalty, LowRankKroneckerPenalty, PartPenalty, low_rank_penalty

M, N, RANK = 4, 9, 3


def spectrum(*values):
    """Eigenvalues that fall to zero after those given."""
    return torch.tensor([*values, *[0.0] * (N - len(values))]).double()


def product(values, seed=0, strength=2.0):
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(N, N, generator=generator).double()).Q
    rows = torch.randn(2 * M, M, generator=generator).double()
    anchor = torch.randn(M, N, generator=generator).double()
    return KroneckerPenalty(
        anchor=anchor, inputs=turn @ torch.diag(values) @ turn.T, outputs=rows.T @ rows, strength=strength
    )


def dense_twin(low):
    """The same penalty with a dense input factor, written out eigenvector by eigenvector."""
    inputs = low.floor * torch.eye(N).double()
    for value, v in zip(low.values, low.directions, strict=True):
        inputs = inputs + (value - low.floor) * torch.outer(v, v)
    return KroneckerPenalty(anchor=low.anchor, inputs=inputs, outputs=low.outputs, strength=low.strength)


@pytest.mark.parametrize("rest", [0.0, 0.7])
def test_it_is_exact_where_the_factor_has_that_rank_beside_equal_eigenvalues(rest):
    full = product(torch.cat([torch.tensor([5.0, 3.0, 1.0]).double(), torch.full((N - RANK,), rest).double()]))
    low = low_rank_penalty(full, RANK)
    assert isinstance(low, LowRankKroneckerPenalty)
    assert torch.allclose(low.inputs, full.inputs, atol=1e-12)
    w = torch.randn(M * N, generator=torch.Generator().manual_seed(1)).double()
    assert float(low(w)) == pytest.approx(float(full(w)), rel=1e-12)
    assert torch.allclose(low.gradient(w), full.gradient(w), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rank", [0, 1, RANK, N - 2])
def test_the_trace_is_kept_the_remainder_is_positive_and_fewer_numbers_are_stored(rank):
    full = product(torch.arange(N, 0, -1).double())
    low = low_rank_penalty(full, rank)
    assert float(low.inputs.trace()) == pytest.approx(float(full.inputs.trace()), rel=1e-12)
    assert low.floor == pytest.approx(sum(range(1, N - rank + 1)) / (N - rank))
    assert float(torch.linalg.eigvalsh(low.inputs).min()) > 0
    assert low.n_stored == M * N + M * M + rank * N + rank + 1 < full.n_stored


@pytest.mark.parametrize("step", ["one", "one a weight", "from the weights before"])
def test_values_slopes_and_steps_are_those_of_the_dense_twin(step):
    low = low_rank_penalty(product(spectrum(5.0, 3.0, 1.0, 0.5, 0.1)), RANK)
    twin, generator = dense_twin(low), torch.Generator().manual_seed(1)
    w, before = torch.randn(2, 3, M * N, generator=generator).double()
    sizes = 0.3 if step == "one" else torch.rand(M * N, generator=generator).double()
    start = before if step == "from the weights before" else None
    assert torch.allclose(low(w), twin(w), rtol=1e-12)
    assert torch.allclose(low.gradient(w), twin.gradient(w), rtol=1e-10, atol=1e-10)
    found, expected = (penalty.proximal_step(w, sizes, start) for penalty in (low, twin))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_two_tasks_keep_the_rank_and_the_trace():
    first, second = (product(torch.arange(N, 0, -1).double() ** k, seed=k) for k in (1, 2))
    low = [low_rank_penalty(penalty, RANK) for penalty in (first, second)]
    both, twin = (
        ls.penalties.nearest_kronecker_penalty(*low),
        ls.penalties.nearest_kronecker_penalty(*map(dense_twin, low)),
    )
    assert isinstance(both, LowRankKroneckerPenalty)
    assert both.n_stored == low[0].n_stored
    assert torch.allclose(both.inputs, low_rank_penalty(twin, RANK).inputs, rtol=1e-9, atol=1e-9)
    assert torch.allclose(both.anchor, twin.anchor)
    assert float(both.inputs.trace()) == pytest.approx(float(twin.inputs.trace()), rel=1e-10)
    placed = [PartPenalty(penalty, torch.arange(M * N), dim=M * N) for penalty in low]
    held = accumulate(ls.penalties.PenaltySum((placed[0],)), ls.penalties.PenaltySum((placed[1],)), 0)
    assert held.n_stored == low[0].n_stored


def test_two_tasks_about_the_same_weights_stay_there():
    first = product(spectrum(5.0, 3.0))
    second = ls.penalties.moved_penalty(product(spectrum(2.0, 1.0), seed=1), first.anchor.flatten())
    assert torch.equal(ls.penalties.nearest_kronecker_penalty(first, second).anchor, first.anchor)


def test_a_state_is_read_back_and_a_small_factor_stays_dense():
    low = low_rank_penalty(product(spectrum(5.0, 3.0, 1.0, 0.5)), RANK)
    again, w = ls.penalties.load_penalty(low.state_dict()), torch.ones(M * N).double()
    assert torch.equal(again(w), low(w))
    full = product(spectrum(5.0))
    assert low_rank_penalty(full, N) is full


def test_misuse_is_refused():
    low = low_rank_penalty(product(spectrum(5.0, 3.0, 1.0)), RANK)
    fields = {name: getattr(low, name) for name in ("anchor", "directions", "values", "outputs")}
    with pytest.raises(InputError, match="orthonormal"):
        LowRankKroneckerPenalty(**(fields | {"directions": 2 * low.directions}))
    with pytest.raises(InputError, match="at least 0"):
        LowRankKroneckerPenalty(**(fields | {"values": -low.values}))
    with pytest.raises(InputError, match="rank"):
        low_rank_penalty(product(spectrum(1.0)), -1)
