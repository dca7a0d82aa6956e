"""Beyond the paper: what the exponent tends to where the loss rests and every direction has relaxed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import plotly.graph_objects as go

from landscope._names import Sampling
from landscope.claims.statements import judged
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.intervals import with_interval
from landscope.law.run_limit import RunLimit
from landscope.plots.run_limit import psi_against_window, variance_and_relaxation
from landscope.progress import Reporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.made_under import check_same_numbers
from landscope.reproduction.figures import plateau_training
from landscope.reproduction.figures.figure import Plan, Section, plots_of, table
from landscope.reproduction.figures.plateau_training import RESTS, Plateau, Rest, RestingTraining
from landscope.reproduction.jobs import Job
from landscope.threads import one_thread

__all__ = ["CLAIMS", "Plateau", "jobs", "key", "plateau_measurements", "sections", "title"]

_RELAXATIONS, _QUICK_RELAXATIONS = 100, 40
"""Length of the window in relaxation times of the slowest direction."""
_DIRECTIONS, _QUICK_DIRECTIONS = 150, 60
_SAMPLINGS: tuple[Sampling, ...] = ("with-replacement", "reshuffled")
_LIMIT, _LOSSES = "plateau-limit", "plateau"
_TEXT = (
    "Perceptrons whose loss comes to rest in one of two ways. A weight decay of 0.01 pulls back every direction "
    "within 1/(0.01 alpha) steps. Label noise draws a tenth of the labels of every minibatch anew, so that the "
    "mean loss is cross-entropy with a label smoothing of 0.1. After ten times 1/(0.01 alpha) steps the "
    "eigenvectors of the curvature are taken, those with a curvature (and decay) of 0.01 or more, and the weights "
    "along them recorded for up to a hundred more. psi(T) is the exponent of variance against flatness (of the "
    "loss that is descended) in windows of T steps, over all directions; beside it stands the exponent of "
    "relaxation with the curvature and decay at that point; psi_infinity of the run is from the force of all weights. "
    "The limit of independent noise is that of noise over curvature, 0 where noise goes with curvature. Where the "
    "noise sums to zero over reshuffled epochs, flat directions end on the plateau of the order of the "
    "minibatches (Kühn & Rosenow); new labels in every minibatch do not sum to zero, whatever its order."
)
_Which = tuple[Rest, str, int]
_Runs = Mapping[_Which, tuple["Plateau", RunLimit]]
_SENTENCE = "The variance falls with flatness where every direction has relaxed and the loss rests"

CLAIMS = (
    Claim(
        "psi_plateau",
        "Fig. 2D, Eq. 8",
        f"{_SENTENCE} (psi in the longest window, weight decay, with replacement).",
        "about 4",
        exponent_range(4.0),
        SAME_EXPONENT,
        "weight decay, windows of up to 100 relaxation times of the slowest direction",
    ),
    Claim(
        "psi_label_noise",
        "Fig. 2D, Eq. 8",
        f"{_SENTENCE} (psi in the longest window, label noise, with replacement).",
        "about 4",
        exponent_range(4.0),
        SAME_EXPONENT,
        "label noise, windows of up to 100 relaxation times of the slowest direction",
    ),
    Claim(
        "plateau_by_order",
        "Kühn & Rosenow, arXiv 2306.05300",
        "Reshuffled, the exponent ends where the order of the minibatches puts it (psi in the longest window minus that"
        " of relaxation with reshuffled epochs).",
        "a plateau of the correlation time",
        (-0.3, 0.3),
        "a sixth of the plateau's 2",
        "weight decay, windows of up to 100 relaxation times of the slowest direction",
        paper="Kühn & Rosenow, arXiv 2306.05300",
    ),
)

key = "plateau"
title = "The exponent in windows without end (arXiv 2306.05300)"


def jobs(plan: Plan) -> list[Job]:
    """One job for each seed, way to rest and order of the minibatches."""
    return [Job(_name(*which), _measure, (plan, *which)) for which in _trainings(plan)]


def sections(plan: Plan) -> list[Section]:
    """The exponent at the end of the longest window beside relaxation, and its limit."""
    found: dict[_Which, _Run] = {
        which: (plan.load(_name(*which), _LOSSES, Plateau), plan.load(_name(*which), _LIMIT, RunLimit))
        for which in sorted(_trainings(plan), key=lambda which: RESTS.index(which[0]))
    }
    judgements = judged(plateau_measurements(found), CLAIMS)
    values = {_name(*which): _numbers(facts, limit) for which, (facts, limit) in found.items()}
    plots = plots_of(
        [
            ("psi(T).", _exponents, "Seed 0; bars: 95 % intervals, dotted: relaxation with the effective curvature."),
            ("Variances.", _variances, "Seed 0, weight decay, with replacement, in the whole window."),
            ("Variances with label noise.", _noisy_variances, "Seed 0, with replacement, in the whole window."),
        ],
        found,
    )  # fmt: skip
    return [Section(key, title, _TEXT, *table(_COLUMNS, found.values()), judgements, values, plots)]


def _trainings(plan: Plan) -> list[_Which]:
    return [(rest, sampling, seed) for seed in range(plan.seeds) for rest in RESTS for sampling in _SAMPLINGS]


_Run = tuple[Plateau, RunLimit]
_COLUMNS: Mapping[str, Callable[[_Run], str]] = {
    "rest by": lambda run: run[0].rest,
    "minibatches": lambda run: run[0].sampling,
    "seed": lambda run: f"{run[0].seed}",
    "steps": lambda run: f"{run[1].length[-1]:,.0f}",
    "relaxations": lambda run: f"{run[0].relaxations:.0f}",
    "directions": lambda run: f"{len(run[1].width)}",
    "change of the loss (%)": lambda run: f"{100 * run[0].loss_change:+.1f}",
    "ψ, shortest window": lambda run: f"{run[0].psi[0]:.2f}",
    "ψ, longest window": lambda run: f"{run[0].psi[-1]:.2f}",
    "from H_ii": lambda run: f"{run[0].psi_relaxation[-1]:.2f}",
    "ψ∞ of the run": lambda run: (
        with_interval(run[1].psi_infinity, run[1].psi_infinity_interval)
        if run[1].is_identified
        else f"not identified: {run[1].reason}"
    ),
    "σ² over H_ii's": lambda run: f"{run[1].amplitude_local:.2f}",
    "σ² over λ_eff's": lambda run: f"{run[1].amplitude:.2f}",
}


def plateau_measurements(found: _Runs) -> dict[str, Measurement]:
    """Measure where the exponent ends, beside relaxation as the null.

    Args:
        found: Facts and limit of each training, by way to rest, order of the minibatches and seed.
    """
    measured = {
        "psi_plateau": _against_relaxation(found, "weight-decay"),
        "psi_label_noise": _against_relaxation(found, "label-noise"),
    }
    shuffled, of_order = _ends(_chosen(found, "weight-decay", "reshuffled"))
    note = f"psi is {', '.join(f'{value:.2f}' for value in shuffled)}"
    return {**measured, "plateau_by_order": Measurement.over_seeds(shuffled, minus=of_order, note=note)}


def _chosen(found: _Runs, rest: Rest, sampling: Sampling) -> list[_Run]:
    return [run for which, run in sorted(found.items()) if which[:2] == (rest, sampling)]


def _against_relaxation(found: _Runs, rest: Rest) -> Measurement:
    """Psi in the longest window of trainings with replacement, beside that of relaxation."""
    runs = _chosen(found, rest, "with-replacement")
    psi, relaxed = _ends(runs)
    known = [limit.psi_infinity for _, limit in runs if limit.is_identified]
    limits = (
        f"psi_infinity of the run {', '.join(f'{value:.2f}' for value in known)}"
        if known
        else "psi_infinity of the run not identified"
    )
    change = max(abs(facts.loss_change) for facts, _ in runs)
    null = Control("relaxation with noise and curvature of the run", (min(relaxed), max(relaxed)), "differ")
    note = joined(limits, f"the loss changed by {100 * change:.1f} % at most between the halves of a window")
    return Measurement.over_seeds(psi, null, note=note)


def _ends(runs: Sequence[_Run]) -> tuple[list[float], list[float]]:
    """Psi in the longest window, measured and of relaxation."""
    return [float(facts.psi[-1]) for facts, _ in runs], [float(facts.psi_relaxation[-1]) for facts, _ in runs]


def _numbers(facts: Plateau, limit: RunLimit) -> dict[str, object]:
    return {
        "psi_of_all_directions": facts.psi.tolist(), "psi_of_relaxation": facts.psi_relaxation.tolist(),
        "length": limit.length.tolist(), "psi": limit.psi.tolist(), "psi_predicted": limit.psi_predicted.tolist(),
        "psi_infinity_of_run": limit.psi_infinity, "amplitude": limit.amplitude,
        "amplitude_local": limit.amplitude_local,
    }  # fmt: skip


def _name(rest: Rest, sampling: str, seed: int) -> str:
    return f"plateau-{rest}-{sampling}-seed{seed}"


def _exponents(found: _Runs) -> go.Figure:
    return psi_against_window(
        {f"{rest}, {sampling}": found[rest, sampling, 0][1] for rest in RESTS for sampling in _SAMPLINGS}
    )


def _variances(found: _Runs) -> go.Figure:
    return variance_and_relaxation(found["weight-decay", _SAMPLINGS[0], 0][1])


def _noisy_variances(found: _Runs) -> go.Figure:
    return variance_and_relaxation(found["label-noise", _SAMPLINGS[0], 0][1])


def _measure(reporter: Reporter, plan: Plan, rest: Rest, sampling: Sampling, seed: int) -> None:
    """Train to rest, take the directions, and record the weights along them."""
    assert sampling in get_args(Sampling)  # noqa: S101 - of the list above
    settings, name = plan.settings_with(sampling=sampling, seed=seed), _name(rest, sampling, seed)
    relaxations, count = _sizes(plan)
    folder = ExperimentFolder.create(plan.run_path(name), settings)
    numbers = {
        "decay": plateau_training.DECAY, "label_noise": plateau_training.LABEL_NOISE,
        "burn_in": plateau_training.BURN_IN, "relaxations": relaxations, "directions": count,
    }  # fmt: skip
    check_same_numbers(folder, "", numbers)
    if not [name for name in (_LOSSES, _LIMIT) if folder.to_make(name, reporter)]:
        return
    with folder.locked(), one_thread(), reporter.stage(name) as progress:
        facts, limit = RestingTraining(Experiment(settings), rest, relaxations, count, progress).measure()
        folder.save(_LOSSES, facts)
        folder.save(_LIMIT, limit)


def _sizes(plan: Plan) -> tuple[int, int]:
    return (_QUICK_RELAXATIONS, _QUICK_DIRECTIONS) if plan.quick else (_RELAXATIONS, _DIRECTIONS)
