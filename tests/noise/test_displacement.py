"""The state between two reshuffled epochs: the plain case by hand, and any step by the map of a whole epoch."""

import pytest
import torch

from landscope.noise import StepRule
from landscope.noise.displacement import covariance_between_epochs, half_displacement, over_epochs

EPOCH = 12
PULLS = torch.tensor([1e-3, 0.05, 0.4, 1.3]).double()


def test_plain_steps_have_the_geometric_sums():
    a = 1 - PULLS
    squares, sums = (1 - a ** (2 * EPOCH)) / (1 - a**2), (1 - a**EPOCH) / (1 - a)
    found = covariance_between_epochs(StepRule(), PULLS, 0.0, EPOCH)[:, 0, 0]
    torch.testing.assert_close(found, (squares - sums**2 / EPOCH) / (1 - a ** (2 * EPOCH)), rtol=1e-8, atol=0)


RULES = [(StepRule(), 0.0), (StepRule(momentum=0.8), 0.0), (StepRule(momentum=0.5, nesterov=True), 0.0),
         (StepRule(momentum=0.5, gradient_share=0.5, decoupled_decay=0.1), 0.02)]  # fmt: skip


@pytest.mark.parametrize(("rule", "decay"), RULES)
def test_walks_over_epochs_keep_it_and_have_the_mean_variance_without_end(rule, decay):
    """Exact covariances at every step of an epoch, from the map of M centred noises to the states."""
    kept = covariance_between_epochs(rule, PULLS, decay, EPOCH)
    centred = torch.eye(EPOCH).double() - 1 / EPOCH
    step, noise = rule.matrices(PULLS, decay)
    _, endless = over_epochs(half_displacement(rule, PULLS, decay, 2 * EPOCH)[0], EPOCH, EPOCH)
    for number in range(len(PULLS)):
        response, state, variances = torch.zeros(2, EPOCH).double(), kept[number], []
        for now in range(EPOCH):
            variances.append(float((state + response @ centred @ response.T)[0, 0]))
            response = step[number] @ response
            response[:, now] += noise
            state = step[number] @ state @ step[number].T
        torch.testing.assert_close(state + response @ centred @ response.T, kept[number], rtol=1e-8, atol=0)
        # Averaged over where in the epoch it is, the variance is that of the displacements without end.
        assert sum(variances) / EPOCH == pytest.approx(float(endless[number]), rel=1e-8)
