"""Seconds of steps and of a flatness on a GPU, in less than four minutes: ``python -m benchmarks.device --help``."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import landscope as ls

__all__ = ["measure"]

_SECONDS = 150.0
"""After this no further row is measured, so that all ends within four minutes."""
_STEPS, _BLOCKS = 50, 7
_BATCH, _INPUTS, _CLASSES = 128, 784, 10
_WAYS = ("bare", "recorded", "held by the basin", "held by the basin, every=16")
_OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-4),
}


def main(arguments: list[str]) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to see that the code runs")
    parser.add_argument("--widths", type=int, nargs="*", default=[128, 1024, 2048], help="widths of the hidden layers")
    parser.add_argument("--markdown", type=Path, help="file for the table too")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(2, "torch sees no GPU; --device cpu runs the same code on the processor\n")
    table = measure(torch.device(options.device), options.widths)
    print(table)
    if options.markdown is not None:
        options.markdown.write_text(table + "\n", encoding="utf-8")


def measure(device: torch.device, widths: list[int]) -> str:
    """The table, as Markdown; rows beyond the time are left out, and it says so."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, no GPU"
    lines = [
        f"# Steps and flatness on a device\n\n{name}; torch {torch.__version__}. A network of two hidden layers; the "
        "median of blocks of steps, in milliseconds a step, and over a bare step.\n",
        "| weights | optimiser | step | ms | over bare |",
        "|---|---|---|---|---|",
    ]
    end, left_out = time.perf_counter() + _SECONDS, 0
    for width in widths:
        for optimizer in _OPTIMIZERS:
            bare = None
            for way in _WAYS:
                if time.perf_counter() > end:
                    left_out += 1
                    continue
                n_weights, seconds = _step(device, width, optimizer, way)
                bare = seconds if bare is None else bare
                row = f"| {n_weights} | {optimizer} | {way} | {1e3 * seconds:.3f} | {seconds / bare:.2f} |"
                lines.append(row)
    lines += ["", "| weights | samples | flatness of 16 directions, s | over one loss |", "|---|---|---|---|"]
    for width in widths:
        if time.perf_counter() > end:
            left_out += 1
            continue
        n_weights, n_samples, seconds, one = _flatness(device, width)
        lines.append(f"| {n_weights} | {n_samples} | {seconds:.3f} | {seconds / one:.0f} |")
    if left_out:
        lines.append(f"\n{left_out} rows were left out: the time was over.")
    return "\n".join(lines)


def _network(device: torch.device, width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(_INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _CLASSES)
    ).to(device)


def _samples(device: torch.device, count: int) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, _INPUTS, generator=torch.Generator().manual_seed(0))
    return inputs.to(device), inputs[:, :_CLASSES].argmax(1).to(device)


def _waited(device: torch.device) -> float:
    """The time once the device has done all that was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _step(device: torch.device, width: int, optimizer_name: str, way: str) -> tuple[int, float]:
    """Number of weights, and seconds a step."""
    model, (inputs, targets) = _network(device, width), _samples(device, _BATCH)
    optimizer, criterion = _OPTIMIZERS[optimizer_name](model), nn.CrossEntropyLoss()

    def train() -> float:
        start = _waited(device)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            criterion(model(inputs), targets).backward()
            optimizer.step()
        return (_waited(device) - start) / _STEPS

    def repeated() -> float:
        train()
        return statistics.median(train() for _ in range(_BLOCKS))

    n_weights = sum(parameter.numel() for parameter in model.parameters())
    if way == "bare":
        return n_weights, repeated()
    if way == "recorded":
        with ls.TrajectoryRecorder(model, optimizer, last=20):
            return n_weights, repeated()
    memory = ls.TaskMemory(model, hold_every=16 if way.endswith("16") else 1)
    train()
    memory.consolidate(criterion, _samples(device, 1000), name="before")
    with memory.training(optimizer):
        return n_weights, repeated()


def _flatness(device: torch.device, width: int) -> tuple[int, int, float, float]:
    """Number of weights and samples; seconds of a flatness, and of one loss."""
    model, data = _network(device, width), _samples(device, 10_000)
    optimizer, criterion = _OPTIMIZERS["SGD"](model), nn.CrossEntropyLoss()
    for _ in range(100):
        optimizer.zero_grad()
        criterion(model(data[0]), data[1]).backward()
        optimizer.step()
    risk = ls.EmpiricalRisk(model, criterion, data)
    directions = torch.randn(16, risk.space.dim, generator=torch.Generator().manual_seed(0))
    directions /= directions.norm(dim=1, keepdim=True)
    directions = directions.to(device)
    seconds = []
    for _ in range(3):
        start = _waited(device)
        risk(risk.w0)
        middle = _waited(device)
        ls.flatness(risk, risk.w0, directions)
        seconds.append((_waited(device) - middle, middle - start))
    last, one = (statistics.median(each) for each in zip(*seconds, strict=True))
    return risk.space.dim, len(data[1]), last, one


if __name__ == "__main__":
    main(sys.argv[1:])
