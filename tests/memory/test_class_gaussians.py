import math

import pytest
import torch

from landscope.memory.replay.class_gaussians import ClassGaussians, leading_directions
from landscope.memory.replay.labelled import Labelled


def of(inputs, labels, rank):
    return ClassGaussians.of(Labelled(inputs, labels), rank)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_moments_by_hand():
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + 5
    found = of(x, torch.zeros(4).long(), 1)
    assert found.mean.tolist() == [[5.0, 5.0]]
    assert found.directions.abs().tolist() == [[[1.0, 0.0]]]
    assert found.scales.item() == pytest.approx(math.sqrt(8 / 3))  # variances of 4 samples: 8/3 and 2/3
    assert found.rest[0].tolist() == pytest.approx([0.0, 2 / 3], abs=1e-6)
    assert (found.labels.tolist(), found.shape) == ([0], (2,))
    assert found.n_stored == 2 + 2 + 1 + 2 + 1


@pytest.mark.parametrize("n", [6, 40])  # fewer and more samples than numbers of an input
def test_directions_are_those_of_the_singular_value_decomposition(n):
    rows = torch.randn(n, 12, generator=generator(), dtype=torch.float64)
    directions, lengths = leading_directions(rows, 4)
    _, expected, vectors = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(lengths, expected[:4])
    torch.testing.assert_close((directions * vectors[:4]).sum(1).abs(), torch.ones(4).double())


def test_every_variance_is_kept_and_with_all_directions_every_covariance():
    x = torch.randn(30, 4, generator=generator(), dtype=torch.float64) @ torch.randn(
        4, 4, generator=generator(1), dtype=torch.float64
    )
    for rank in (0, 2, 4):
        found = of(x, torch.zeros(30).long(), rank)
        v = found.directions[0] * found.scales[0][:, None]
        covariance = v.T @ v + torch.diag(found.rest[0])
        torch.testing.assert_close(covariance.diagonal(), x.var(0))
    torch.testing.assert_close(covariance, x.T.cov())


def test_draws_have_the_moments_and_are_not_clipped():
    x = torch.rand(50, 2, 2, generator=generator(), dtype=torch.float64) ** 4  # between 0 and 1
    found = of(x, torch.zeros(50).long(), 2)
    n = 20_000
    samples = found.draw(n, generator(1))
    drawn, labels = samples.inputs, samples.labels
    assert drawn.shape == (n, 2, 2)
    assert bool((drawn < 0).any())
    assert bool((labels == 0).all())
    flat, rows = drawn.flatten(1), x.flatten(1)
    standard_error = rows.std(0) / math.sqrt(n)
    assert bool(((flat.mean(0) - rows.mean(0)).abs() < 5 * standard_error).all())
    assert bool(((flat.var(0) / rows.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all())  # a variance of Gaussian draws


def test_the_same_class_in_two_tasks_is_two_gaussians():
    x = torch.cat([torch.zeros(5, 3), torch.ones(5, 3)])
    labels = torch.tensor([0] * 5 + [1] * 5)
    drawn = of(x, labels, 2).joined(of(x + 2, labels, 2)).draw(200, generator())
    found = {*zip(drawn.inputs[:, 0].tolist(), drawn.labels.tolist(), strict=True)}
    assert sorted(found) == [(0.0, 0), (1.0, 1), (2.0, 0), (3.0, 1)]  # the samples of a class are all the same


def test_a_class_with_one_sample_is_that_sample():
    drawn = of(torch.ones(1, 3), torch.tensor([2]), 4).draw(3, generator())
    assert torch.equal(drawn.inputs, torch.ones(3, 3))
    assert drawn.labels.tolist() == [2, 2, 2]
