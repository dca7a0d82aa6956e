"""Streaming principal modes against all rows at once, and against formulas."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions import StreamingModes
from landscope.directions.streaming import _BLOCK, _MORE


def ornstein_uhlenbeck(variance, n_rows, *, keep=0.9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_rows, len(variance), generator=generator, dtype=torch.float64)
    rows = [variance.sqrt() * noise[0]]
    for draw in noise[1:]:
        rows.append(keep * rows[-1] + math.sqrt(1 - keep**2) * variance.sqrt() * draw)
    return torch.stack(rows)


def streamed(rows, n_modes, memory=None):
    stream = StreamingModes(n_modes, memory=memory)
    for row in rows:
        stream.add(row)
    return stream


def weighted_modes(rows, memory):
    """The dense twin: eigenvectors of the weighted covariance."""
    weights = (1 - 1 / memory) ** torch.arange(len(rows) - 1, -1, -1).double()
    weights /= weights.sum()
    mean = weights @ rows
    values, vectors = torch.linalg.eigh((rows - mean).T @ ((rows - mean) * weights[:, None]))
    return values.flip(0), vectors.T.flip(0), mean


def test_rows_of_low_rank_give_the_modes_of_all_rows():
    basis = torch.linalg.qr(torch.randn(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    rows = 3.0 + ornstein_uhlenbeck(torch.tensor([9.0, 4.0, 1.0, 0.1, 0.01]).double(), 200) @ basis.T
    found, exact = streamed(rows, 5).modes(), ls.principal_modes(ls.Trajectory.of(rows), 5)
    assert torch.allclose(found.values, exact.values, rtol=1e-9)
    assert torch.allclose((found.directions * exact.directions).sum(dim=1).abs(), torch.ones(5).double(), atol=1e-9)
    assert torch.allclose(found.mean, exact.mean, atol=1e-12)
    assert found.total == pytest.approx(exact.total, rel=1e-9)


def test_of_many_directions_the_leading_ones_are_near_those_of_all_rows():
    variance = torch.arange(1, 51).double() ** -2
    rows = ornstein_uhlenbeck(variance, 2000)
    stream, exact = streamed(rows.float(), 4), ls.principal_modes(ls.Trajectory.of(rows.float()), 4)
    found = stream.modes()
    assert torch.allclose(found.values, exact.values, rtol=0.005)
    assert bool(((found.directions * exact.directions).sum(dim=1).abs() > 0.999).all())
    assert bool((found.values <= exact.values * (1 + 1e-6)).all())  # left out is only lost
    assert bool((found.values + stream.left_out >= exact.values).all())
    assert found.total == pytest.approx(exact.total, rel=1e-5)
    # The variances of the process itself: 2,000 rows that forget in 10 are some 100 independent ones.
    assert torch.allclose(found.values, variance[:4], rtol=0.5)


def test_old_rows_fade():
    rows = torch.cat([100 * torch.ones(400, 6).double(), ornstein_uhlenbeck(torch.ones(6).double() * 4, 400)])
    rows += ornstein_uhlenbeck(torch.arange(6, 0, -1).double(), 800, seed=2)
    values, vectors, mean = weighted_modes(rows, 20)
    found = streamed(rows, 6, memory=20).modes()
    assert torch.allclose(found.values, values, rtol=1e-6)
    assert torch.allclose((found.directions * vectors).sum(dim=1).abs(), torch.ones(6).double(), atol=1e-6)
    assert torch.allclose(found.mean, mean)


def test_the_memory_is_constant():
    stream = streamed(torch.randn(100, 30, generator=torch.Generator().manual_seed(0)), 2)
    assert stream._scaled.shape == (2 + _MORE, 30)
    assert len(stream._rows) < _BLOCK
    assert stream.n_rows == 100


def test_rows_at_rest_have_no_modes():
    stream = streamed(torch.ones(8, 3), 2)
    assert len(stream.variance) == 0
    assert stream.directions(torch.ones(3)).shape == (0, 3)
    with pytest.raises(ls.errors.InputError, match="rows that move"):
        stream.modes()


def test_rows_of_another_length_are_refused():
    stream = StreamingModes(1)
    stream.add(torch.ones(3))
    with pytest.raises(ls.errors.InputError, match="3"):
        stream.add(torch.ones(4))
