"""Surrogates, bases, epoch noise, the equilibrium control and the tests of stationarity, on known systems."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.directions.random_directions import random_directions
from landscope.errors import InputError
from landscope.noise import window_factor
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.stationarity import lyapunov_residual, yaida_relation
from landscope.surrogates import (
    SURROGATES,
    make_surrogate,
    ornstein_uhlenbeck,
    random_walk_like,
    sign_flipped_epochs,
)
from landscope.surrogates.epoch_noise import crossover_curvature, epoch_noise_time
from landscope.surrogates.langevin import langevin
from landscope.synthetic import (
    InverseGaussian,
    QuadraticBowl,
    RandomSprings,
    autoregressive,
    random_walk,
    sgd_in_bowl,
    sgd_over_epochs,
)
from landscope.trajectory import Trajectory


def test_every_surrogate_keeps_length_start_and_steps():
    window = Trajectory.of(random_walk(120, 5, seed=0), steps=torch.arange(40, 160))
    modes = ls.principal_modes(window)
    assert next(iter(SURROGATES)) == "shuffled"
    for name in SURROGATES:
        made = make_surrogate(name, window, modes, seed=1, steps_per_epoch=20)
        again = make_surrogate(name, window, modes, seed=1, steps_per_epoch=20)
        other = make_surrogate(name, window, modes, seed=2, steps_per_epoch=20)
        assert len(made) == 120
        assert torch.equal(made.steps, window.steps)
        assert torch.equal(made.weights, again.weights)
        assert not torch.equal(made.weights, other.weights)
        if name != "ornstein-uhlenbeck":
            torch.testing.assert_close(made.row(0), window.row(0))


def test_sign_flips_keep_epochs_and_lose_the_drift():
    # As a run records it: rows from step 1 of an epoch on, so the first increment is the epoch's second.
    window = Trajectory.of(random_walk(4000, 3, seed=0, drift=2.0), steps=torch.arange(1201, 5201))
    flipped = sign_flipped_epochs(window, seed=0, steps_per_epoch=100)
    ratio = (flipped.weights.diff(dim=0) / window.weights.diff(dim=0)).round()
    epoch = (window.steps[1:] - 1) // 100
    for number in epoch.unique():
        assert len(ratio[epoch == number].unique()) == 1
    moves = flipped.weights[99::100].diff(dim=0)[:, 0]
    assert abs(float(moves.sign().mean())) < 4 / math.sqrt(39)
    with pytest.raises(InputError, match="two epochs"):
        sign_flipped_epochs(window.window(1201, 1301), seed=0, steps_per_epoch=100)
    assert len(sign_flipped_epochs(window.window(1201, 1401), seed=0, steps_per_epoch=100)) == 200
    with pytest.raises(InputError, match="shufled"):
        make_surrogate("shufled", window, ls.principal_modes(window), seed=0, steps_per_epoch=100)


def test_random_walk_like_has_the_mean_squared_step():
    window = Trajectory.of(random_walk(3000, 4, seed=0, drift=3.0) * torch.tensor([1.0, 2.0, 3.0, 4.0]))
    steps = random_walk_like(window, seed=3, drift=True).weights.diff(dim=0)
    own = window.weights.diff(dim=0)
    assert abs(float(steps.var(dim=0).mean() / own.var(dim=0).mean()) - 1) < 4 * math.sqrt(2 / 12_000)
    assert abs(float(steps[:, 0].mean()) - 3) < 4 * 2.8 / math.sqrt(3000)


def test_ornstein_uhlenbeck_returns_the_variance_and_relaxation_it_was_fitted_to():
    a = torch.tensor([0.95, 0.5, 0.0])
    window = Trajectory.of(autoregressive(a, 40_000, seed=0))
    made = ornstein_uhlenbeck(window, ls.principal_modes(window), seed=1)
    found = ls.noise.velocity_statistics(made, ls.principal_modes(window))
    expected = ls.noise.velocity_statistics(window, ls.principal_modes(window))
    error = 4 * torch.sqrt(2 * 2 * expected.integrated_time / 40_000)  # of a ratio of two variances
    assert ((found.variance / expected.variance).log().abs() < error).all()
    assert ((found.velocity_variance / expected.velocity_variance).log().abs() < 4 * math.sqrt(8 / 40_000)).all()


def test_hessian_basis_finds_the_axes_and_says_how_well():
    curvature = torch.logspace(0, -3, 60, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64)).Q
    found = hessian_eigenvectors(
        lambda w: QuadraticBowl(curvature)(w @ rotation), torch.zeros(60).double(), 10, rtol=1e-8
    )
    torch.testing.assert_close(found.values, curvature[:10], rtol=1e-6, atol=0)
    assert ((found.directions @ rotation).diagonal().abs() > 1 - 1e-6).all()
    assert (found.residuals < 1e-6).all()
    with pytest.raises(InputError, match="between 1 and 60"):
        hessian_eigenvectors(QuadraticBowl(curvature), torch.zeros(60).double(), 61)


def test_hessian_basis_of_a_network_equals_dense_linear_algebra(trained_digits):
    model, data = trained_digits
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, "4.weight"))
    found = hessian_eigenvectors(risk, risk.w0, 5)
    dense = torch.stack([risk.hessian_vector_product(risk.w0, e) for e in torch.eye(risk.space.dim)]).double()
    values = torch.linalg.eigvalsh((dense + dense.T) / 2).flip(0)[:5]
    torch.testing.assert_close(found.values, values, rtol=1e-3, atol=1e-5 * float(values[0]))


def test_gradient_noise_basis_is_the_covariance_of_the_gradients():
    springs = RandomSprings.draw(torch.logspace(0, 1, 6), 200, seed=0)
    found = gradient_noise_eigenvectors(springs, torch.zeros(6).double(), 4)
    noise = ls.noise.gradient_noise(springs, torch.zeros(6).double(), found.directions)
    torch.testing.assert_close(
        noise.covariance, torch.diag(found.values), rtol=1e-9, atol=1e-9 * float(found.values[0])
    )


def test_random_basis_is_orthonormal():
    found = random_directions(40, 7, seed=1)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(7).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pull", [0.002, 0.02, 0.2, 1.5])
@pytest.mark.parametrize("sampling", ["reshuffled", "with-replacement"])
def test_epoch_noise_theory_against_simulation(pull, sampling):
    batches, copies, epochs = 40, 400, 400
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(batches, copies, dtype=torch.float64, generator=generator)
    gradients -= gradients.mean(dim=0)
    curvature = torch.full((copies,), pull / 0.1, dtype=torch.float64)
    path = sgd_over_epochs(gradients, epochs, learning_rate=0.1, seed=3, curvature=curvature, sampling=sampling)
    path = path[len(path) // 10 :]
    tau = path.square().mean(dim=0) / path.diff(dim=0).square().mean(dim=0)
    expected = epoch_noise_time(
        curvature[:1], learning_rate=0.1, batches_per_epoch=batches, reshuffled=sampling == "reshuffled"
    )
    # Columns share one order: their spread is no independent error; T pull/2 independent values bound it.
    error = 4 * math.sqrt(2 / (len(path) * pull / 2)) + 4 * float(tau.std() / tau.mean()) / math.sqrt(copies)
    assert abs(float(tau.mean() / expected) - 1) < min(error, 0.3)


def test_epoch_noise_theory_in_its_limits():
    found = epoch_noise_time(torch.tensor([1e-10, 10.0]), learning_rate=0.1, batches_per_epoch=1200)
    assert math.isclose(found[0], 1201 / 6, rel_tol=1e-4)
    assert math.isclose(crossover_curvature(0.1, 1200, momentum=0.9), 3 * 0.1 / (0.1 * 1200))
    with pytest.raises(InputError, match="curvatures with"):
        epoch_noise_time(torch.tensor([-1.0]), learning_rate=0.1, batches_per_epoch=12)


def test_langevin_gives_the_einstein_relation_through_the_same_code():
    curvature = torch.logspace(0, -1.2, 10, dtype=torch.float64)
    well = InverseGaussian(curvature, minimum=1.0)
    origin, axes = torch.zeros(10, dtype=torch.float64), torch.eye(10, dtype=torch.float64)
    step, temperature, count = 0.2, 1e-4, 10_000
    walk = langevin(well, origin, temperature=temperature, step=step, n_steps=count, seed=0)
    measured = mode_statistics(Directions.of(axes), walk)
    widths = ls.flatness(well, origin, axes)
    law = ls.variance_flatness(Directions.of(axes), walk, widths, (1, 10))
    # sigma_i^2 = T/lambda_i at any step; T/L0 = 1e-4 bends the exponential well by about as much.
    memory = 2 / (step * curvature)
    error = 4 * float(torch.sqrt(2 * memory / count).mean()) / float(torch.log(widths.width).std())
    assert abs(law.psi + 2) < error / math.sqrt(10) + 0.01
    expected = temperature / curvature
    assert ((measured.variance / expected - 1).abs() < 4 * torch.sqrt(2 * memory / count) + 0.02).all()


def test_langevin_subtracts_the_force_at_its_start():
    bowl = QuadraticBowl(torch.tensor([1.0, 1.0]).double())
    start = torch.tensor([3.0, -1.0]).double()
    walk = langevin(bowl, start, temperature=1e-12, step=0.1, n_steps=500, seed=0, within=torch.eye(2).double()[:1])
    assert (walk.weights - start).abs().max() < 1e-4
    assert (walk.weights[:, 1] == -1).all()


def test_yaida_and_lyapunov_hold_in_a_bowl_and_fail_for_free_diffusion():
    curvature = torch.tensor([0.5, 1.0, 2.0]).double()
    bowl = QuadraticBowl(curvature)
    window = Trajectory.of(sgd_in_bowl(curvature, 40_000, learning_rate=0.1, noise_variance=1.0, seed=0))
    modes = Directions.of(torch.eye(3))
    found = yaida_relation(window, bowl, modes, learning_rate=0.1, n_points=8000)
    assert ((found.ratio - 1).abs() < 4 * found.stderr + 0.02).all()
    balance = lyapunov_residual(window, lambda w, v: curvature * v, modes, torch.eye(3).double(), learning_rate=0.1)
    memory = 2 / (0.1 * curvature)
    # alpha C = H S + S H - alpha H S H: the last term is alpha lambda/2 of the first two
    assert ((balance.ratio * (1 - 0.1 * curvature / 2) - 1).abs() < 4 * torch.sqrt(2 * memory / 40_000)).all()
    free = Trajectory.of(random_walk(40_000, 3, seed=1))
    flat = yaida_relation(free, QuadraticBowl(1e-9 * curvature), modes, learning_rate=0.1, n_points=1000)
    assert (flat.ratio.abs() < 0.01).all()


@pytest.mark.parametrize("relaxations", [1.0, 3.0, 10.0, 100.0, 1000.0])
def test_the_balance_of_a_finite_window_is_kappa(relaxations):
    """200 stationary bowls: the mean ratio is kappa(alpha lambda T), not 1; a standard error that is given holds."""
    rows, rate, copies = 4000, 0.1, 200
    curvature = torch.full((copies,), relaxations / (rate * rows)).double()
    window = Trajectory.of(sgd_in_bowl(curvature, rows, learning_rate=rate, noise_variance=1.0, seed=0))
    bowl, axes = QuadraticBowl(curvature), Directions.of(torch.eye(copies))
    found = yaida_relation(window, bowl, axes, learning_rate=rate, n_points=400)
    kappa = float(window_factor(torch.tensor(relaxations)))
    assert float(found.ratio.mean()) == pytest.approx(kappa, abs=4 * float(found.ratio.std()) / math.sqrt(copies))
    assert float(found.expected.median()) == pytest.approx(kappa, rel=0.01)
    assert torch.allclose(found.effective_curvature, curvature, rtol=0.05)
    given = found.stderr.isfinite()
    assert given.all() if relaxations >= 100 else int(given.sum()) < copies / 10
    if given.all():
        held = ((found.ratio - kappa).abs() < 1.96 * found.stderr).double().mean()
        assert float(held) > 0.88


def test_rotating_the_weights_leaves_variances_along_turned_directions_alone():
    path = random_walk(300, 6, seed=0)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    basis = random_directions(6, 3, seed=2)
    turned = Directions.of(basis.directions @ rotation)
    first = mode_statistics(basis, Trajectory.of(path))
    second = mode_statistics(turned, Trajectory.of(path @ rotation))
    torch.testing.assert_close(first.variance, second.variance, rtol=1e-10, atol=0)


def test_the_balance_of_some_weights_needs_the_others_where_they_move():
    # Two directions in the plane, each at an angle to both weights: H has elements off its diagonal.
    curvature, noise = torch.tensor([0.5, 2.0]).double(), torch.eye(2).double()
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    hessian = turn @ curvature.diag() @ turn.T
    path = sgd_in_bowl(curvature, 40_000, learning_rate=0.1, noise_variance=1.0, seed=0)
    space = ls.ParameterSpace(("a", "b"), ((1,), (1,)))
    window = Trajectory.of(path.double() @ turn.T, space=space)
    first = Directions.of(torch.eye(1))
    options = {"learning_rate": 0.1, "parameters": ["a"]}

    def landscape(w):
        return (w @ hessian * w).sum(-1) / 2

    balance = lyapunov_residual(window, lambda w, v: hessian @ v, first, noise[:1, :1], **options)
    found = yaida_relation(window, landscape, first, n_points=8000, **options)
    assert float(balance.ratio[0]) == pytest.approx(1, abs=0.1)
    assert float(found.ratio[0]) == pytest.approx(1, abs=0.1)
    # with the other weight at rest the force along the first is wrong by H_ab Sigma_ab
    alone = lyapunov_residual(
        window.of_parameters("a"), lambda w, v: hessian[0, 0] * v, first, noise[:1, :1], learning_rate=0.1
    )
    assert abs(float(alone.ratio[0]) - 1) > 0.3
