"""The form of the loss along a line, known in advance."""

import math

import pytest
import torch

from landscope.errors import InputError
from landscope.landscape.loss_forms import _left_out, loss_forms

LINE = torch.linspace(-1, 3, 11).double()


@pytest.mark.parametrize(
    ("loss", "best"),
    [
        (0.2 * torch.exp(-1.5 * LINE), "exponential"),
        (5 - LINE, "straight"),
        (1 + (LINE - 1.2).square(), "quadratic"),
    ],
)
def test_the_true_form_predicts_every_point_and_the_others_less(loss, best):
    forms = loss_forms(LINE, loss)
    shares = {"exponential": forms.exponential, "straight": forms.straight, "quadratic": forms.quadratic}
    assert shares[best] == pytest.approx(1.0, abs=1e-9)
    # A straight line is a parabola too.
    others = [name for name in shares if name != best and not (best == "straight" and name == "quadratic")]
    assert all(shares[name] < 0.999 for name in others)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_shortcut_is_a_fit_without_each_point_in_turn(degree):
    y = torch.randn(11, generator=torch.Generator().manual_seed(0)).double()
    by_hand = []
    for j in range(11):
        kept = torch.arange(11) != j
        basis = torch.stack([LINE**power for power in range(degree + 1)], dim=1)
        fit = torch.linalg.lstsq(basis[kept], y[kept, None]).solution[:, 0]
        by_hand.append(float(basis[j] @ fit))
    assert _left_out(LINE, y, degree).tolist() == pytest.approx(by_hand, abs=1e-10)  # float64, condition near 10


def test_a_loss_that_does_not_change_has_no_form():
    assert math.isnan(loss_forms(LINE, torch.ones(11)).exponential)


@pytest.mark.parametrize("loss", [torch.ones(4), torch.zeros(11)])
def test_too_few_points_or_no_logarithm_are_refused(loss):
    with pytest.raises(InputError, match="positive losses along a line"):
        loss_forms(LINE[: len(loss)], loss)
