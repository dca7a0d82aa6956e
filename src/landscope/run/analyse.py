"""The stages after training: modes, flatness, law; each reads the artefacts before it and writes its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from landscope.errors import StorageError
from landscope.landscape import Flatness, LossProfiles, ProfileFits, fit_profiles, flatness
from landscope.modes import PrincipalModes, principal_modes
from landscope.paper.claims import judge_all
from landscope.paper.spectrum import Spectrum, spectrum
from landscope.paper.variance_flatness import Laws, SurrogateLaw, drawn_profiles, laws, measurements, surrogate_law
from landscope.protocols import ProgressCallback
from landscope.results import Result, stamp
from landscope.risk import EmpiricalRisk
from landscope.run.checkpoint import load_model
from landscope.run.folder import RunFolder
from landscope.run.problem import Problem
from landscope.run.train import TrainingHistory, windows
from landscope.storage import write_json
from landscope.trajectory import Trajectory

__all__ = ["DrawnModes", "find_modes", "fit_laws", "measure_flatness"]

_PART = 128

SUMMARY_NAMES = (
    "settings",
    "provenance",
    "threads",
    "weights",
    "window_steps",
    "start_epoch",
    "window_epochs",
    "exploration_reached",
    "loss_at_w0",
    "train_error_at_w0",
    "test_error_at_w0",
    "gamma",
    "gamma_interval",
    "gamma_cross",
    "gamma_cross_interval",
    "gamma_ranks",
    "modes_for_90_percent",
    "first_mode_share",
    "alignment",
    "drift_share",
    "inverse_gaussian_residual_ratio",
    *(field.name for field in dataclasses.fields(Laws) if field.name not in ("provenance", "used")),
)
"""What ``summary.json`` of a finished run names."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DrawnModes(Result, kind="drawn_modes"):
    """Ranks of the modes whose profiles were drawn.

    Args:
        ranks: Counted from 1.
    """

    ranks: tuple[int, ...]


def find_modes(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:  # noqa: ARG001 - stages share a form
    """Principal modes of the first window, and what Fig. 1 shows of both."""
    window, next_window = windows(run, run.load("training", TrainingHistory))
    modes = principal_modes(window, progress=progress)
    settings = run.settings
    run.save("spectrum", spectrum(modes, window, next_window, gamma_ranks=settings.gamma_ranks))
    run.save("modes", modes)


def measure_flatness(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """Flatness along the modes, in parts that survive a kill, and a few profiles."""
    risk, window = _risk_at_window_end(run, problem)
    modes = run.load("modes", PrincipalModes)
    count = min(run.settings.flatness_modes or len(modes.directions), len(modes.directions))
    parts = [
        _flatness_part(run, risk, window, modes.directions, range(first, min(first + _PART, count)), count, progress)
        for first in range(0, count, _PART)
    ]
    found = _joined(parts)
    profiles, ranks = drawn_profiles(risk, window, modes.directions, found)
    run.save("profiles", profiles)
    run.save("profile-fits", fit_profiles(profiles))
    run.save("drawn-modes", DrawnModes(ranks=ranks))
    run.save("flatness", found)
    for first in range(0, count, _PART):
        run.file(f"flatness-from-{first + 1}").unlink(missing_ok=True)


def _risk_at_window_end(run: RunFolder, problem: Problem) -> tuple[EmpiricalRisk, Trajectory]:
    window, _ = windows(run, run.load("training", TrainingHistory))
    model = problem.network()
    load_model(run.file("w0"), model)
    risk = problem.risk(model)
    if not torch.equal(risk.w0, window.row(-1)):
        raise StorageError(
            expected=f"the last recorded weights of the window in {run.file('w0')}",
            got="other weights",
            hint="Trajectory and checkpoint are of different runs; start a new run.",
        )
    return risk, window


def _flatness_part(
    run: RunFolder,
    risk: EmpiricalRisk,
    window: Trajectory,
    directions: Tensor,
    rows: range,
    count: int,
    progress: ProgressCallback,
) -> Flatness:
    name = f"flatness-from-{rows[0] + 1}"
    if not run.has(name):
        part = flatness(
            risk,
            window.row(-1),
            directions[rows[0] : rows[-1] + 1],
            rtol=run.settings.rtol,
            progress=lambda done, _: progress(rows[0] + done, count),
        )
        run.save(name, part)
    return run.load(name, Flatness)


def _joined(parts: Sequence[Flatness]) -> Flatness:
    names = Flatness.dims
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return dataclasses.replace(parts[0], **tensors)


def fit_laws(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """The law in-sample, in fresh data and under the null; the claims and the summary."""
    settings = run.settings
    found, widths = run.load("spectrum", Spectrum), run.load("flatness", Flatness)
    surrogates = _surrogates(run, problem, widths, progress)
    fitted = laws(found, widths, surrogates, law_modes=settings.law_modes)
    history, fits = run.load("training", TrainingHistory), run.load("profile-fits", ProfileFits)
    ratio = float((fits.log_residual / fits.quadratic_residual).median())
    measured = measurements(found, fitted, ratio, exploration_reached=history.exploration_reached)
    write_json(run.path / "claims.json", [judgement.as_dict() for judgement in judge_all(measured)])
    write_json(run.path / "summary.json", _summary(run, history, found, widths, fitted, ratio))
    run.save("laws", fitted)


def _surrogates(run: RunFolder, problem: Problem, widths: Flatness, progress: ProgressCallback) -> list[SurrogateLaw]:
    settings = run.settings
    names = [f"surrogate-{number}" for number in range(settings.surrogates)]
    missing = [number for number, name in enumerate(names) if not run.has(name)]
    if missing:
        risk, window = _risk_at_window_end(run, problem)
        for number in missing:
            law = surrogate_law(
                risk,
                window,
                seed=settings.seed * 1000 + number,
                law_modes=(settings.law_modes[0], min(settings.law_modes[1], len(widths.width))),
                gamma_ranks=settings.gamma_ranks,
                rtol=settings.rtol,
                progress=lambda done, total, number=number: progress(number * total + done, len(names) * total),
            )
            run.save(names[number], law)
    return [run.load(name, SurrogateLaw) for name in names]


def _summary(
    run: RunFolder, history: TrainingHistory, found: Spectrum, widths: Flatness, fitted: Laws, ratio: float
) -> dict[str, Any]:
    end = history.start_epoch + history.window_epochs - 1
    return {
        "settings": run.settings.model_dump(mode="json"),
        "provenance": stamp(),
        "threads": torch.get_num_threads(),
        "weights": found.dim,
        "window_steps": found.n_steps,
        "start_epoch": history.start_epoch,
        "window_epochs": history.window_epochs,
        "exploration_reached": history.exploration_reached,
        "loss_at_w0": widths.loss0,
        "train_error_at_w0": float(history.train_error[end]),
        "test_error_at_w0": float(history.test_error[end]),
        "gamma": found.gamma,
        "gamma_interval": found.gamma_interval,
        "gamma_cross": found.gamma_cross,
        "gamma_cross_interval": found.gamma_cross_interval,
        "gamma_ranks": found.gamma_ranks,
        "modes_for_90_percent": found.modes_for_90_percent,
        "first_mode_share": float(found.variance[0] / max(found.total_variance, 1e-300)),
        "alignment": found.alignment,
        "drift_share": float(found.drift_share[0]),
        "inverse_gaussian_residual_ratio": ratio,
        **{name: value for name, value in fitted.attributes().items() if name not in ("provenance",)},
    }


def load_profiles(run: RunFolder) -> tuple[LossProfiles, ProfileFits, tuple[int, ...]]:
    """The drawn profiles with their fits and ranks."""
    ranks = run.load("drawn-modes", DrawnModes).ranks
    return run.load("profiles", LossProfiles), run.load("profile-fits", ProfileFits), ranks
