"""Drift and diffusion of layers against the sums of their definition, and for Brownian motion with a drift."""

import math

import pytest
import torch

from landscope.errors import InputError
from landscope.noise import LayerMotion
from landscope.parameters import ParameterSpace

SPACE = ParameterSpace(("a.weight", "a.bias", "b.weight"), ((3, 2), (2,), (4,)))
LAYERS = {"a": slice(0, 8), "b": slice(8, 12)}


def walk(n_steps, drift, diffusion, seed=0):
    noise = torch.randn(n_steps, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drift + math.sqrt(2 * diffusion) * noise).cumsum(dim=0)


def directly(rows, steps, memory):
    """The definition, over all displacements at once."""
    keep = 1.0 if memory is None else 1 - 1 / memory
    lags, moves = torch.tensor(steps).double().diff(), rows[torch.tensor(steps)].diff(dim=0)
    weights = keep ** torch.arange(len(lags) - 1, -1, -1).double()
    total, steps_of_squares = (weights * lags).sum(), (weights**2 * lags).sum()
    found = {}
    for layer, columns in LAYERS.items():
        x = moves[:, columns]
        mean = (weights[:, None] * x).sum(dim=0) / total
        scatter = (weights * ((x - lags[:, None] * mean).square().sum(dim=1) / lags)).sum()
        twice = scatter / (weights.sum() - steps_of_squares / total)
        square = mean.square().sum() - twice * steps_of_squares / total**2
        found[layer] = float(square.clamp(min=0).sqrt()), float(twice / 2)
    return found


@pytest.mark.parametrize("memory", [None, 7])
def test_the_streamed_sums_are_those_of_all_displacements(memory):
    rows, steps = walk(100, 0.3, 0.05), [0, 1, 5, 6, 20, 33, 34, 50, 51, 52, 80, 99]
    motion = LayerMotion(SPACE, memory=memory)
    for step in steps:
        motion.add(step, rows[step])
    for layer, (drift, diffusion) in directly(rows, steps, memory).items():
        assert motion.drift[layer] == pytest.approx(drift, rel=1e-9)
        assert motion.diffusion[layer] == pytest.approx(diffusion, rel=1e-9)


@pytest.mark.parametrize("memory", [None, 400])
def test_brownian_motion_with_a_drift(memory):
    rows = walk(12_000, 0.2, 0.05)
    motion = LayerMotion(SPACE, memory=memory)
    for step in range(0, 12_000, 6):
        motion.add(step, rows[step])
    count = 2000 if memory is None else 2 * memory - 1  # independent displacements that the weights are worth
    for layer, columns in LAYERS.items():
        n = columns.stop - columns.start
        error = math.sqrt(2 / (count * n))  # of a variance from count times n normal numbers
        assert motion.diffusion[layer] == pytest.approx(0.05 * n, rel=4 * error)
        spread = math.sqrt(2 * 0.05 / (6 * count))  # of the mean velocity of each weight
        assert motion.drift[layer] == pytest.approx(0.2 * math.sqrt(n), abs=4 * spread)


def test_nothing_is_known_before_the_second_displacement():
    motion = LayerMotion(SPACE)
    for step in (1, 2):
        assert all(map(math.isnan, motion.drift.values()))
        assert all(map(math.isnan, motion.diffusion.values()))
        motion.add(step, torch.full((12,), float(step)))
    motion.add(3, torch.full((12,), 3.0))
    assert motion.drift == pytest.approx({"a": math.sqrt(8), "b": 2.0})


def test_a_parameter_outside_of_all_layers_is_of_the_model():
    assert LayerMotion(ParameterSpace(("weight",), ((2,),))).layers == ("model",)


def test_steps_must_ascend():
    motion = LayerMotion(SPACE)
    motion.add(2, torch.zeros(12))
    with pytest.raises(InputError, match="ascending"):
        motion.add(2, torch.zeros(12))
