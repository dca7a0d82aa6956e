"""Entries that are NaN or infinite are found, however they are arranged; large finite ones pass."""

import math

import pytest
import torch

from landscope._checks import check_finite
from landscope.errors import NonFiniteError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [(math.nan,), (math.inf,), (-math.inf,), (math.inf, -math.inf), (math.nan, math.inf)])
def test_bad_entries_are_counted(dtype, bad):
    value = torch.randn(5, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    value.flatten()[7 : 7 + len(bad)] = torch.tensor(bad).to(dtype)
    with pytest.raises(NonFiniteError, match=f"got {len(bad)} of 100 entries"):
        check_finite("w", value, hint="Check it.")


@pytest.mark.parametrize("dtype", FLOATS)
def test_finite_entries_pass_also_where_their_sum_is_not_finite(dtype):
    largest = torch.finfo(dtype).max
    for signs in ((1, 1, 1), (1, 1, -1, -1)):
        value = largest * torch.tensor(signs, dtype=dtype)
        assert check_finite("w", value, hint="Check it.") is value


def test_whole_numbers_and_nothing_pass():
    assert check_finite("n", torch.arange(4), hint="").tolist() == [0, 1, 2, 3]
    assert check_finite("w", torch.empty(0, 3), hint="").shape == (0, 3)
    w = torch.ones(3, requires_grad=True)
    assert check_finite("w", w, hint="").requires_grad
