"""What the page says of a learning rate that was not constant."""

from types import SimpleNamespace

import pytest
import torch

from landscope.study.analysis import Analysis


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([2.0, 1.0], "the learning rate went from 2 to 1 in the window; alpha is its mean, 1.5"),
        ([1.0, 4.0, 1.0], "the learning rate went from 1 to 1 in the window (1 to 4); alpha is its mean, 2"),
        ([1.0, 1.0], ""),
    ],
)
def test_the_range_of_the_learning_rate_is_named_where_its_ends_do_not_tell_it(rates, text):
    rate = torch.tensor(rates)
    found = SimpleNamespace(window=SimpleNamespace(learning_rate=rate), learning_rate=float(rate.mean()))
    assert Analysis.rate_caveat.fget(found) == text
