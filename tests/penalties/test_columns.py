"""Positions of weights as runs."""

import pytest
import torch

from landscope.errors import StorageError
from landscope.parameters import ParameterSpace
from landscope.penalties.columns import columns_of, runs_of

SPACE = ParameterSpace(("a.weight", "a.bias"), ((6, 4), (6,)))


@pytest.mark.parametrize("columns", [
    torch.arange(5, 90), torch.tensor([3]), torch.zeros(0, dtype=torch.int64), torch.tensor([4, 2]),
    torch.randperm(50, generator=torch.Generator().manual_seed(0)), torch.tensor([7, 7, 7, 1]),
    torch.cat([SPACE.columns(["a.weight"]).view(6, 4), SPACE.columns(["a.bias"])[:, None]], dim=1).flatten(),
    SPACE.columns(["a.weight"]).view(6, 4).T.flatten(),
])  # fmt: skip
def test_every_order_comes_back(columns):
    runs = runs_of(columns)
    assert torch.equal(columns_of(runs, len(columns)), columns)
    assert len(runs) <= max(1, (len(columns) + 1) // 2)
    by_hand = [start + step * k for start, step, length in runs.tolist() for k in range(length)]
    assert by_hand == columns.tolist()


def test_a_layer_has_two_runs_a_row():
    rows = torch.cat([SPACE.columns(["a.weight"]).view(6, 4), SPACE.columns(["a.bias"])[:, None]], dim=1)
    assert len(runs_of(rows.flatten())) <= 2 * 6
    assert len(runs_of(SPACE.columns(["a.weight"]))) == 1


@pytest.mark.parametrize("runs", [[[0, 1, 4]], [[0, 1, -3], [0, 1, 6]], [[0, 1, 10**12]]])
def test_damaged_runs_are_refused_before_they_are_expanded(runs):
    with pytest.raises(StorageError, match="3 positions of weights"):
        columns_of(torch.tensor(runs), 3)
