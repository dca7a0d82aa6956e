"""Spearman's rank correlation by hand, and pairs that have none."""

import math

import pytest
import torch

from landscope.rank_correlation import rank_correlation


def test_it_is_that_of_ranks_by_hand():
    """Ranks 1 to 5 against 1, 3, 2, 5, 4: 1 - 6 * 4/(5 * 24) = 0.8."""
    values = torch.tensor([1.0, 9.0, 4.0, 100.0, 50.0])
    assert rank_correlation(torch.arange(5), values) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "second", [torch.tensor([1.0, 2.0]), torch.ones(4), torch.tensor([1.0, math.nan, 2.0]), torch.zeros(0)]
)
def test_pairs_without_one_have_none_and_no_warning(second):
    assert math.isnan(rank_correlation(torch.arange(len(second)), second))
