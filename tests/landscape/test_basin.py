"""The width of the noise on all weights by which the loss rises by a factor."""

import math

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.landscape import basin, layer_scale
from landscope.synthetic import InverseGaussian, QuadraticBowl

CURVATURE = torch.linspace(0.5, 4.0, 300).double()
ORIGIN, SCALE = torch.zeros(300).double(), torch.linspace(1.0, 2.0, 300).double()


def test_the_mean_loss_at_the_points_is_the_ratio_times_the_minimum():
    well = QuadraticBowl(CURVATURE, minimum=0.1)
    found = basin(well, ORIGIN, SCALE, ratio=3.0, n_draws=5, seed=2)
    losses = [float(well(point)) for point in found.points()]
    assert len(losses) == 5
    assert found.is_edge
    assert found.loss == pytest.approx(sum(losses) / 5, rel=1e-12)
    # The width is known to 0.2 %, and the rise of a parabola goes with its square.
    assert found.loss == pytest.approx(0.3, rel=0.005 * 2 / 3)
    assert found.loss0 == pytest.approx(0.1)


def test_the_width_of_a_parabola_follows_from_the_trace():
    # <L> - L0 = eps^2 / 2 sum k s^2, and its mean over n draws has the relative variance
    # 2 sum (k s^2)^2 / (n (sum k s^2)^2).
    terms = CURVATURE * SCALE.square()
    found = basin(QuadraticBowl(CURVATURE, minimum=0.1), ORIGIN, SCALE, n_draws=8)
    expected = math.sqrt(2 * 0.1 * (math.e - 1) / float(terms.sum()))
    spread = 0.5 * math.sqrt(2 * float(terms.square().sum()) / 8) / float(terms.sum())
    assert found.width == pytest.approx(expected, rel=4 * spread + 0.002)


def test_the_width_of_a_parabola_of_the_logarithm():
    # <L> = L0 prod (1 - eps^2 k s^2)^(-1/2) for L = L0 exp(sum k w^2 / 2).
    well = InverseGaussian(0.01 * CURVATURE, minimum=1e-3)
    found = basin(well, ORIGIN, SCALE, n_draws=400)
    rises = -0.5 * torch.log1p(-(found.width**2) * 0.01 * CURVATURE * SCALE.square())
    # ln <L> of n draws: the variance of ln L is sum (eps^2 k s^2)^2 / 2, near 0.02 here.
    assert float(rises.sum()) == pytest.approx(1.0, abs=4 * math.sqrt(0.02 / 400) + 0.01)


def test_a_loss_that_does_not_rise_has_the_largest_width():
    found = basin(QuadraticBowl(torch.zeros(3), minimum=1.0), torch.zeros(3), torch.ones(3))
    assert (found.is_edge, found.width, found.loss) == (False, 4.0, 1.0)


def test_a_tiny_loss_counts_as_1e_7_and_a_negative_one_is_refused():
    found = basin(QuadraticBowl(torch.ones(100), minimum=0.0), torch.zeros(100), torch.ones(100))
    assert found.loss == pytest.approx(math.e * 1e-7, rel=0.01)
    with pytest.raises(InputError, match="never negative"):
        basin(QuadraticBowl(torch.ones(3), minimum=-1.0), torch.zeros(3), torch.ones(3))


def test_a_point_where_the_loss_is_infinite_lies_outside():
    def loss(w):
        return torch.where(w.abs().max() > 1, torch.inf, 1.0 + 0 * w.sum())

    found = basin(loss, torch.zeros(3), torch.ones(3))
    assert float(torch.stack(list(found.points())).abs().max()) == pytest.approx(1.0, rel=0.005)
    assert (found.is_edge, found.loss) == (True, 1.0)


def test_the_random_state_is_left_alone_and_the_seed_decides():
    well, random = QuadraticBowl(torch.ones(3)), torch.get_rng_state()
    first, again, other = (basin(well, torch.zeros(3), torch.ones(3), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(random, torch.get_rng_state())
    assert first.width == again.width != other.width


def test_the_scale_of_a_layer_is_the_root_mean_square_of_its_weights_and_biases():
    model = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.LayerNorm(1))
    space = ls.ParameterSpace.of(model)
    w = torch.tensor([1.0, 2.0, 3.0, 5.0, 0.0])
    first, second = math.sqrt(14 / 3), math.sqrt(25 / 2)
    assert layer_scale(space, w).tolist() == pytest.approx([first] * 3 + [second] * 2)
