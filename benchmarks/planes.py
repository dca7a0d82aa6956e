"""A plane of losses, what refinement saves, and the alignment of two networks before the line between them."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import landscope as ls
from benchmarks import peers
from benchmarks.measure import Row, in_turns, ratio
from benchmarks.subject import LAYER, Subject
from benchmarks.transformers import trained
from landscope.adapters.huggingface import language_model_losses

__all__ = ["planes"]

_REPEATS = 3
_SIDE, _FEW = 25, 3
"""Points along a direction; and for those whose time a point does not depend on it."""
_REACH = 0.5
_CALL = 2000
"""Samples a full forward takes at once: fastest here."""
_DEPTH = 8
_COARSE, _HALVINGS = 9, 3

_WIDTH, _STEPS = 512, 500
"""Of the two networks that are aligned."""

Losses = Callable[[nn.Module], float]


def planes(subject: Subject) -> list[Row]:
    """Milliseconds a point on the paper's network and on the last block of a transformer; points of a refined plane."""
    x, y = subject.data

    @torch.no_grad()
    def loss(model: nn.Module) -> float:
        parts = zip(x.split(_CALL), y.split(_CALL), strict=True)
        return sum(float(nn.functional.cross_entropy(model(a), b, reduction="sum")) for a, b in parts) / len(y)

    risk = subject.risk()
    rows = _compared("the paper's network", subject.model, risk, subject.modes(2), loss, (LAYER,))
    return [*rows, *_of_transformer(), *_refined(risk, subject.directions[:2]), *_aligned()]


def _of_transformer() -> list[Row]:
    model, texts = trained(_DEPTH)
    space = ls.ParameterSpace.of(model, f"transformer.h.{_DEPTH - 1}.*")
    batches = [{"input_ids": part, "labels": part} for part in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        risk = ls.EmpiricalRisk(model, language_model_losses, batches, space=space)

    @torch.no_grad()
    def loss(model: nn.Module) -> float:
        losses = [float(model(input_ids=part, labels=part).loss) for part in texts]  # batches of one size
        return sum(losses) / len(losses)

    directions = torch.linalg.qr(torch.randn(space.dim, 2, generator=torch.Generator().manual_seed(1))).Q.T.contiguous()
    name = f"GPT-2 of {_DEPTH} blocks, last block selected"
    return _compared(name, model, risk, directions, loss, space.names)


def _compared(
    name: str, model: nn.Module, risk: ls.EmpiricalRisk, directions: Tensor, loss: Losses, names: tuple[str, ...]
) -> list[Row]:
    few, side = torch.linspace(0, _REACH, _FEW), torch.linspace(0, _REACH, _SIDE)
    loop = functools.partial(_loop, copy.deepcopy(model), risk.space, directions, few, loss)
    torch.testing.assert_close(
        ls.loss_plane(risk, risk.w0, directions, few, few).loss, torch.tensor(loop()).double(), rtol=1e-4, atol=1e-7
    )
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "landscope": (lambda: ls.loss_plane(risk, risk.w0, directions, side, side), _SIDE**2),
        "plain loop": (loop, _FEW**2),
    }
    version = peers.versions().get("loss-landscapes")
    if version is not None:
        weights = [risk.space.unflatten(risk.w0 + _REACH * direction) for direction in directions]
        calls[f"loss-landscapes {version}"] = peers.loss_landscapes_plane(model, loss, weights, _FEW), _FEW**2
    times = in_turns({key: call for key, (call, _) in calls.items()}, _REPEATS)
    each = {key: [1e3 * t / calls[key][1] for t in taken] for key, taken in times.items()}
    note = f"a grid of {_SIDE} x {_SIDE}; {', '.join(names) if len(names) < 2 else f'{len(names)} parameters'} moved"
    rows = [
        Row.of(f"{name}: a point of a plane: {key}", "ms", taken, note if key == "landscope" else "")
        for key, taken in each.items()
    ]
    rows += [
        Row.of(f"{name}: {key} / landscope", "x", ratio(taken, each["landscope"]))
        for key, taken in each.items()
        if key != "landscope"
    ]
    missing = [] if version is not None else [f"{name}: a point of a plane: loss-landscapes"]
    return [*rows, *(Row.of(row, "ms", math.nan, "not installed") for row in missing)]


@torch.no_grad()
def _loop(
    model: nn.Module, space: ls.ParameterSpace, directions: Tensor, steps: Tensor, loss: Losses
) -> list[list[float]]:
    """What a user writes: the weights of each point into the model, and a pass over the data."""
    start, rows = space.flatten(model), []
    for a in steps.tolist():
        rows.append([])
        for b in steps.tolist():
            space.assign(model, start + a * directions[0] + b * directions[1])
            rows[-1].append(loss(model))
    space.assign(model, start)
    return rows


def _refined(risk: ls.EmpiricalRisk, directions: Tensor) -> list[Row]:
    """Points of a refined plane of modes 1 and 2, and of a fixed grid whose contours are as much in their place."""
    reach = 2.0
    side = torch.linspace(-reach, reach, _COARSE)
    fine = torch.linspace(-reach, reach, (_COARSE - 1) * 2**_HALVINGS + 1)
    kept: dict[str, ls.landscape.LossPlane] = {}

    def measure(name: str, steps: Tensor, refine: int) -> None:
        kept[name] = ls.loss_plane(risk, risk.w0, directions, steps, steps, refine=refine)

    times = in_turns(
        {"refined": lambda: measure("refined", side, _HALVINGS), "whole": lambda: measure("whole", fine, 0)},
        1, warm_up=False,
    )  # fmt: skip
    refined, whole = kept["refined"], kept["whole"].loss.log()
    spacing = refined.levels[1] - refined.levels[0]

    def error_of(values: Tensor) -> float:
        return float((_interpolated(values, len(fine)) - whole).abs().max()) / spacing

    errors = {2**k: error_of(whole[:: 2**k, :: 2**k]) for k in range(_HALVINGS + 1)}
    error = error_of(refined.loss.log())
    stride = max(stride for stride, value in errors.items() if value <= max(error, 1e-12))
    points, fixed = int(refined.measured.sum()), ((len(fine) - 1) // stride + 1) ** 2
    return [
        Row.of(
            "refined plane of modes 1 and 2: points", "", points,
            f"{_COARSE} x {_COARSE} halved {_HALVINGS} times; largest error of ln L {error:.2g} of the distance of two "
            f"contours; {times['refined'][0]:.2g} s",
        ),
        Row.of(
            "fixed grid with no larger error: points", "", fixed,
            f"error {errors[stride]:.2g}; all {len(whole)} x {len(whole)}: {times['whole'][0]:.2g} s; every fourth "
            f"point along both: error {errors[4]:.2g}",
        ),
        Row.of("fixed / refined, points", "x", fixed / points),
    ]  # fmt: skip


def _interpolated(values: Tensor, side: int) -> Tensor:
    """Values of a grid at the points of a finer one over the same square."""
    return nn.functional.interpolate(values[None, None], size=(side, side), mode="bilinear", align_corners=True)[0, 0]


def _aligned() -> list[Row]:
    """Two networks of two hidden layers on scikit-learn's digits, from two starts: the barrier between them."""
    digits = load_digits()
    data = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    reference, model = (_on_digits(data, seed) for seed in (0, 1))
    risk = ls.EmpiricalRisk(reference, nn.CrossEntropyLoss(), data)
    found: dict[str, nn.Module] = {"as trained": model}
    calls: dict[str, Callable[[], object]] = {
        "landscope": lambda: found.update(landscope=ls.landscape.align_units(model, reference))
    }
    version = peers.versions().get("rebasin")
    if version is not None:
        theirs = peers.rebasin_alignment(model, reference, data[0][:8])
        calls["rebasin"] = lambda: found.update(rebasin=theirs())
    times = in_turns(calls, _REPEATS)
    name = f"two MLPs of 2 x {_WIDTH} units on the digits"
    rows = []
    for key, one in found.items():
        by = key if key != "rebasin" else f"rebasin {version}"
        barrier = ls.landscape.loss_between(risk, risk.w0, risk.space.flatten(one)).barrier
        pairs = zip(one.parameters(), reference.parameters(), strict=True)
        agreement = sum(float((a * b).detach().double().sum()) for a, b in pairs)
        rows.append(Row.of(f"{name}: barrier: {by}", "", barrier, f"agreement of the weights {agreement:.1f}"))
        if key in times:
            rows.append(Row.of(f"{name}: alignment: {by}", "s", times[key]))
    missing = [] if version is not None else [f"{name}: barrier: rebasin"]
    return [*rows, *(Row.of(row, "", math.nan, "not installed") for row in missing)]


def _on_digits(data: tuple[Tensor, Tensor], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(_STEPS):
        some = torch.randint(len(data[0]), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0][some]), data[1][some]).backward()
        optimizer.step()
    return model.eval()
