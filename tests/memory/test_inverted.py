"""Modes that moved most and are the flattest are not held by their order."""

import math
import warnings

import pytest
import torch

from landscope.memory.methods.inverted import widths_to_hold_by


def test_an_inverted_order_is_said_and_all_modes_are_held_alike():
    widths = torch.tensor([16.0, 8.0, math.nan, 4.0, 2.0, 1.0]).double()
    with pytest.warns(UserWarning, match=r"moved most are the flattest ones \(rank correlation .* -1.00"):
        found = widths_to_hold_by(widths)
    expected = torch.full((6,), 4.0).double()
    expected[2] = math.nan
    assert torch.allclose(found, expected, equal_nan=True)


@pytest.mark.parametrize("widths", [
    [1.0, 2.0, 4.0, 8.0, 16.0], [4.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0, 3.0], [2.0, 1.0, 3.0, 2.5, 1.5],
    [math.nan, math.nan, math.nan, 2.0, 1.0],
])  # fmt: skip
def test_other_orders_and_too_few_modes_stay(widths):
    widths = torch.tensor(widths).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(widths_to_hold_by(widths).nan_to_num(), widths.nan_to_num())
