"""What becomes of a task in a network with batch normalisation: ``python -m benchmarks.batch_normalisation``.

Prints the page batch-normalisation.md of docs/results, with the seeds that it has; pass seeds to take others for both
columns, or ``statistics`` to print how far each change moves the statistics. The data are found as those of
``landscope run --data mnist``.
"""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

import landscope as ls
from landscope.reproduction.experiment.datasets.loading import load_data

CRITERION = nn.CrossEntropyLoss()
STEPS, BATCH = 400, 50
Data = tuple[Tensor, Tensor]
MEMORIES: dict[str, dict[str, Any] | None] = {
    "no memory": None,
    "basin": {},
    "replay": {"method": None, "replay": BATCH},
    "basin, budget 2": {"budget": 2.0, "samples": 1000},
    "replay, budget 2": {"method": None, "replay": BATCH, "budget": 2.0, "samples": 1000},
}
SEEDS = {"turned": [0, 1], "negative": [0, 1, 2]}
CHANGES = {"turned": lambda x: x.rot90(1, (2, 3)), "negative": lambda x: 1 - x}

_HEAD = """# Keeping a task in a network with batch normalisation

`python -m benchmarks.batch_normalisation > docs/results/batch-normalisation.md`, with MNIST under `LANDSCOPE_DATA`.

Two convolutions with batch normalisation learn 3,000 digits ({steps} steps of {batch} at a learning rate of 0.05 and
momentum 0.9), and then 3,000 others at 0.005 whose images are turned by a right angle, or are negatives. A turn hardly
changes the statistics of the layers, a negative changes them much (`python -m benchmarks.batch_normalisation
statistics`). Errors (%) on 1,000 test images of each task; rise of ln L of the first task, as the memory measured it on
1,000 samples and by plain evaluation of all training samples. Mean and standard deviation over the seeds: {seeds}.
Budget 2: the loss of the first task may rise by 200 %, so that ln L may rise by ln 3 = 1.10.

Updated: running statistics follow the new task, and with a budget they go back with the weights. Set back at the end:
the same network with the statistics that it had before. Kept: these layers are in eval mode while the new task is
learnt, as fine-tuners have them. Replay updates statistics on both kinds of samples in turn.

"""


def network() -> nn.Sequential:
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(784, 10),
    )  # fmt: skip


def tasks(change: str, seed: int) -> tuple[tuple[Data, Data], tuple[Data, Data]]:
    """Training and test samples of two tasks: digits, and other digits whose images are changed."""
    data = load_data("mnist")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for inputs, labels, size in (
        (data.train_inputs, data.train_labels, 3000),
        (data.test_inputs, data.test_labels, 1000),
    ):
        rows = torch.randperm(len(inputs), generator=generator)[: 2 * size]
        x, y = inputs[rows].reshape(-1, 1, 28, 28).float(), labels[rows].long()
        found.append(((x[:size], y[:size]), (CHANGES[change](x[size:]), y[size:])))
    (old, new), (old_test, new_test) = found
    return (old, old_test), (new, new_test)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data) -> None:
    """A usual loop."""
    model.train()
    for _ in range(STEPS):
        rows = torch.randint(len(data[0]), (BATCH,))
        optimizer.zero_grad()
        CRITERION(model(data[0][rows]), data[1][rows]).backward()
        optimizer.step()


@torch.no_grad()
def error(model: nn.Module, data: Data) -> float:
    """Share of wrong answers."""
    return float((model.eval()(data[0]).argmax(1) != data[1]).double().mean())


@torch.no_grad()
def loss(model: nn.Module, data: Data) -> float:
    """The mean loss."""
    return float(CRITERION(model.eval()(data[0]), data[1]))


def sgd(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The optimiser of both tasks."""
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)


def trained(
    start: nn.Module, old: Data, new: Data, options: dict[str, Any] | None, mode: str
) -> tuple[nn.Module, float]:
    """The network after the new task, and the rise of the old loss that its memory measured."""
    model = copy.deepcopy(start)
    optimizer = sgd(model, 0.005)
    if options is None and mode == "kept":
        options = {"method": "l2", "strength": 0.0}  # holds no weight
    memory = None if options is None else ls.keep(model, CRITERION, old, batch_norm=mode, **options)
    with contextlib.nullcontext() if memory is None else memory.training(optimizer):
        train(model, optimizer, new)
    spent = None if memory is None else memory.rise
    return model, math.nan if spent is None or spent.measured is None else spent.measured


def rows(change: str, seed: int) -> dict[str, list[float]]:
    """Old error, new error, measured and true rise of ln L of the old task, by memory and statistics."""
    (old, old_test), (new, new_test) = tasks(change, seed)
    torch.manual_seed(seed)
    start = network()
    train(start, sgd(start, 0.05), old)
    before = loss(start, old)

    def row(model: nn.Module, measured: float = math.nan) -> list[float]:
        return [error(model, old_test), error(model, new_test), measured, math.log(loss(model, old) / before)]

    found = {"before the new task": row(start)}
    for name, options in MEMORIES.items():
        for mode in ("updated", "kept"):
            torch.manual_seed(seed + 1)
            model, measured = trained(start, old, new, options, mode)
            found[f"{name} | {mode}"] = row(model, measured)
            if mode == "updated":
                for ours, theirs in zip(model.buffers(), start.buffers(), strict=True):
                    ours.copy_(theirs)
                found[f"{name} | set back at the end"] = row(model)
    return found


@torch.no_grad()
def moved_statistics(change: str, seed: int) -> list[tuple[float, float]]:
    """By layer, how far the new images move the means, in standard deviations of the old ones, and the ln variance.

    Root mean squares over channels of what 3,000 images give in train mode.
    """
    (old, _), (new, _) = tasks(change, seed)
    torch.manual_seed(seed)
    model = network()
    with torch.enable_grad():
        train(model, sgd(model, 0.05), old)
    norms = [part for part in model if isinstance(part, nn.BatchNorm2d)]
    found = []
    for data in (old, new):
        for norm in norms:
            norm.momentum = 1.0  # the statistics of this call alone
        model.train()(data[0])
        found.append([(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms])
    return [
        (
            float(((m2 - m1) / v1.sqrt()).square().mean().sqrt()),
            float((v2 / v1).log().square().mean().sqrt()),
        )
        for (m1, v1), (m2, v2) in zip(*found, strict=True)
    ]


def heading(seeds: dict[str, list[int]]) -> str:
    """Title, command, and what the columns are."""
    words = "; ".join(f"{change} {', '.join(map(str, numbers))}" for change, numbers in seeds.items())
    return _HEAD.format(steps=STEPS, batch=BATCH, seeds=words)


def table(found: dict[str, list[dict[str, list[float]]]]) -> str:
    """Means and standard deviations over the seeds, in per cent."""

    def cell(values: list[float], factor: float, digits: int) -> str:
        if math.isnan(sum(values)):
            return ""
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return f"{factor * statistics.mean(values):.{digits}f} \u00b1 {factor * spread:.{digits}f}"

    head = [f"{change}: {what}" for change in found for what in ("old", "new", "measured rise", "true rise")]
    lines = ["| memory | statistics | " + " | ".join(head) + " |", "| --- " * (2 + len(head)) + "|"]
    for key in next(iter(found.values()))[0]:
        name, _, mode = key.partition(" | ")
        cells = [
            cell([seed[key][column] for seed in seeds], *((100.0, 1) if column < 2 else (1.0, 2)))
            for seeds in found.values()
            for column in range(4)
        ]
        lines.append(f"| {name} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    if sys.argv[1:] == ["statistics"]:
        for change, seeds in SEEDS.items():
            for seed in seeds:
                moved = (f"{mean:.2f} and {variance:.2f}" for mean, variance in moved_statistics(change, seed))
                sys.stdout.write(f"{change}, seed {seed}: {', '.join(moved)}\n")
        return
    chosen = [int(word) for word in sys.argv[1:]]
    seeds = {change: chosen or usual for change, usual in SEEDS.items()}
    sys.stdout.write(
        heading(seeds) + table({change: [rows(change, seed) for seed in seeds[change]] for change in seeds})
    )


if __name__ == "__main__":
    main()
