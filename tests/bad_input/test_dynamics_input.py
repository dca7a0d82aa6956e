"""Wrong types and shapes given to the measures of dynamics; without the check of shapes."""

import pytest
import torch

from landscope.errors import InputError
from landscope.landscape import batch_sharpness
from landscope.noise import effective_curvature_at


def test_a_landscape_without_minibatches_has_no_batch_sharpness():
    with pytest.raises(InputError, match="ensemble"):
        batch_sharpness(lambda w: w.square().sum(-1), torch.zeros(4).double())


def test_points_of_an_effective_curvature_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="points"):
        effective_curvature_at(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(InputError, match="shape"):
        effective_curvature_at(torch.zeros(9, 2), torch.zeros(9, 1))
