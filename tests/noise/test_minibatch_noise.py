"""The minibatch ensemble, the log-sum-exp identity, gradient noise and temperature, on springs and on networks."""

import math
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.noise import noise_and_curvature
from landscope.noise.temperature_over_training import measure_temperature_over_training
from landscope.reproduction.experiment.networks import mlp
from landscope.synthetic import RandomSprings

FLATNESS = torch.logspace(0, 0.7, 8, dtype=torch.float64)
ORIGIN, AXES = torch.zeros(8, dtype=torch.float64), torch.eye(8, dtype=torch.float64)


class Small(nn.Module):
    """A network that cannot be traced."""

    def __init__(self):
        super().__init__()
        self.layers = mlp([6, 8, 8, 3])

    def forward(self, x):
        return self.layers(x) if x.sum() > -1e9 else -self.layers(x)


class Attention(nn.Module):
    """Fused attention, in both forms that torch has."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.mixed = nn.MultiheadAttention(8, 2, batch_first=True)
        self.qkv = nn.Linear(8, 24)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        h = self.embed(x.reshape(-1, 2, 3))
        h = h + self.mixed(h, h, h, need_weights=False)[0]
        q, k, v = self.qkv(h)[:, None].split(8, -1)
        return self.last(nn.functional.scaled_dot_product_attention(q, k, v)[:, 0].mean(1))


def risk_of(kind, dtype=torch.float64):
    x, y = torch.randn(60, 6).to(dtype), torch.randint(0, 3, (60,))
    if kind == "traced":
        model = mlp([6, 8, 8, 3]).to(dtype)
        return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y), space=ls.ParameterSpace.of(model, "2.weight"))
    if kind == "last layer":
        model = mlp([6, 8, 8, 3]).to(dtype)
        return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y), space=ls.ParameterSpace.of(model, "4.weight"))
    if kind == "all layers":
        return ls.EmpiricalRisk(mlp([6, 8, 8, 3]).to(dtype), nn.CrossEntropyLoss(), (x, y))
    if kind == "attention":
        model = Attention().to(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch traces one form of attention and not the other
            return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y))
    model = Small().to(dtype)
    if kind == "untraceable":
        with pytest.warns(UserWarning, match="landscope evaluates the whole model"):
            return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (x, y))
    batches = list(zip(x.split(25), y.split(25), strict=True))
    loss = nn.CrossEntropyLoss(reduction="none")
    return ls.EmpiricalRisk.from_closure(model, lambda m, b: loss(m(b[0]), b[1]), batches)


KINDS = ["traced", "last layer", "all layers", "untraceable", "closure", "attention"]


def naive_gradients(ensemble, w):
    """Gradients of every minibatch loss, by backward passes of single losses."""
    rows = []
    for batch in range(len(ensemble.batches)):
        point = w.clone().requires_grad_()
        losses = ensemble._risk.samples.sums(point)[ensemble.batches[batch]]
        rows.append(torch.autograd.grad(losses.mean(), point)[0])
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [None, 3])
def test_slopes_and_gradients_equal_reverse_mode_differentiation(kind, seed):
    risk = risk_of(kind)
    ensemble = risk.minibatches(20, seed=seed)
    directions = torch.linalg.qr(torch.randn(risk.space.dim, 3).double()).Q.T.contiguous()
    naive = naive_gradients(ensemble, risk.w0)
    found = torch.stack(list(ensemble.batch_gradients(risk.w0)))
    torch.testing.assert_close(found, naive, rtol=1e-10, atol=1e-14)
    lines = ensemble.batch_lines(risk.w0, directions)
    losses, slopes = lines.slopes(torch.tensor([0, 1, 2]), torch.zeros(3))
    torch.testing.assert_close(slopes, directions @ naive.T, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(losses[1], ensemble.batch_losses(risk.w0), rtol=1e-12, atol=0)
    away = risk.w0 + 0.3 * directions[2]
    _, there = lines.slopes(torch.tensor([2]), torch.tensor([0.3], dtype=torch.float64))
    torch.testing.assert_close(there[0], naive_gradients(ensemble, away) @ directions[2], rtol=1e-10, atol=1e-14)
    points = lines.losses(torch.tensor([2, 0]), torch.tensor([0.3, 0.0], dtype=torch.float64))
    torch.testing.assert_close(points[0], ensemble.batch_losses(away), rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_log_sum_exp_identity_is_exact(kind):
    risk = risk_of(kind)
    directions = torch.linalg.qr(torch.randn(risk.space.dim, 4).double()).Q.T.contiguous()
    found = ls.noise.log_hessian(risk.minibatches(15, seed=1), risk.w0, directions)
    loss, gradient = risk(risk.w0), risk.gradient(risk.w0)
    hessian = torch.stack([risk.hessian_vector_product(risk.w0, d) for d in directions]) @ directions.T
    slope = directions @ gradient / loss
    torch.testing.assert_close(found.slope, slope, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.log_hessian, hessian / loss - slope[:, None] * slope[None], rtol=1e-9, atol=1e-12)


def test_log_sum_exp_identity_on_coupled_springs():
    springs = RandomSprings.draw(FLATNESS, 40, seed=0, coupling=0.2)
    w0 = 0.05 * FLATNESS
    found = ls.noise.log_hessian(springs, w0, AXES)
    torch.testing.assert_close(
        found.log_hessian, torch.func.hessian(lambda w: springs(w).log())(w0), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(found.curvatures, springs.stiffness, rtol=1e-9, atol=1e-10)
    expected = torch.einsum("bij,bj->bi", springs.stiffness, w0 - springs.centre)
    torch.testing.assert_close(found.gradients, expected, rtol=1e-9, atol=1e-10)
    assert 0.1 < found.off_diagonal < 0.4


def test_springs_are_recovered_and_their_statistics_too():
    springs = RandomSprings.draw(FLATNESS, 400, seed=2)
    alpha = 0.1
    steps = 0.3 * FLATNESS[:, None] * torch.linspace(-1, 1, 11, dtype=torch.float64)
    found = ls.noise.minibatch_ensemble(springs, ORIGIN, AXES, steps, learning_rate=alpha)
    torch.testing.assert_close(found.stiffness.T, springs.stiffness.diagonal(dim1=1, dim2=2), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.centre.T, springs.centre, rtol=1e-7, atol=1e-9)
    assert found.good.all()
    # sigma~ ~ F and M^(0) ~ F^-2 (Fig. S7): each of 8 points has a relative error of about 0.2/sqrt(400) or
    # 1/sqrt(2 * 400), over a lever of 0.7 decades.
    assert abs(ls.law.fit_power_law(FLATNESS, found.mean_stiffness).exponent + 2) < 0.1
    assert abs(ls.law.fit_power_law(FLATNESS, found.centre_spread).exponent - 1) < 0.2
    # independent parameters: correlations within 4/sqrt(n), D of Eq. 12 within the error of the mean-field product
    assert found.correlations.abs().max() < 4 / math.sqrt(400)
    exact = ls.noise.gradient_noise(springs, ORIGIN, AXES).velocity_variance(alpha)
    # At w0 the force of Eq. 11 is L_0^mu M theta, exactly; factorising it holds up to sampling.
    torch.testing.assert_close(exact / found.predicted_velocity_variance, found.mean_field_ratio, rtol=1e-6, atol=0)
    predicted = torch.sqrt(8 / ls.noise.log_hessian(springs, ORIGIN, AXES).log_hessian.diagonal())
    torch.testing.assert_close(found.predicted_flatness, predicted, rtol=1e-6, atol=0)


def test_minibatches_that_are_no_springs_are_flagged():
    class Odd(RandomSprings):
        def batch_losses(self, w):
            losses = super().batch_losses(w)
            wavy = torch.exp(torch.sin(9 * w.sum(-1)))[..., None]
            return torch.cat([0 * wavy, wavy, losses[..., 2:]], dim=-1)

    springs = RandomSprings.draw(FLATNESS, 20, seed=0)
    odd = Odd(springs.stiffness, springs.centre, springs.minimum)
    found = ls.noise.minibatch_ensemble(odd, ORIGIN, AXES[:1], torch.linspace(-1, 1, 15))
    assert found.good[0].tolist() == [False, False] + [True] * 18
    assert torch.isnan(found.stiffness[0, 0])
    assert found.n_good.tolist() == [18]
    with pytest.raises(InputError, match="1 of 20 at zero"):
        ls.noise.log_hessian(odd, ORIGIN, AXES[:1])


def test_a_mode_without_good_fits_has_nan_statistics():
    springs = RandomSprings.draw(FLATNESS, 20, seed=0)
    inverted = RandomSprings(-springs.stiffness, springs.centre, springs.minimum)
    found = ls.noise.minibatch_ensemble(inverted, ORIGIN, AXES[:2], torch.linspace(-1, 1, 15))
    assert found.n_good.tolist() == [0, 0]
    assert torch.isnan(found.mean_stiffness).all()
    assert torch.isnan(found.predicted_flatness).all()


def test_temperature_is_the_variance_of_the_slopes():
    risk = risk_of("traced")
    ensemble = risk.minibatches(10, seed=0)
    directions = torch.linalg.qr(torch.randn(64, 2).double()).Q.T.contiguous()
    steps = torch.tensor([0.0, 0.4], dtype=torch.float64)
    found = ls.noise.active_temperature(ensemble, risk.w0, directions, steps, learning_rate=0.1)
    for row in (0, 1):
        for column, step in enumerate((0.0, 0.4)):
            g = naive_gradients(ensemble, risk.w0 + step * directions[row]) @ directions[row]
            assert math.isclose(found.temperature[row, column], 0.05 * g.var(correction=0), rel_tol=1e-9)
    noise = ls.noise.gradient_noise(ensemble, risk.w0, directions)
    torch.testing.assert_close(found.temperature[:, 0], noise.temperature(0.1), rtol=1e-9, atol=0)
    # alpha^2 <g^2> = D; T(0) = D/(2 alpha) where the mean gradient is negligible
    both = noise.variance + noise.mean.square()
    torch.testing.assert_close(noise.mean_square, both, rtol=1e-9, atol=0)


def test_velocity_variance_of_sgd_that_stands_still_is_exact():
    risk = risk_of("traced")
    ensemble = risk.minibatches(6)
    direction = torch.nn.functional.normalize(torch.randn(1, 64).double())
    steps = -1e-7 * naive_gradients(ensemble, risk.w0) @ direction.T
    found = ls.noise.gradient_noise(ensemble, risk.w0, direction).velocity_variance(1e-7)
    torch.testing.assert_close(found, steps.square().mean(dim=0), rtol=1e-9, atol=0)


def test_a_batch_size_that_does_not_divide_the_data_is_said():
    ensemble = risk_of("traced").minibatches(16)
    found = ls.noise.gradient_noise(ensemble, risk_of("traced").w0, torch.eye(64).double()[:2])
    assert (found.n_batches, found.n_left_out) == (3, 12)
    with pytest.raises(InputError, match="at least 3 minibatches"):
        ls.noise.gradient_noise(risk_of("traced").minibatches(30), torch.zeros(64).double(), torch.eye(64).double()[:2])


@pytest.mark.parametrize("basis", ["hessian", "gradient-noise"])
def test_a_layer_is_measured_along_one_basis_alone(basis, monkeypatch):
    risk = risk_of("traced")
    ensemble, w0 = risk.minibatches(6), risk.w0
    along = {
        "hessian": lambda: ls.directions.hessian(risk, w0, 5, rtol=1e-3),
        "gradient-noise": lambda: ls.directions.gradient_noise(ensemble, w0, 5),
    }[basis]().directions.to(w0)
    other = {"hessian": "gradient_noise_eigenvectors", "gradient-noise": "hessian_eigenvectors"}[basis]
    monkeypatch.setattr(noise_and_curvature, other, None)
    found = noise_and_curvature.measure_noise_and_curvature("layer", risk, ensemble, w0, 5, basis)
    assert torch.equal(found.variance, ls.noise.gradient_noise(ensemble, w0, along).variance)
    assert torch.equal(found.curvature, ls.landscape.directional_curvature(risk, w0, along))


def test_temperature_over_training_follows_the_learning_rate_of_each_checkpoint():
    """T = (alpha/2) Var(gradient)."""
    springs, ranks = RandomSprings.draw(FLATNESS, 30, seed=0), torch.arange(1, 9)
    constant, varied = (
        measure_temperature_over_training(
            [(step, springs, ORIGIN + step / 10) for step in (1, 2, 3)], 3, AXES, ranks, torch.zeros(1).double(),
            learning_rates=torch.tensor(rates).double(), steps_per_epoch=1, batch_size=5, drawn=0,
        )
        for rates in ([0.1, 0.1, 0.1], [0.1, 0.05, 0.2])
    )  # fmt: skip
    factors = torch.tensor([1.0, 0.5, 2.0]).double()[:, None]
    assert torch.allclose(varied.temperature, factors * constant.temperature)
    assert torch.allclose(varied.profiles, factors * constant.profiles)
    scale = ls.noise.noise_scale(springs, ORIGIN + 0.2, batch_size=5)
    assert float(varied.noise_scale[1]) == pytest.approx(scale.value, rel=1e-9)
    assert varied.noise_scale_interval[1].tolist() == pytest.approx(scale.confidence_interval, rel=1e-9)


def test_progress_counts_minibatches_and_pairs_of_directions():
    springs, seen = RandomSprings.draw(FLATNESS, 30, seed=0), []
    risk = risk_of("traced")
    directions = torch.eye(64).double()[:3]
    measures = {
        "gradient": lambda report: ls.noise.gradient_noise(risk.minibatches(10), risk.w0, directions, progress=report),
        "eigenvectors": lambda report: ls.directions.gradient_noise(risk.minibatches(10), risk.w0, 2, progress=report),
        "springs": lambda report: ls.noise.gradient_noise(springs, ORIGIN, AXES, progress=report),
        "hessian": lambda report: ls.noise.log_hessian(risk.minibatches(10), risk.w0, directions, progress=report),
        "layer": lambda report: noise_and_curvature.measure_noise_and_curvature(
            "layer", risk, risk.minibatches(10), risk.w0, 3, "gradient-noise", progress=report
        ),
    }
    for name, total in {"gradient": 6, "eigenvectors": 6, "springs": 30, "hessian": 6, "layer": None}.items():
        seen.clear()
        measures[name](lambda done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1] == (total or seen[-1][1])
        shares = [done / total for done, total in seen]
        assert shares == sorted(shares)
