"""Implicit steps with a step size for each weight, against dense algebra."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.penalties import KroneckerPenalty, PartPenalty, PenaltySum
from quadratics import diagonal, form_of, layer_penalty, low_rank

SHAPE = (9, 14)
DIM = 126


def product(strength=1.0, seed=0):
    """A product whose eigenvalues fall over four decades, as those of real layers do."""
    generator = torch.Generator().manual_seed(100 + seed)

    def factor(n):
        rows = torch.randn(2 * n, n, generator=generator).double() * torch.logspace(0, -2, n).double()
        turn = torch.linalg.qr(torch.randn(n, n, generator=generator).double()).Q
        return turn @ rows.T @ rows @ turn.T / n

    anchor = torch.randn(SHAPE, generator=generator).double()
    return KroneckerPenalty(anchor=anchor, outputs=factor(SHAPE[0]), inputs=factor(SHAPE[1]), strength=strength)


def on_layer(penalty):
    return PartPenalty(penalty, torch.arange(DIM), dim=DIM)


def stiff_below_floor():
    soft = low_rank(DIM, k=7, floor=2.0)
    return ls.penalties.QuadraticPenalty(
        anchor=soft.anchor, directions=soft.directions, stiffness=torch.linspace(0, 5, 7).double(), floor=2.0
    )


EXACT = {
    "diagonal": lambda: diagonal(DIM),
    "directions": lambda: low_rank(DIM, k=7, floor=0.0),
    "directions and floor": lambda: low_rank(DIM, k=7),
    "directions softer than the floor": stiff_below_floor,
    "part": lambda: PartPenalty(diagonal(60), torch.randperm(DIM)[:60], dim=DIM),
}
ITERATED = {
    "product": lambda: product(),
    "products of three tasks": lambda: PenaltySum(tuple(on_layer(product(2.0, seed)) for seed in range(3))),
    "nested sums": lambda: PenaltySum((PenaltySum((on_layer(product()),)), PenaltySum((on_layer(product(seed=1)),)))),
    "all kinds": lambda: PenaltySum((on_layer(product()), low_rank(DIM), diagonal(DIM))),
    "layers that overlap": lambda: PenaltySum((layer_penalty(DIM), layer_penalty(DIM), diagonal(DIM))),
}


def spread(seed=0):
    """Step sizes over six decades, one of them 0."""
    sizes = 10 ** (6 * torch.rand(DIM, generator=torch.Generator().manual_seed(seed)).double() - 4)
    sizes[3] = 0.0
    return sizes


def dense_step(penalty, w, sizes):
    hessian, at_zero = form_of(penalty, DIM)
    return torch.linalg.solve(torch.eye(DIM).double() + sizes[:, None] * hessian, w - sizes * at_zero)


def objective(penalty, u, w, sizes):
    moved = sizes > 0
    return float(penalty(u) + ((u - w)[moved].square() / (2 * sizes[moved])).sum())


@pytest.mark.parametrize("name", list(EXACT))
def test_steps_along_directions_and_of_single_weights_are_exact(name):
    torch.manual_seed(0)
    penalty, sizes = EXACT[name](), spread()
    points = torch.randn(2, 2, DIM).double()
    found = penalty.proximal_step(points, sizes)
    for w, u in zip(points.reshape(-1, DIM), found.reshape(-1, DIM), strict=True):
        assert torch.allclose(u, dense_step(penalty, w, sizes), rtol=0, atol=1e-9)
        assert u[3] == w[3]


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("name", list(ITERATED))
def test_steps_of_products_and_sums_are_near_the_minimum(name, strength):
    """The residual is 0.001 of the pull, so what is left of the descent is 1e-6 times the condition of the system
    after the approximate inverse, here below 1000. At the largest strength 30 iterations leave a few per cent."""
    torch.manual_seed(0)
    penalty, sizes = ITERATED[name]().with_strength(strength), spread()
    w = torch.randn(DIM).double()
    found, best = penalty.proximal_step(w, sizes), dense_step(penalty, w, sizes)
    start, reached, least = (objective(penalty, u, w, sizes) for u in (w, found, best))
    left = 1e-3 if strength < 1e9 else 0.05
    assert reached - least <= left * (start - least)
    assert found[3] == w[3]
    single = penalty.to(dtype=torch.float32).proximal_step(w.float(), sizes.float())
    assert single.dtype == torch.float32
    assert objective(penalty, single.double(), w, sizes) - least <= 2 * left * (start - least)


@pytest.mark.parametrize("name", [*EXACT, *ITERATED])
def test_the_minimum_of_loss_plus_penalty_is_a_fixed_point(name):
    """One step of descent in the metric, w - alpha grad L, and the implicit step lead back to where they started."""
    torch.manual_seed(0)
    penalty = {**EXACT, **ITERATED}[name]()
    curvature, centre = torch.rand(DIM).double(), torch.randn(DIM).double()
    sizes = 0.5 * torch.rand(DIM).double() / curvature
    hessian, at_zero = form_of(penalty, DIM)
    least = torch.linalg.solve(hessian + torch.diag(curvature), curvature * centre - at_zero)
    stepped = least - sizes * curvature * (least - centre)
    away = float((penalty.proximal_step(stepped, sizes) - least).norm() / (stepped - least).norm())
    assert away < (1e-9 if name in EXACT else 5e-3)


def test_equal_step_sizes_are_one_step_size_and_others_are_refused():
    torch.manual_seed(0)
    w, sizes = torch.randn(DIM).double(), torch.full((DIM,), 0.3).double()
    for make in (*EXACT.values(), *ITERATED.values()):
        penalty = make()
        assert torch.equal(penalty.proximal_step(w, sizes), penalty.proximal_step(w, float(sizes[0])))
        assert torch.equal(penalty.proximal_step(w, torch.zeros(DIM)), w)
        with pytest.raises(InputError, match="step sizes of at least 0"):
            penalty.proximal_step(w, -sizes)


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("name", list(ITERATED))
def test_iterations_from_the_weights_before_lead_downhill_and_on_to_the_minimum(name, strength):
    """Conjugate gradients lower the objective of the step from their start, at any strength."""
    torch.manual_seed(0)
    penalty, sizes = ITERATED[name]().with_strength(strength), spread()
    before = torch.randn(DIM).double()
    w = before - sizes * torch.randn(DIM).double()
    found, best = penalty.proximal_step(w, sizes, before), dense_step(penalty, w, sizes)
    start, reached, least = (objective(penalty, u, w, sizes) for u in (before, found, best))
    assert found[3] == w[3]
    # A tenth of the residual leaves 1 % of the descent times the condition after the approximate inverse, below 100.
    assert least - 1e-9 * abs(least) <= reached <= start
    if strength <= 1.0:
        assert reached - least <= 0.1 * (start - least)


@pytest.mark.parametrize("name", [*EXACT, *ITERATED])
def test_from_the_minimum_of_loss_plus_penalty_no_step_leads_away(name):
    """Exactly, however few iterations there are: the right-hand side is what loss and penalty still pull."""
    torch.manual_seed(0)
    penalty = {**EXACT, **ITERATED}[name]()
    curvature, centre = torch.rand(DIM).double(), torch.randn(DIM).double()
    sizes = 0.5 * torch.rand(DIM).double() / curvature
    hessian, at_zero = form_of(penalty, DIM)
    least = torch.linalg.solve(hessian + torch.diag(curvature), curvature * centre - at_zero)
    stepped = least - sizes * curvature * (least - centre)
    away = float((penalty.proximal_step(stepped, sizes, least) - least).norm() / (stepped - least).norm())
    assert away < (5e-3 if name in ("all kinds", "layers that overlap") else 1e-9)  # those begin elsewhere
