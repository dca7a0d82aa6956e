"""Sharpness over a training of springs, whose curvature is known."""

import torch

from landscope.landscape import batch_sharpness
from landscope.noise.sharpness_over_training import measure_sharpness_over_training
from landscope.synthetic import QuadraticBowl, RandomSprings


def test_every_checkpoint_has_its_curvatures_and_the_edges_of_its_step():
    springs = RandomSprings.draw(torch.tensor([1.0, 2.0, 3.0]), 20, seed=0)
    bowls = [QuadraticBowl(torch.tensor([sharp, 1.0, 0.5]).double()) for sharp in (8.0, 5.0)]
    points = [torch.zeros(3).double(), torch.ones(3).double()]
    seen = []
    found = measure_sharpness_over_training(
        [(step, bowl, springs, w) for step, bowl, w in zip((10, 30), bowls, points, strict=True)],
        learning_rates=torch.tensor([0.1, 0.2]), momentum=0.5, weight_decay=0.01,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert found.steps.tolist() == [10, 30]
    torch.testing.assert_close(found.sharpness, torch.tensor([8.0, 5.0]).double(), rtol=0.01, atol=0)
    own = [batch_sharpness(springs, w) for w in points]
    assert found.batch_sharpness.tolist() == [one.value for one in own]
    assert found.batch_sharpness_error.tolist() == [one.standard_error for one in own]
    torch.testing.assert_close(found.bound, torch.tensor([30 - 0.01, 15 - 0.01]).double())
    torch.testing.assert_close(found.noise_bound, torch.tensor([10 - 0.01, 5 - 0.01]).double())
    assert seen == [(1, 2), (2, 2)]
