"""The stages after training: modes, flatness, law; each reads the artefacts before it and writes its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope._names import BatchNorm
from landscope.claims.fig2 import measurements
from landscope.claims.verdict import Measurement
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import StorageError
from landscope.landscape import flatness
from landscope.landscape.drawn_profiles import drawn_profiles
from landscope.landscape.flatness import Flatness, joined
from landscope.landscape.profile import LossProfiles, ProfileFits, fit_profiles
from landscope.law.exponents import Exponents, fit_exponents, measure_exponents
from landscope.law.intervals import prediction_band
from landscope.law.inverse_relation import IN_SAMPLE, NEXT_WINDOW, SHUFFLED
from landscope.law.spectrum import Spectrum, spectrum
from landscope.noise.mode_statistics import ModeStatistics, mode_statistics
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.train import windows
from landscope.results import Result, stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.storage.atomic import write_json
from landscope.study.cache import Done, part
from landscope.study.checkpoint import load_model
from landscope.study.folder import RunFolder
from landscope.surrogates.trajectories import shuffled_increments
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory

__all__ = [
    "EXPONENTS",
    "SUMMARY_NAMES",
    "DrawnModes",
    "find_modes",
    "fit_laws",
    "load_profiles",
    "measure_flatness",
    "risk_at_window_end",
    "write_claims",
]

_PART = 128

EXPONENTS = ("psi", "psi_D", "psi_tau", "gamma")
_OF_THE_FIT = (
    "prefactor",
    "residual",
    "rank_correlation",
    "mode_range",
    "flatness_range",
    "n_used",
    "n_censored",
    "n_still",
)

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
    *(
        f"{key}{kind}"
        for key in EXPONENTS
        for kind in ("", "_interval", "_cross", "_cross_interval", "_null", "_null_band")
    ),
    "spectrum_ranks",
    "modes_for_90_percent",
    "modes_for_90_percent_null",
    "first_mode_share",
    "alignment",
    "cosine_content",
    "drift_share",
    "inverse_gaussian_residual_ratio",
    "n_censored_all",
    *_OF_THE_FIT,
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
    motion, next_motion = (
        part(run, name, ModeStatistics, lambda rows=rows: mode_statistics(modes, rows))
        for name, rows in (("motion", window), ("motion-next", next_window))
    )
    run.save("spectrum", spectrum(modes, window, motion, next_motion, spectrum_ranks=run.settings.spectrum_ranks))
    run.save("modes", modes)


def measure_flatness(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """Flatness along the modes, in parts that survive a kill, and a few profiles."""
    risk, window = risk_at_window_end(run, problem)
    modes = run.load("modes", Directions)
    count = min(run.settings.flatness_modes or len(modes.directions), len(modes.directions))
    parts = [
        _flatness_part(run, risk, window, modes.directions, range(first, min(first + _PART, count)), count, progress)
        for first in range(0, count, _PART)
    ]
    found = joined(parts)
    profiles, ranks = drawn_profiles(risk, window, modes.directions, found)
    run.save("profiles", profiles)
    run.save("profile-fits", fit_profiles(profiles))
    run.save("drawn-modes", DrawnModes(ranks=ranks))
    run.save("flatness", found)
    for first in range(0, count, _PART):
        run.file(f"flatness-from-{first + 1}").unlink(missing_ok=True)


def risk_at_window_end(
    run: RunFolder, problem: Problem, layer: str | None = None, *, batch_norm: BatchNorm = "kept"
) -> tuple[EmpiricalRisk, Trajectory]:
    """The risk at w0, the end of the first window, and that window; of all recorded weights, or of a layer."""
    window, _ = windows(run, run.load("training", TrainingHistory))
    window = window if layer is None else window.of_parameters(layer)
    model = problem.network()
    load_model(run.file("w0"), model)
    risk = problem.risk(model, layer, batch_norm=batch_norm)
    if not torch.equal(risk.w0.cpu(), window.row(-1)):
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


def fit_laws(run: RunFolder, problem: Problem, progress: ProgressCallback) -> None:
    """The exponents in-sample, in fresh data and under the null; the claims and the summary."""
    settings, widths = run.settings, run.load("flatness", Flatness)
    own, fresh = (
        fit_exponents(name, motion, widths, settings.fit_modes, spectrum_ranks=settings.spectrum_ranks)
        for name, motion in (
            (IN_SAMPLE, run.load("motion", ModeStatistics)),
            (NEXT_WINDOW, run.load("motion-next", ModeStatistics)),
        )
    )
    nulls = _nulls(run, problem, widths, progress)
    found, history = run.load("spectrum", Spectrum), run.load("training", TrainingHistory)
    fits = run.load("profile-fits", ProfileFits)
    ratio = float((fits.log_residual / fits.quadratic_residual).median())
    measured = measurements(found, own, fresh, nulls, ratio, exploration_reached=history.exploration_reached)
    write_claims(run, "law", measured)
    write_json(run.path / "summary.json", _summary(run, history, found, widths, own, fresh, nulls, ratio))
    run.save("exponents-next-window", fresh)
    run.save("exponents-in-sample", own)
    run.save("law", Done(parts=("exponents-in-sample", "exponents-next-window", *run.names("exponents-shuffled-"))))


def _nulls(run: RunFolder, problem: Problem, widths: Flatness, progress: ProgressCallback) -> list[Exponents]:
    settings = run.settings
    names = [f"exponents-shuffled-{number}" for number in range(settings.n_nulls)]
    missing = [number for number, name in enumerate(names) if not run.has(name)]
    if missing:
        risk, window = risk_at_window_end(run, problem)
        for number in missing:
            found = measure_exponents(
                SHUFFLED,
                risk,
                risk.w0,
                shuffled_increments(window, seed=settings.seed * 1000 + number),
                fit_modes=(settings.fit_modes[0], min(settings.fit_modes[1], len(widths.width))),
                spectrum_ranks=settings.spectrum_ranks,
                rtol=settings.rtol,
                progress=lambda done, total, number=number: progress(number * total + done, len(names) * total),
            )
            run.save(names[number], found)
    return [run.load(name, Exponents) for name in names]


def write_claims(run: RunFolder, stage: str, measured: Mapping[str, Measurement]) -> None:
    """Keep what a stage measured; verdicts are computed from it whenever they are shown."""
    values = {key: dataclasses.asdict(measurement) for key, measurement in measured.items()}
    write_json(run.path / f"measurements-{stage}.json", values)


def _summary(
    run: RunFolder,
    history: TrainingHistory,
    found: Spectrum,
    widths: Flatness,
    own: Exponents,
    fresh: Exponents,
    nulls: Sequence[Exponents],
    ratio: float,
) -> dict[str, Any]:
    end = history.start_epoch + history.window_epochs - 1
    exponents = {}
    for key in EXPONENTS:
        null = [float(getattr(law, key)) for law in nulls]
        exponents |= {
            key: getattr(own, key),
            f"{key}_interval": getattr(own, f"{key}_interval"),
            f"{key}_cross": getattr(fresh, key),
            f"{key}_cross_interval": getattr(fresh, f"{key}_interval"),
            f"{key}_null": null,
            f"{key}_null_band": prediction_band(null),
        }
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
        **exponents,
        "spectrum_ranks": found.spectrum_ranks,
        "modes_for_90_percent": found.modes_for_90_percent,
        "modes_for_90_percent_null": [law.modes_for_90_percent for law in nulls],
        "first_mode_share": float(found.variance[0] / max(found.total_variance, 1e-300)),
        "alignment": found.alignment,
        "cosine_content": [float(content) for content in found.cosine_content[:4]],
        "drift_share": float(found.drift_share[0]),
        "inverse_gaussian_residual_ratio": ratio,
        "n_censored_all": int((~widths.bracketed).sum()),
        **{name: getattr(own, name) for name in _OF_THE_FIT},
    }


def load_profiles(run: RunFolder) -> tuple[LossProfiles, ProfileFits, tuple[int, ...]]:
    """The drawn profiles with their fits and ranks."""
    ranks = run.load("drawn-modes", DrawnModes).ranks
    return run.load("profiles", LossProfiles), run.load("profile-fits", ProfileFits), ranks
