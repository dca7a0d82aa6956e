"""The trimmed second moment: integrals over known symmetric laws."""

import pytest
import torch
from scipy import integrate, stats

from landscope.noise import minibatch_ensemble
from landscope.noise.trimmed import TRIMMED_SHARE, trimmed_mean_square
from landscope.synthetic import RandomSprings


@pytest.mark.parametrize("law", [stats.norm(scale=3.0), stats.uniform(-1, 2), stats.t(2), stats.cauchy()])
def test_the_trimmed_moment_of_a_symmetric_law_is_its_integral(law):
    """From the quantiles of the law: the sample that has no noise. The variance of the last two does not exist."""
    count = 200_000
    sample = torch.from_numpy(law.ppf((torch.arange(count).double() + 0.5).numpy() / count))
    edge, normal_edge = law.ppf(1 - TRIMMED_SHARE / 2), stats.norm.ppf(1 - TRIMMED_SHARE / 2)
    inside = integrate.quad(lambda x: x**2 * law.pdf(x), -edge, edge)[0]
    of_normal = integrate.quad(lambda x: x**2 * stats.norm.pdf(x), -normal_edge, normal_edge)[0]
    assert trimmed_mean_square(sample) == pytest.approx(inside / of_normal, rel=1e-4)
    if law.var() == 9.0:
        assert trimmed_mean_square(sample) == pytest.approx(9.0, rel=1e-4)


def test_far_minima_dominate_the_moment_of_eq_12_and_not_the_trimmed_one():
    springs = RandomSprings.draw(torch.tensor([1.0, 3.0]), 400, seed=0)
    far = springs.centre.clone()
    far[:8] *= 20
    w0, axes = torch.zeros(2).double(), torch.eye(2).double()
    along = torch.linspace(-0.5, 0.5, 9).double() * torch.tensor([1.0, 3.0]).double()[:, None]

    def noise(centre):
        """Every loss is 1 at w0, so that only the minima differ."""
        at_w0 = RandomSprings(springs.stiffness, centre, torch.ones(400).double()).batch_losses(w0)
        return minibatch_ensemble(
            RandomSprings(springs.stiffness, centre, 1 / at_w0), w0, axes, along, learning_rate=0.1
        )  # fmt: skip

    plain, tailed = noise(springs.centre), noise(far)
    assert (tailed.predicted_velocity_variance > 3 * plain.predicted_velocity_variance).all()
    ratio = tailed.trimmed_velocity_variance / plain.trimmed_velocity_variance
    # 8 of 400 minima join the 40 that are trimmed, and as many of the bulk stay, about the edge z = 1.64:
    # the sum of squares grows by at most 8 * 2^2 of 360 * 0.79 * 0.62.
    assert ((ratio > 1.0) & (ratio < 1.2)).all()
