"""The gradient noise scale beside a plain loop over minibatches and BackPACK's variance of single gradients."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable

import torch
from torch import nn

import landscope as ls
from benchmarks.measure import Row, in_turns, ratio
from benchmarks.subject import Subject

__all__ = ["noise_scale"]

_SAMPLES, _BATCH, _REPEATS = 5000, 50, 7


def noise_scale(subject: Subject) -> list[Row]:
    """Milliseconds for the noise scale of all weights of the paper's network, and how far the estimates lie apart."""
    x, y = (part[:_SAMPLES] for part in subject.data)
    model = copy.deepcopy(subject.model)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (x, y))
    minibatches = risk.minibatches(_BATCH)

    def plain_loop() -> float:
        rows = []
        for inputs, targets in zip(x.split(_BATCH), y.split(_BATCH), strict=True):
            loss = nn.functional.cross_entropy(model(inputs), targets)
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
        gradients = torch.stack(rows).double()
        trace = float(_BATCH * gradients.var(dim=0).sum())
        return trace / (float(gradients.mean(dim=0).square().sum()) - trace / _SAMPLES)

    calls: dict[str, Callable[[], float]] = {
        "landscope": lambda: ls.noise.noise_scale(minibatches, risk.w0).value,
        "a plain loop": plain_loop,
    }
    if importlib.util.find_spec("backpack"):
        calls["BackPACK"] = _backpack(model, x, y)
    values = {name: call() for name, call in calls.items()}
    times = in_turns(calls, _REPEATS)
    what = f"noise scale of {_SAMPLES:,} samples"
    notes = {"landscope": "with its interval", "BackPACK": "single gradients in one pass; no interval"}
    rows = [Row.of(f"{what}: {name}", "ms", [1e3 * t for t in times[name]], notes.get(name, "")) for name in calls]
    rows += [
        Row.of(f"{what}: {name} over landscope", "x", ratio(times[name], times["landscope"]))
        for name in calls
        if name != "landscope"
    ]
    rows += [Row.of(f"{what}: value of {name}", "samples", value) for name, value in values.items()]
    return rows


def _backpack(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> Callable[[], float]:
    from backpack import backpack, extend
    from backpack.extensions import Variance

    own, criterion = extend(copy.deepcopy(model)), extend(nn.CrossEntropyLoss())

    def call() -> float:
        own.zero_grad()
        with warnings.catch_warnings(), backpack(Variance()):
            warnings.simplefilter("ignore")  # torch's, of hooks on a module whose inputs need no gradient
            criterion(own(x), y).backward()
        # BackPACK's variance is that of gradients divided by the number n of samples, with the divisor n.
        factor = _SAMPLES**3 / (_SAMPLES - 1)
        trace = factor * sum(float(p.variance.double().sum()) for p in own.parameters())
        square = sum(float(p.grad.double().square().sum()) for p in own.parameters() if p.grad is not None)
        return trace / (square - trace / _SAMPLES)

    return call
