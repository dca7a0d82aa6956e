"""Recorder overhead, time per landscape point and mode, jobs of the noise: ``python -m benchmarks [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

import landscope as ls
from benchmarks.noise import noise_work
from landscope.datasets import load_images
from landscope.networks import mlp
from landscope.training import train

REPEATS = 5
NOISE_REPEATS = 3


def subject() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor], str]:
    """The paper's network, a few epochs into training, on MNIST where it is at hand, else on noise of its shape."""
    if os.environ.get("LANDSCOPE_DATA") and (Path(os.environ["LANDSCOPE_DATA"]) / "mnist").is_dir():
        images = load_images("mnist")
        data, name = (images.train_images.flatten(1), images.train_labels), "MNIST"
    else:
        generator = torch.Generator().manual_seed(0)
        data = torch.rand(60_000, 784, generator=generator), torch.randint(0, 10, (60_000,), generator=generator)
        name = "noise of MNIST's shape"
    model = mlp([784, 50, 50, 10], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in train(model, nn.functional.cross_entropy, data, optimizer, ls.MinibatchOrder(60_000, 50)):
        if epoch.number == 5:
            break
    return model, data, name


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest."""
    return median(values), min(values), max(values)


def recorder_overhead(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], steps: int = 2000) -> dict:
    """Microseconds a step: bare, recorded in memory, recorded to disk; taken in turns so that drift hits all."""
    inputs, targets = data
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    batches = torch.arange(steps * 50).remainder(60_000).view(steps, 50)

    def loop() -> None:
        for batch in batches:
            loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def recorded(path: str | None) -> None:
        with ls.TrajectoryRecorder(model, optimizer, select="2.weight", path=path):
            loop()

    loop()
    times: dict[str, list[float]] = {"bare": [], "memory": [], "disk": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            times["bare"].append(seconds(loop) / steps * 1e6)
            times["memory"].append(seconds(lambda: recorded(None)) / steps * 1e6)
            times["disk"].append(seconds(lambda path=f"{folder}/{repeat}": recorded(path)) / steps * 1e6)
    overhead = {
        name: spread([100 * (t / bare - 1) for t, bare in zip(times[name], times["bare"], strict=True)])
        for name in ("memory", "disk")
    }
    return {"bare step (us)": spread(times["bare"]), "overhead (%)": overhead}


def landscape_points(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> dict:
    """Milliseconds a point of the landscape: a plain full forward, and along lines."""
    inputs, targets = data
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(space.dim, 16, generator=generator)).Q.T.contiguous()
    displacements = torch.linspace(-0.5, 0.5, 12)

    def forward() -> None:
        with torch.no_grad():
            nn.functional.cross_entropy(model(inputs), targets)

    ls.loss_profiles(risk, risk.w0, directions, displacements)
    points = directions.shape[0] * len(displacements)
    times: dict[str, list[float]] = {"forward": [], "lines": [], "mode": []}
    evaluations = []
    for _ in range(REPEATS):
        times["forward"].append(1e3 * min(seconds(forward) for _ in range(2)))
        times["lines"].append(
            1e3 * seconds(lambda: ls.loss_profiles(risk, risk.w0, directions, displacements)) / points
        )
        started = time.perf_counter()
        found = ls.flatness(risk, risk.w0, directions)
        times["mode"].append(1e3 * (time.perf_counter() - started) / len(directions))
        evaluations.append(float(found.evaluations.double().mean()))
    ratio = [full / line for full, line in zip(times["forward"], times["lines"], strict=True)]
    return {
        "full forward (ms a point)": spread(times["forward"]),
        "lines (ms a point)": spread(times["lines"]),
        "forward / lines": spread(ratio),
        "flatness at rtol 1e-3 (ms a mode)": spread(times["mode"]),
        "evaluations a mode": evaluations[0],
    }


def table(results: dict) -> str:
    """The results as Markdown."""
    lines = [
        f"Data: {results['data']}. Median of {REPEATS}, of {NOISE_REPEATS} for whole jobs (smallest to largest).",
        "",
    ]
    lines += ["| threads | quantity | value |", "|---|---|---|"]
    for entry in results["runs"]:
        flat = {**entry["points"], **entry["noise"], "bare step (us)": entry["recorder"]["bare step (us)"]}
        flat |= {
            f"recorder overhead in {where} (%)": value for where, value in entry["recorder"]["overhead (%)"].items()
        }
        for name, value in flat.items():
            shown = f"{value:.1f}" if isinstance(value, float) else f"{value[0]:.2f} ({value[1]:.2f} to {value[2]:.2f})"
            lines.append(f"| {entry['threads']} | {name} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Measure on one thread and on all, print, and save where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model, data, name = subject()
    available = torch.get_num_threads()
    results: dict = {"data": name, "runs": []}
    for threads in sorted({1, available}):
        torch.set_num_threads(threads)
        run = {"points": landscape_points(model, data), "recorder": recorder_overhead(model, data)}
        run["noise"] = {name: spread(values) for name, values in noise_work(model, data, NOISE_REPEATS).items()}
        results["runs"].append({"threads": threads, **run})
    print(table(results))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
