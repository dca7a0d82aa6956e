"""Local learning coefficients that are known: bowls, higher powers, flat directions."""

import math

import pytest
import torch

from landscope.errors import InputError, NonFiniteError
from landscope.landscape import learning_coefficient

FEW = {"n_samples": 1000, "inverse_temperature": 1.0, "seed": 0}


def origin(dim):
    return torch.zeros(dim, dtype=torch.float64)


class Powers:
    """sum_i c_i w_i^(2k), with its gradient."""

    def __init__(self, scale, k):
        self.scale, self.k = torch.tensor(scale, dtype=torch.float64), k

    def __call__(self, w):
        return (self.scale * w ** (2 * self.k)).sum(dim=-1)

    def gradient(self, w):
        return 2 * self.k * self.scale * w ** (2 * self.k - 1)


def test_a_bowl_has_half_its_dimension_less_what_the_localisation_takes():
    scale = [0.5] * 6 + [0.05] * 6 + [0.0] * 4  # curvatures 1, 0.1 and four flat directions
    gamma = 20.0
    found = learning_coefficient(
        Powers(scale, 1), origin(16), localisation=gamma, step=1 / 1020, n_steps=3000, n_draws=300, **FEW
    )
    expected = 6 * 1000 / (2 * 1020) + 6 * 100 / (2 * 120)
    # n beta L of a direction has the variance 1/2 at a draw. A square forgets within 1/(2 eta (100 + gamma)) = 4 steps
    # here, draws are 10 apart: 4 x 150 of them are independent. Four standard errors of 12 directions.
    assert found.coefficient == pytest.approx(expected, abs=4 * math.sqrt(12 / 2 / 600))
    assert abs(found.change) < 4 * math.sqrt(12 / 2 * 4 / 600)
    assert found.stderr < 4 * math.sqrt(12 / 2 / 600)


def test_a_fourth_power_has_a_quarter_and_independent_directions_add_up():
    found = learning_coefficient(
        Powers([1.0] * 8, 2), origin(8), localisation=0.0, step=5e-4, n_steps=4000, n_draws=400, **FEW
    )
    # <n beta w^4> = 1/4 with the variance 1/4 at a draw. The typical curvature 12 n <w^2> = 130 makes relaxation take
    # 1/(eta 130) = 15 steps and draws at 30 steps independent: 4 x 66. The step bends it by less than (eta 400)^2/4.
    assert found.coefficient == pytest.approx(2.0, abs=4 * math.sqrt(8 / 4 / 264) + 0.02)


def test_units_of_the_weights_leave_the_coefficient_alone():
    units = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    one, other = (
        learning_coefficient(
            Powers(scale.tolist(), 1), origin(3), localisation=0.0, step=1e-4, n_steps=3000, n_draws=300, **FEW
        )
        for scale in (torch.ones(3).double(), units.square())
    )
    # The slowest square, of curvature 0.5, forgets in 1/(2 eta 500) = 10 steps: 600 draws, error sqrt(3/2/600).
    assert one.coefficient == pytest.approx(1.5, abs=4 * 0.05)
    assert other.coefficient == pytest.approx(1.5, abs=4 * 0.05)


def test_an_estimate_of_the_gradient_stands_in_for_it():
    bowl = Powers([0.5] * 4, 1)
    asked = []

    def estimate(w, generator):
        asked.append(generator)
        return bowl.gradient(w)

    options = {"localisation": 1.0, "step": 5e-4, "n_steps": 20, "n_draws": 10, **FEW}
    found = learning_coefficient(bowl, origin(4), gradient=estimate, **options)
    assert len(asked) == 4 * 20
    assert torch.equal(found.losses, learning_coefficient(bowl, origin(4), **options).losses)
    assert not torch.equal(found.losses[0], found.losses[1])


def test_the_inverse_temperature_is_that_of_the_number_of_samples_by_default():
    options = {"localisation": 1.0, "step": 1e-4, "n_steps": 10, "n_draws": 10, "seed": 0, "n_samples": 1000}
    assert learning_coefficient(Powers([1.0], 1), origin(1), **options).inverse_temperature == 1 / math.log(1000)


def test_chains_that_diverge_are_not_measured():
    for step in (5e-3, 1.0):  # five and a thousand times the stable step
        found = learning_coefficient(
            Powers([0.5] * 4, 1), origin(4), localisation=0.0, step=step, n_steps=500, n_draws=50, **FEW
        )
        assert bool(found.diverged.all())
        assert math.isnan(found.coefficient)
        assert math.isnan(found.stderr)


@pytest.mark.parametrize("kick", [0.0, 1.0])
def test_chains_that_leave_the_valley_for_a_while_are_not_measured(kick):
    bowl, asked = Powers([0.5] * 40, 1), []

    def gradient(w, _):
        asked.append(kick)
        return bowl.gradient(w) - (kick if len(asked) == 300 else 0.0)

    found = learning_coefficient(
        bowl, origin(40), localisation=0.0, n_samples=100, inverse_temperature=1.0, step=5e-3, n_steps=400,
        n_draws=400, gradient=gradient, seed=0,
    )  # fmt: skip
    # One step of 0.5 in each of 40 weights: n beta L rises to 500, and halves or more in each step after it. The mean
    # stays below 40, where a Gamma variable of shape 20 does not exceed 60.
    assert bool(torch.isfinite(found.losses).all())
    assert found.diverged.tolist() == [bool(kick), False, False, False]
    assert math.isnan(found.coefficient) == bool(kick)


def test_what_does_not_fit_is_refused():
    options = {"localisation": 1.0, "step": 1e-4, **FEW}
    with pytest.raises(InputError, match="n_chains"):
        learning_coefficient(Powers([1.0], 1), origin(1), n_chains=1, **options)
    with pytest.raises(InputError, match="step to be positive"):
        learning_coefficient(Powers([1.0], 1), origin(1), **{**options, "step": 0.0})
    with pytest.raises(NonFiniteError, match="loss at w0"):
        learning_coefficient(lambda w: w.sum(-1) / 0, origin(1), **options)
