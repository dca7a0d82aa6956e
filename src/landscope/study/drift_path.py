"""The path along the drift: loss, margin and errors from w0 along the first mode (paper, section S2)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.landscape import loss_profiles
from landscope.noise.drift_path import DriftPath
from landscope.study import saved
from landscope.study.analysis import Analysis

__all__ = ["walk_along_drift"]

_POINTS = 11
_DRAWS = 5
"""Random directions: enough for a band of one further."""
_NAMES = ("train_error", "test_loss", "test_error")


def walk_along_drift(analysis: Analysis) -> DriftPath:
    """Losses from w0 along mode 1, as far as the window went, and errors where the study can evaluate a model."""
    direction, risk = analysis.load(saved.MODES).directions[0], analysis.risk
    first, last = (analysis.window.row(row).double() for row in (0, -1))
    length = float(direction @ (last - first))
    displacements = torch.linspace(0, length, _POINTS, dtype=torch.float64)
    model, rows = analysis.model_at(analysis.windows.step).eval(), []
    for displacement in displacements.tolist():
        w = risk.w0 + displacement * direction.to(risk.w0)
        risk.space.assign(model, w)
        found = analysis.subject.measure(model, seed=analysis.settings.seed)
        loss = float(risk(w)) if math.isnan(found["train_loss"]) else found["train_loss"]
        norm = float(torch.linalg.vector_norm(w))
        rows.append([found["margin"], found["margin"] / norm, loss, *(found[name] for name in _NAMES)])
    columns = torch.tensor(rows, dtype=torch.float64).T
    tiny = 1e-2 * abs(length)
    ends = loss_profiles(risk, risk.w0, direction[None].to(risk.w0), torch.tensor([-tiny, tiny])).loss[0]
    hessian = analysis.load_if_there(saved.LOG_HESSIAN)
    return DriftPath(
        displacements=displacements,
        margin=columns[0],
        relative_margin=columns[1],
        loss=columns[2],
        train_error=columns[3],
        test_loss=columns[4],
        test_error=columns[5],
        window_displacement=length,
        beta_slope=float(torch.log(ends[1] / ends[0])) / (2 * tiny) if tiny else math.nan,
        beta_ensemble=float(hessian.slope[0]) if hessian is not None else math.nan,
        random_train_error=_errors_at_random(analysis, model, abs(length)),
    )


def _errors_at_random(analysis: Analysis, model: nn.Module, length: float) -> Float[Tensor, " draws"]:
    """Training errors after steps of this length in random directions, as a drift of no direction of its own makes."""
    risk, generator = analysis.risk, torch.Generator().manual_seed(analysis.settings.seed)
    found = []
    for _ in range(_DRAWS):
        direction = torch.randn(len(risk.w0), generator=generator, dtype=torch.float64)
        step = length * direction / torch.linalg.vector_norm(direction)
        risk.space.assign(model, risk.w0 + step.to(risk.w0))
        found.append(analysis.subject.measure(model, seed=analysis.settings.seed)["train_error"])
    return torch.tensor(found, dtype=torch.float64)
