"""The order of the minibatches against independent draws: the known plain case, and the double sum for any step."""

import math

import pytest
import torch

from landscope.noise import StepRule, window_time
from landscope.noise.epoch_order import order_factors

EPOCH, ROWS = 20, 60
PULLS = torch.tensor([1e-4, 3e-3, 0.03, 0.3, 1.2]).double()


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_for_single_steps_it_is_the_ratio_of_the_window_times(momentum):
    ends = torch.tensor([math.inf, ROWS]).double()
    own, white = (
        window_time(PULLS, ends, learning_rate=1.0, momentum=momentum, steps_per_epoch=epoch) for epoch in (EPOCH, None)
    )
    found = torch.stack(order_factors(StepRule(momentum=momentum), PULLS, n_rows=ROWS, steps_per_epoch=EPOCH))
    torch.testing.assert_close(found, own / white)


def response(rule, pull, decay, count):
    """The place after each step of one impulse of the noise, step by step."""
    theta, buffer, places = 0.0, 0.0, []
    for step in range(count):
        gradient = pull * theta + (1.0 if step == 0 else 0.0)
        buffer = rule.momentum * buffer + rule.gradient_share * gradient
        theta = (1 - decay) * theta - ((gradient + rule.momentum * buffer) if rule.nesterov else buffer)
        places.append(theta)
    return torch.tensor(places).double()


@pytest.mark.parametrize("spacing", [1, 4, EPOCH])
@pytest.mark.parametrize(
    ("rule", "decay"),
    [(StepRule(momentum=0.8), 0.0), (StepRule(momentum=0.5, nesterov=True), 0.0),
     (StepRule(momentum=0.5, gradient_share=0.5, decoupled_decay=0.1), 0.02)],
)  # fmt: skip
def test_for_any_step_it_is_the_double_sum_over_impulses(rule, decay, spacing):
    pull, horizon, n_rows = 0.05, 600, 12
    places = response(rule, pull, decay, horizon)
    lags = torch.arange(horizon)
    white = (lags == 0).double()
    epochs = white - (EPOCH - lags).clamp(min=0).double() / EPOCH**2
    times = []
    for noise in (epochs, white):
        both = torch.cat([noise[1:].flip(0), noise])[None, None]
        # sum_ij g_i g_j c(h + i - j) for every lag h.
        twice = torch.nn.functional.conv1d(places[None, None], places[None, None], padding=horizon - 1)
        covariance = torch.nn.functional.conv1d(both, twice.flip(-1), padding=horizon - 1)[0, 0]
        at = covariance[len(covariance) // 2 :][: n_rows * spacing + 1 : spacing]
        weight = 2 * (n_rows - torch.arange(n_rows)).double() / n_rows**2
        weight[0] /= 2
        strength = 2 * (at[0] - at[1])
        times.append(torch.stack([at[0], at[0] - at[:n_rows] @ weight]) / strength)
    found = order_factors(rule, torch.tensor([pull]), decay, n_rows=n_rows, spacing=spacing, steps_per_epoch=EPOCH)
    torch.testing.assert_close(torch.cat(found), times[0] / times[1], rtol=1e-6, atol=0)
