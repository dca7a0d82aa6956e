"""How well two quadratic forms predict the rise of an old task's loss: ``python -m benchmarks.basin_rise``.

Prints the page basin-rise.md of docs/results. The data are found as those of ``landscope run --data mnist``.
"""

from __future__ import annotations

import math
import sys

import torch

import landscope as ls
from landscope.landscape.basin import basin, layer_scale
from landscope.penalties import basin_penalty, kronecker_elastic_weight_consolidation
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.sequential.scenarios import split_scenario
from landscope.reproduction.sequential.training import TaskTraining

_SHARES, _SEEDS, _EPOCHS = (0.05, 0.2, 0.5, 1.0), range(3), 2
_HEAD = """# The rise of an old task's loss, predicted by two quadratic forms

`python -m benchmarks.basin_rise > docs/results/basin-rise.md`, with MNIST under `LANDSCOPE_DATA`.

Two tasks of split MNIST (digits 0 and 1, then 2 and 3, the same two outputs), 784-50-50-2, {epochs} epochs of plain SGD
each, the second without a penalty. On the straight line from the first end to the second: the rise of L of the first
task, and what each form predicts over what is there; ln L: the same for the rise of ln L, with V of the mean over the
basin, and with the larger of ln(1 + e V) and V. Smallest to largest of {seeds} seeds.

| share of the way | rise of L | curvature at the minimum | mean over the basin | ln L: ln(1 + e V) or V | ln L: V |
| --- | --- | --- | --- | --- | --- |
"""


def rows(seed: int, epochs: int) -> list[list[float]]:
    """One row a share of the way: rise of L, what two forms predict over it, and the same of ln L twice."""
    data = Experiment(Settings(data="mnist"))
    first, second = split_scenario(data.train_data, data.test_data, [(0, 1), (2, 3)], "domain")
    some = torch.randperm(len(first.train[1]), generator=torch.Generator().manual_seed(5))[:1000]
    model = mlp([784, 50, 50, 2], bias=True, seed=seed)
    training = TaskTraining(epochs=epochs, window_epochs=0, seed=seed)
    training.train(model, first.train, training.optimizer(model), 0, training.criterion)
    risk = ls.EmpiricalRisk(model, training.criterion, (first.train[0][some], first.train[1][some]))
    w1 = risk.w0.clone()
    at_minimum, mean = kronecker_elastic_weight_consolidation(risk, w1), basin_penalty(risk, w1)
    scale = basin(risk, w1, layer_scale(risk.space, w1)).loss  # the mean loss over the basin, so that V is a rise of L
    training.train(model, second.train, training.optimizer(model), 1, training.criterion)
    way = risk.space.flatten(model) - w1
    found = []
    for share in _SHARES:
        w = w1 + share * way
        rise, ln_rise = float(risk(w) - risk(w1)), math.log(float(risk(w) / risk(w1)))
        v = float(mean(w))
        predicted = float(at_minimum(w)) / rise, v * scale / rise
        found.append([rise, *predicted, max(v, math.log1p(math.e * v)) / ln_rise, v / ln_rise])
    return found


def heading() -> str:
    """Title, command, and what the columns are."""
    return _HEAD.format(epochs=_EPOCHS, seeds=len(_SEEDS))


def main() -> None:
    """Print the page."""
    seeds = [rows(seed, _EPOCHS) for seed in _SEEDS]
    lines = []
    for share, several in zip(_SHARES, zip(*seeds, strict=True), strict=True):
        columns = list(zip(*several, strict=True))
        cells = [f"{min(column):.2g} to {max(column):.2g}" for column in columns]
        lines.append(f"| {share:g} | {' | '.join(cells)} |\n")
    sys.stdout.write(heading() + "".join(lines))


if __name__ == "__main__":
    main()
