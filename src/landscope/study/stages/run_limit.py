"""Parts of the dynamics: the effective curvature of the run itself at its saved models, and psi_infinity of the run."""

from __future__ import annotations

import functools

import torch

from landscope.directions.directions import Directions
from landscope.errors import InputError
from landscope.landscape import directional_curvature
from landscope.law.run_limit import RunLimit
from landscope.noise.effective_curvature import EffectiveCurvature, effective_curvature_at
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.minibatch_order import order_shown
from landscope.study.parts import Part
from landscope.study.stages.continued import fitted_modes, limit_along
from landscope.threads import one_thread

__all__ = ["run_limit_parts", "source_of_limit"]

_FEWEST = 5
_SOURCES = {
    "with-replacement": "the training that goes on from the end of the window, with replacement",
    "reshuffled": "the training that goes on from the end of the window, reshuffled",
    "checkpoints": "the window itself, at its saved models",
}
"""Where the limit along the curvature comes from, the best first: independent minibatches need no other formula."""


def run_limit_parts() -> tuple[Part, ...]:
    """The effective curvature at the saved models, the limit that it gives, and the best limit that there is."""
    effective = [
        Part(saved.effective_curvature("checkpoints", basis), functools.partial(_at_checkpoints, basis),
             needs=("checkpoints",), after=(saved.MODES,) if basis == "modes" else (saved.CURVATURE,), is_optional=True)
        for basis in ("modes", "curvature")
    ]  # fmt: skip
    best = tuple(saved.run_limit(source, "curvature").name for source in _SOURCES)
    return (
        *effective,
        Part(
            saved.run_limit("checkpoints", "curvature"), _of_the_run, needs=("learning_rate",), uses=("epochs",),
            after=(saved.effective_curvature("checkpoints", "curvature"), saved.basis_flatness("curvature")),
            is_optional=True,
        ),
        Part(saved.RUN_LIMIT, _best, uses=best, is_optional=True),
    )  # fmt: skip


def _directions(basis: str, analysis: Analysis) -> Directions:
    if basis == "modes":
        return analysis.load(saved.MODES).part(slice(fitted_modes(analysis)[1]))
    return analysis.load(saved.CURVATURE)


def _at_checkpoints(basis: str, analysis: Analysis) -> EffectiveCurvature:
    """Gradients of the recorded weights where the whole model was saved: the other weights are where they were."""
    window, directions = analysis.window, _directions(basis, analysis)
    rows = {int(step): row for row, step in enumerate(window.steps)}
    steps = [step for step in analysis.checkpoints.steps() if step in rows]
    if len(steps) < _FEWEST:
        raise InputError(
            expected=f"at least {_FEWEST} whole models saved within the window, to take gradients at",
            got=f"{len(steps)}",
            hint="Offer train_on=, or save the model more often: study.record(optimizer, checkpoints=...).",
        )
    forces = []
    with one_thread():
        for number, step in enumerate(steps):
            risk = analysis.risk_at(step)
            forces.append(directions.directions @ risk.gradient(risk.w0).cpu().to(directions.directions))
            analysis.progress(number + 1, len(steps))
    places = torch.tensor([rows[step] for step in steps])
    local = analysis.load_if_there(saved.effective_curvature("with-replacement", basis))
    return effective_curvature_at(
        directions.project_trajectory(window)[places], torch.stack(forces).double(), directions=directions.name,
        local_curvature=_local(basis, analysis) if local is None else local.local_curvature,
    )  # fmt: skip


def _local(basis: str, analysis: Analysis) -> torch.Tensor | None:
    """H_ii along the few eigenvectors; principal modes are many, and have it where the training goes on."""
    if basis == "modes":
        return None
    w0 = analysis.risk.w0
    return directional_curvature(analysis.risk, w0, analysis.load(saved.CURVATURE).directions.to(w0))


def _of_the_run(analysis: Analysis) -> RunLimit:
    curvature = analysis.load(saved.CURVATURE)
    return limit_along(
        curvature, analysis.window, analysis.load(saved.basis_flatness("curvature")),
        analysis.load(saved.effective_curvature("checkpoints", "curvature")), analysis.facts, analysis.learning_rate,
        order_shown(analysis.window, curvature, analysis).steps_per_epoch,
    )  # fmt: skip


def source_of_limit(analysis: Analysis) -> str:
    """What the limit of the run was measured in, in words; empty where it was not measured."""
    there = (words for name, words in _SOURCES.items() if analysis.has(saved.run_limit(name, "curvature")))
    return next(there, "")


def _best(analysis: Analysis) -> RunLimit:
    reasons = analysis.folder.read_note("not-measured")
    candidates = [saved.run_limit(source, "curvature") for source in _SOURCES]
    for candidate in candidates:
        if analysis.has(candidate):
            return analysis.load(candidate)
    raise InputError(
        expected="the effective curvature along a training that goes on, or at whole models within the window",
        got="; ".join(dict.fromkeys(reasons.get(one.name, "") for one in candidates)).strip("; ") or "none",
        hint="Pass ls.Study(..., train_on=f).",
    )
