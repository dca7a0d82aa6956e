"""The penalty of the curvature of ln L over a basin: known answers and the slow twin."""

import copy
import math

import pytest
import torch
from torch import nn

import landscope as ls
from classifiers import MODELS, fisher_matrix, small_classifier
from landscope.errors import InputError
from landscope.landscape import basin, layer_scale
from landscope.penalties import KroneckerPenalty, QuadraticPenalty, basin_penalty

CE = nn.CrossEntropyLoss()


def points_of(risk, **options):
    found = basin(risk, risk.w0, layer_scale(risk.space, risk.w0), precision=0.01, **options)
    return found, list(found.points())


def test_a_parabola_is_held_by_its_curvature_over_the_loss_at_the_edge():
    # L = c^2 + z^2: the curvature is 2 everywhere, so V = 2 z^2 / (2 e c^2).
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(1.0)
    risk = ls.EmpiricalRisk(model, nn.MSELoss(), (torch.ones(2, 1).double(), torch.tensor([[0.9], [1.1]]).double()))
    value = float(basin_penalty(risk, risk.w0)(torch.tensor([1.1]).double()))
    assert value == pytest.approx(0.1**2 / (math.e * 0.01), rel=0.0101)  # the edge is known to 1 %


class Squared(nn.Module):
    """f = (w - 1)^2 x, whose squared error is a quartic valley about 1."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1).double())

    def forward(self, x):
        return (self.w - 1).square() * x


def test_a_quartic_valley_is_held_by_what_gaussian_integration_gives():
    # L = c^2 + z^4, <L> = c^2 + 3 eps^4 = e c^2, and the mean of the Gauss-Newton curvature 2 (2 z)^2 is 8 eps^2.
    c, n = 0.1, 250
    data = (torch.ones(2, 1).double(), torch.tensor([[c], [-c]]).double())
    risk = ls.EmpiricalRisk(Squared(), nn.MSELoss(), data)
    penalty = basin_penalty(risk, risk.w0, n_points=n)
    eps = ((math.e - 1) * c**2 / 3) ** 0.25
    expected = 8 * eps**2 / (2 * math.e * c**2)
    stiffness = float(penalty(torch.tensor([2.0]).double()))
    # The mean loss at the edge is within 1 %, and the penalty goes with it as <L>^(-1/2).
    # z^2 has the relative variance 2 / n; the width, from z^4, adds at most its own, 96 / (4 * 16 n) for eps^2.
    assert stiffness == pytest.approx(expected, rel=4 * math.sqrt((2 + 96 / 9 / 4) / n) + 0.01)
    found, points = points_of(risk, n_draws=n)
    z = torch.cat(points) - 1
    realised = float(8 * z.square().mean() / (2 * (c**2 + z.pow(4)).mean()))
    assert stiffness == pytest.approx(realised, rel=1e-6)
    assert found.loss == pytest.approx(math.e * c**2, rel=0.0101)


def test_one_layer_and_one_sample_is_exact():
    torch.manual_seed(0)
    model, data = nn.Linear(3, 4).double(), (torch.randn(1, 3).double(), torch.tensor([2]))
    risk = ls.EmpiricalRisk(model, CE, data)
    penalty = basin_penalty(risk, risk.w0, n_points=3, fisher="exact")
    found, points = points_of(risk, n_draws=3)
    a, z = torch.cat([data[0][0], torch.ones(1).double()]), torch.randn(16).double()
    change = torch.cat([z[:12].view(4, 3), z[12:, None]], dim=1) @ a
    expected = 0.0
    for point in points:
        p = (torch.cat([point[:12].view(4, 3), point[12:, None]], dim=1) @ a).softmax(0)
        expected += float((torch.diag(p) - torch.outer(p, p)) @ change @ change) / 3
    assert float(penalty(risk.w0 + z)) == pytest.approx(expected / (2 * found.loss), rel=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_factors_are_means_over_the_points(name):
    risk = small_classifier(name)[2]
    penalty, (found, points) = basin_penalty(risk, risk.w0, n_points=3, fisher="exact"), points_of(risk, n_draws=3)
    by_point = [risk.kronecker_factors(point) for point in points]
    z = torch.randn(risk.space.dim).double()
    expected = 0.0
    for layers in zip(*by_point, strict=True):
        a, g = (sum(getattr(layer, side) for layer in layers) / 3 for side in ("inputs", "outputs"))
        own = z[layers[0].columns]
        expected += float((own * (g @ own @ a)).sum()) / (2 * found.loss)
    assert float(penalty(risk.w0 + z)) == pytest.approx(expected, rel=1e-9)
    assert all(isinstance(part.part, KroneckerPenalty) for part in penalty.parts)


class Tied(nn.Module):
    """Token embeddings that are also the last layer, a normalisation, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.tokens, self.norm, self.mix = nn.Embedding(5, 3), nn.LayerNorm(3), nn.Linear(3, 3)

    def forward(self, x):
        return self.mix(self.norm(self.tokens(x).mean(dim=1))) @ self.tokens.weight.T


def test_weights_of_other_layers_are_held_one_by_one():
    torch.manual_seed(0)
    model, data = Tied().double(), (torch.randint(5, (12, 2)), torch.randint(5, (12,)))
    risk = ls.EmpiricalRisk(model, CE, data)
    assert risk.layers_with_factors() == ["mix"]
    penalty, (found, points) = basin_penalty(risk, risk.w0, n_points=2, fisher="exact"), points_of(risk, n_draws=2)
    *layers, single = penalty.parts
    names = ["tokens.weight", "norm.weight", "norm.bias"]
    assert [type(part.part) for part in (*layers, single)] == [KroneckerPenalty, QuadraticPenalty]
    assert single.columns.tolist() == risk.space.columns(names).tolist()
    twin = sum(fisher_of(model, data, risk, point).diagonal() for point in points) / 2
    expected = twin[risk.space.columns(names)] / (2 * found.loss)
    assert torch.allclose(single.part.stiffness, expected, rtol=1e-9)


def fisher_of(model, data, risk, point):
    """The Fisher information at other weights, sample by sample."""
    twin = copy.deepcopy(model)
    for parameter, value in zip(twin.parameters(), risk.space.unflatten(point).values(), strict=True):
        parameter.data.copy_(value)
    return fisher_matrix(twin, data, ls.EmpiricalRisk(twin, CE, data))


def test_a_layer_with_factors_far_larger_than_itself_is_held_weight_by_weight():
    risk = ls.EmpiricalRisk(nn.Linear(200, 2), CE, (torch.randn(8, 200), torch.randint(2, (8,))))
    (only,) = basin_penalty(risk, risk.w0, n_points=2).parts
    assert isinstance(only.part, QuadraticPenalty)
    assert only.n_stored == 2 * risk.space.dim


def test_the_strength_is_for_the_logarithm_of_the_loss():
    torch.manual_seed(0)
    model, data = nn.Linear(3, 1), (torch.randn(50, 3), torch.randn(50, 1))
    held = []
    for factor in (1.0, 100.0):
        risk = ls.EmpiricalRisk(model, lambda z, y, factor=factor: factor * (z - y).square().mean(dim=1), data)
        held.append(float(basin_penalty(risk, risk.w0, n_points=2, fisher="empirical")(risk.w0 + 0.1)))
    # The empirical Fisher information goes with the square of the loss, so one factor is left.
    assert held[1] / held[0] == pytest.approx(100.0, rel=1e-3)


def test_few_samples_are_taken_at_random_and_numbers_are_checked():
    torch.manual_seed(0)
    x = torch.randn(400, 3)
    risk = ls.EmpiricalRisk(nn.Linear(3, 2), CE, (x[x[:, 0].argsort()], (torch.arange(400) // 200)))
    some, other, whole = (basin_penalty(risk, risk.w0, n_samples=n, seed=s) for n, s in ((100, 0), (100, 1), (400, 0)))
    w = risk.w0 + 0.1
    assert float(some(w)) != float(other(w))
    assert float(some(w)) == pytest.approx(float(whole(w)), rel=0.5)
    with pytest.raises(InputError, match="n_points"):
        basin_penalty(risk, risk.w0, n_points=0)
    with pytest.raises(InputError, match="above 1"):
        basin_penalty(risk, risk.w0, ratio=1.0)


def test_random_signs_are_taken_by_default_and_are_near_the_exact_information():
    risk = small_classifier("perceptron")[2]
    by_signs = basin_penalty(risk, risk.w0)
    assert "random signs" in by_signs.parts[0].part.stiffness_source
    exact = basin_penalty(risk, risk.w0, fisher="exact")
    many = basin_penalty(risk, risk.w0, n_draws=400)
    for found, most, part in zip(by_signs.parts, many.parts, exact.parts, strict=True):
        # The trace of one mixture of slopes s has the variance 2 sum (s_i s_j)^2 <= 2 (sum s_i^2)^2; 8 points times the
        # samples, of unequal traces, have at most twice the relative error 2^(1/2) n^(-1/2): five of these.
        n = 8 * len(risk.sample_losses(risk.w0))
        errors = [float(abs(each.part.outputs.trace() / part.part.outputs.trace() - 1)) for each in (found, most)]
        assert errors[0] < 5 * 2 * math.sqrt(2 / n)
        assert errors[1] < 5 * 2 * math.sqrt(2 / (400 * n))


def test_with_a_rank_the_inputs_are_kept_by_leading_eigenvectors():
    torch.manual_seed(0)
    risk = ls.EmpiricalRisk(nn.Linear(60, 2), CE, (torch.randn(80, 60), torch.randint(2, (80,))))
    (dense,), (low,) = (
        basin_penalty(risk, risk.w0, n_points=2).parts,
        basin_penalty(risk, risk.w0, n_points=2, rank=3).parts,
    )
    assert isinstance(dense.part, QuadraticPenalty)  # 61^2 + 2^2 numbers are more than 20 times 2 x 61
    assert low.n_stored == 2 * 61 + 2 * 2 + 3 * 61 + 3 + 1
    assert float(low.part.inputs.trace()) == pytest.approx(
        float(risk.kronecker_factors(risk.w0)[0].inputs.trace()), rel=1e-5
    )
