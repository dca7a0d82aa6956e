"""A penalty times a factor."""

import pytest
import torch

from landscope.errors import InputError
from landscope.penalties import PartPenalty, PenaltySum, QuadraticPenalty, scaled_penalty


def test_all_parts_keep_their_strengths_relative_to_each_other():
    soft, stiff = (
        QuadraticPenalty(anchor=torch.zeros(2), stiffness=torch.ones(2), strength=k, offset=k) for k in (1.0, 7.0)
    )
    both = PenaltySum((soft, PartPenalty(stiff, torch.tensor([1, 0]), dim=2)))
    w = torch.tensor([0.5, -2.0])
    assert float(scaled_penalty(both, 0.25)(w)) == pytest.approx(0.25 * float(both(w)))
    assert torch.allclose(scaled_penalty(both, 3.0).gradient(w), 3 * both.gradient(w))
    assert float(scaled_penalty(both, 0.0)(w)) == 0
    with pytest.raises(InputError, match="factor"):
        scaled_penalty(both, -1.0)
