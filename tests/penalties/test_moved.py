"""A penalty about other weights."""

import pytest
import torch

from landscope.errors import InputError
from landscope.penalties import KroneckerPenalty, PartPenalty, PenaltySum, QuadraticPenalty, moved_penalty

MATRIX = KroneckerPenalty(
    anchor=torch.ones(2, 2), inputs=torch.diag(torch.tensor([1.0, 2.0])), outputs=torch.eye(2), strength=3.0
)
SINGLE = QuadraticPenalty(anchor=torch.tensor([5.0]), stiffness=torch.tensor([0.5]))
BOTH = PenaltySum(
    (PartPenalty(MATRIX, torch.tensor([0, 2, 3, 4]), dim=5), PartPenalty(SINGLE, torch.tensor([1]), dim=5))
)


def test_every_part_keeps_its_stiffness_about_the_new_weights():
    w1, z = torch.arange(5.0), torch.randn(5, generator=torch.Generator().manual_seed(0))
    moved = moved_penalty(BOTH, w1)
    assert float(moved(w1)) == 0
    assert float(moved(w1 + z)) == pytest.approx(float(BOTH(torch.tensor([1.0, 5.0, 1.0, 1.0, 1.0]) + z)), rel=1e-5)


def test_another_length_is_refused():
    with pytest.raises(InputError, match="w1"):
        moved_penalty(BOTH, torch.zeros(4))
