"""Loss at a point of a line, and flatness of a mode, on the paper's network."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

import landscope as ls
from benchmarks import peers
from benchmarks.measure import Row, in_turns, ratio, seconds
from benchmarks.subject import LAYER, Subject

__all__ = ["flatness", "points", "whole_jobs"]

_REPEATS = 5
_POINTS = 41
_DIRECTIONS = 32
_CALL = 2000
"""Samples a full forward takes at once: fastest here."""
_FEW = 8
"""Points of a line for those whose time a point does not depend on it."""


def points(subject: Subject) -> list[Row]:
    """Milliseconds a point: by landscope, the peers, a full forward; and what the machine could do at best."""
    model, data = subject.model, subject.data
    risk, directions = subject.risk(), subject.modes(_DIRECTIONS)
    displacements = torch.linspace(-0.5, 0.5, _POINTS)

    def forward() -> None:
        with torch.no_grad():
            for x, y in zip(data[0].split(_CALL), data[1].split(_CALL), strict=True):
                nn.functional.cross_entropy(model(x), y, reduction="sum").item()

    calls = {
        "landscope": (lambda: ls.loss_profiles(risk, risk.w0, directions, displacements), _DIRECTIONS * _POINTS),
        "full forward": (forward, 1),
    }
    installed = peers.versions()
    lines = {"loss-landscapes": peers.loss_landscapes_line, "landscaper": peers.landscaper_line}
    for name, version in ((name, installed[name]) for name in lines if name in installed):
        calls[f"{name} {version}"] = (lines[name](model, data, LAYER, directions[0], _FEW), _FEW)
    times = in_turns({name: call for name, (call, _) in calls.items()}, _REPEATS)
    each = {name: [1e3 * t / calls[name][1] for t in taken] for name, taken in times.items()}
    first = seconds(lambda: ls.loss_profiles(subject.risk(), risk.w0, directions[:1], displacements))
    best = _best_possible(data[0].device)
    rows = [Row.of(f"loss at a point: {name}", "ms", taken) for name, taken in each.items()]
    rows.append(Row.of("first line of a new risk (tracing, sorting, frozen prefix)", "ms", 1e3 * first))
    rows.append(Row.of("loss at a point: ceiling estimate", "ms", best, _CEILING))
    others = [name for name in each if name != "landscope"]
    rows += [Row.of(f"{name} / landscope", "x", ratio(each[name], each["landscope"])) for name in others]
    rows.append(Row.of("landscope / ceiling estimate", "x", [t / best for t in each["landscope"]]))
    missing = lines.keys() - installed.keys()
    return [*rows, *(Row.of(f"loss at a point: {name}", "ms", math.nan, "not installed") for name in missing)]


_CEILING = (
    "one 10 x 50 product a sample at the rate of a large square one, and reading 2 x 50 numbers a sample at the rate "
    "of a large copy; no exponentials"
)


def _best_possible(device: torch.device) -> float:
    """Milliseconds for the products of the last layer and for reading a0 and q once, at measured rates."""
    square = torch.randn(2048, 2048, device=device)
    large = torch.randn(2**25, device=device)
    into = torch.empty_like(large)

    def product() -> None:
        (square @ square).sum().item()

    def copy() -> None:
        into.copy_(large)
        into[0].item()

    times = {name: min(taken) for name, taken in in_turns({"product": product, "copy": copy}, 7).items()}
    rate, bandwidth = 2 * 2048**3 / times["product"], 2 * large.nbytes / times["copy"]
    return 1e3 * (2 * 60_000 * 50 * 10 / rate + 2 * 60_000 * 50 * 4 / bandwidth)


def flatness(subject: Subject) -> list[Row]:
    """A mode at rtol 1e-3: by landscope, and by bisection with full forwards; then all modes."""
    risk, few = subject.risk(), subject.modes(3)
    evaluations: list[float] = []

    def bisect() -> None:
        evaluations.append(_bisected(subject, few) / len(few))

    some = subject.modes(250)  # as in use: what a call costs before its first mode is shared by all
    guided: list[ls.landscape.Flatness] = []
    times = in_turns(
        {"landscope": lambda: guided.append(ls.flatness(risk, risk.w0, some)), "bisection": bisect}, 3, warm_up=False
    )
    ours = [1e3 * t / len(some) for t in times["landscope"]]
    theirs = [1e3 * t / len(few) for t in times["bisection"]]
    started = time.perf_counter()
    found = ls.flatness(risk, risk.w0, subject.directions[:2499])
    every = time.perf_counter() - started
    return [
        Row.of("flatness of a mode: landscope", "ms", ours),
        Row.of("flatness of a mode: bisection with full forwards", "ms", theirs),
        Row.of("bisection / landscope", "x", ratio(theirs, ours)),
        Row.of("evaluations of all data a mode: landscope", "", [float(f.evaluations.double().mean()) for f in guided]),
        Row.of("time of a mode / time of one evaluation", "", [t / _evaluation(risk, some) for t in ours], _SEARCHES),
        Row.of("evaluations of all data a mode: bisection", "", evaluations),
        Row.of(f"flatness of {len(found.width)} modes", "s", every, f"{int(found.bracketed.sum())} bracketed"),
    ]


_SEARCHES = "what is more than the evaluations: pre-activations of the direction, and searches on the few hard samples"


def _evaluation(risk: ls.EmpiricalRisk, directions: Tensor) -> float:
    """Milliseconds of one point on a line whose pre-activations are known."""
    lines, steps = risk.lines(risk.w0, directions[:1]), torch.linspace(-0.5, 0.5, 50).double()
    index = torch.zeros(len(steps), dtype=torch.long)
    return 1e3 * min(in_turns({"points": lambda: lines(index, steps)}, 3)["points"]) / len(steps)


@torch.no_grad()
def _bisected(subject: Subject, directions: Tensor, rtol: float = 1e-3) -> int:
    """The crossing of each side by halving from the norm of the weights; returns full forwards taken."""
    model, (inputs, targets) = subject.model, subject.data
    weight = dict(model.named_parameters())[LAYER]
    start, count = weight.detach().clone(), 0

    def log_loss(step: float, direction: Tensor) -> float:
        nonlocal count
        count += 1
        weight.copy_(start + step * direction.view_as(start))
        return math.log(float(nn.functional.cross_entropy(model(inputs), targets)))

    for direction in directions:
        level = log_loss(0.0, direction) + 1
        for sign in (-1, 1):
            low, high = 0.0, float(start.norm())
            while high - low > rtol * high:
                middle = 0.5 * (low + high)
                low, high = (low, middle) if log_loss(sign * middle, direction) > level else (middle, high)
    weight.copy_(start)
    return count


def whole_jobs(subject: Subject) -> list[Row]:
    """The large jobs of the minibatch noise."""
    risk = subject.risk()
    ensemble, directions = risk.minibatches(50, seed=0), subject.modes(100)
    generator = torch.Generator().manual_seed(0)
    path = ls.Trajectory.of(torch.randn(12_000, 2_500, generator=generator).cumsum(0))
    axes = ls.directions.Directions.of(torch.eye(2_500), name="axes")
    jobs = {
        "sweep of 100 modes x 41 points x 60,000 samples, with 120,000 spring fits": lambda: (
            ls.noise.minibatch_ensemble(ensemble, risk.w0, directions, torch.linspace(-0.5, 0.5, 41))
        ),
        "derivatives of 1,200 minibatches in 100 directions, forward mode": lambda: ls.noise.active_temperature(
            ensemble, risk.w0, directions, torch.zeros(1), learning_rate=0.1
        ),
        "the same by one gradient a minibatch": lambda: ls.noise.gradient_noise(ensemble, risk.w0, directions),
        "velocity statistics of 12,000 x 2,500, lags to 1,200": lambda: ls.noise.velocity_statistics(path, axes, 1200),
    }
    return [Row.of(name, "s", [seconds(job) for _ in range(3)]) for name, job in jobs.items()]
