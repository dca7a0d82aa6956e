"""One Kronecker product in place of two, against dense linear algebra."""

import dataclasses

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.memory.methods.accumulate import accumulate
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty

M, N = 3, 4


def half(size, rank, generator):
    rows = torch.randn(rank, size, dtype=torch.float64, generator=generator)
    return rows.T @ rows


def layer(seed, ranks=(M, N), strength=2.0):
    generator = torch.Generator().manual_seed(seed)
    return KroneckerPenalty(
        anchor=torch.randn(M, N, dtype=torch.float64, generator=generator), strength=strength,
        outputs=half(M, ranks[0], generator), inputs=half(N, ranks[1], generator),
    )  # fmt: skip


def placed(penalty):
    """All weights of a network but the first."""
    return PartPenalty(penalty, torch.arange(M * N) + 1, dim=M * N + 1)


def stiffness(penalty):
    return penalty.strength * torch.kron(penalty.outputs, penalty.inputs)


def rearranged(matrix):
    """Rows of vec(G), columns of vec(A): a Kronecker product has rank one here."""
    return matrix.view(M, N, M, N).permute(0, 2, 1, 3).reshape(M * M, N * N)


@pytest.mark.parametrize("ranks", [(M, N), (1, N), (2, 2), (1, 1)])
def test_the_new_anchor_is_where_the_sum_is_least(ranks):
    first, second = layer(0, ranks), layer(1, ranks, strength=0.5)
    one = ls.penalties.nearest_kronecker_penalty(first, second)
    total = PenaltySum((first, second))
    slope_far = float(total.gradient(torch.zeros(M * N, dtype=torch.float64)).norm())
    assert float(total.gradient(one.anchor.flatten()).norm()) < 1e-9 * slope_far


def test_what_neither_holds_stays_where_the_later_has_it():
    first, second = layer(0, (1, 1)), layer(1, (1, 1))
    one = ls.penalties.nearest_kronecker_penalty(first, second)
    both = stiffness(first) + stiffness(second)
    moved = (one.anchor - second.anchor).flatten()
    held = torch.linalg.svd(torch.cat([first.outputs, second.outputs])).Vh[:2]
    outside = torch.eye(M, dtype=torch.float64) - held.T @ held
    assert torch.allclose(outside @ moved.view(M, N), torch.zeros(M, N, dtype=torch.float64), atol=1e-9)
    assert float((both @ moved).norm()) > 0.01  # it did move where they hold


@pytest.mark.parametrize("ranks", [(M, N), (1, 2)])
def test_the_stiffness_is_the_nearest_product_and_as_wrong_as_it_says(ranks):
    first, second = layer(2, ranks), layer(3, ranks)
    one = ls.penalties.nearest_kronecker_penalty(first, second)
    exact = stiffness(first) + stiffness(second)
    singular = torch.linalg.svdvals(rearranged(exact))
    least = float(singular[1:].norm() / singular.norm())
    assert float((stiffness(one) - exact).norm() / exact.norm()) == pytest.approx(least, rel=1e-6)
    assert one.provenance["settings"]["relative_error"] == pytest.approx(least, rel=1e-6)
    for factor in (one.outputs, one.inputs):
        assert float(torch.linalg.eigvalsh(factor).min()) > -1e-10


def test_it_is_exact_up_to_a_constant_where_the_inputs_are_the_same():
    first = layer(4)
    second = KroneckerPenalty(anchor=-first.anchor, outputs=layer(5).outputs, inputs=3 * first.inputs)
    one, total = ls.penalties.nearest_kronecker_penalty(first, second), PenaltySum((first, second))
    w = torch.randn(20, first.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    difference = total(w) - one(w)
    assert torch.allclose(difference, difference[:1].expand(20), rtol=1e-9)
    assert one.provenance["settings"]["relative_error"] < 1e-6


def test_a_penalty_that_holds_nothing_changes_nothing():
    free = layer(6)
    free = dataclasses.replace(free, outputs=0 * free.outputs, inputs=0 * free.inputs)
    kept = layer(7)
    for pair in ((free, kept), (kept, free)):
        one = ls.penalties.nearest_kronecker_penalty(*pair)
        w = torch.randn(5, kept.dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(one(w), kept(w), rtol=1e-9)
    nothing = ls.penalties.nearest_kronecker_penalty(free, free)
    assert not nothing(torch.ones(free.dim, dtype=torch.float64))


def test_many_tasks_keep_as_much_as_one_where_a_rank_is_told():
    def task(seed):
        diagonal = ls.penalties.QuadraticPenalty(anchor=torch.zeros(1).double(), stiffness=torch.ones(1).double())
        return PenaltySum((placed(layer(seed)), PartPenalty(diagonal, torch.tensor([0]), dim=M * N + 1)))

    bounded = exact = None
    for seed in range(5):
        bounded, exact = accumulate(bounded, task(seed), 10), accumulate(exact, task(seed))
    assert bounded.n_stored == task(0).n_stored
    assert exact.n_stored == 5 * task(0).n_stored
    assert float(bounded.parts[1].part.stiffness) == 5


@pytest.mark.parametrize("order", [1, -1])
def test_a_layer_that_one_task_holds_weight_by_weight_is_held_so_for_all(order):
    product, generator = placed(layer(0)), torch.Generator().manual_seed(1)
    stiffness_of_each = torch.rand(M * N, dtype=torch.float64, generator=generator)
    own = ls.penalties.QuadraticPenalty(anchor=torch.ones(M * N).double(), stiffness=stiffness_of_each)
    single = placed(own)
    parts = [PenaltySum((part,)) for part in (product, single)][::order]
    both = accumulate(parts[0], parts[1], 10)
    assert len(both.parts) == 1
    assert both.n_stored == single.n_stored == 2 * M * N
    # Along a single weight the diagonal is all there is.
    w = torch.randn(product.dim, dtype=torch.float64, generator=generator)
    for k in product.columns.tolist():
        axis = torch.zeros(product.dim, dtype=torch.float64)
        axis[k] = 1
        curvatures = [float(axis @ p.hessian_vector_product(w, axis)) for p in (product, single, both)]
        assert curvatures[2] == pytest.approx(curvatures[0] + curvatures[1], rel=1e-12)


def test_other_weights_are_refused():
    other = KroneckerPenalty(
        anchor=torch.zeros(1, 1).double(), outputs=torch.eye(1).double(), inputs=torch.eye(1).double()
    )
    with pytest.raises(InputError, match="the same weights of one layer"):
        ls.penalties.nearest_kronecker_penalty(layer(0), other)
