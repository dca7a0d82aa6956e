"""Figs. 6 and S17: the numbers of sharp and of searched directions against the width of the network."""

from __future__ import annotations

import dataclasses
import math
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from plotly.colors import sample_colorscale
from torch import Tensor

from landscope.claims.statements import judged
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.directions.principal import principal_modes, principal_variances
from landscope.landscape.dimension import (
    flatness_until_flat,
    learning_dimension,
    sharp_dimension,
    sharp_dimension_is_bound,
)
from landscope.law.intervals import mean_with_interval
from landscope.plots.style import FIT, FRESH, NULL, OWN, add_level, add_line, add_points, new_figure, numbers, ranks_of
from landscope.power_law import fit_power_law
from landscope.progress import Reporter
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.figure import Picture, Plan, Section, plots_of, table
from landscope.reproduction.jobs import Job
from landscope.results import Result, stamp
from landscope.surrogates.shuffled import shuffled_increments
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory

__all__ = ["CLAIMS", "EffectiveDimension", "dimension_measurements", "jobs", "key", "sections", "title"]

_WIDTHS = ((400, 2), (200, 3), (100, 10), (80, 10), (60, 10), (50, 10), (40, 10), (30, 10), (20, 10))
"""Width of the two hidden layers and number of seeds; the largest first, as they take longest."""
_QUICK_WIDTHS = ((40, 2), (30, 2), (20, 2))
_ROWS_AN_EPOCH = 300
"""About as many: at width 400 a window of ten epochs is then 2 GB, and 8 GB with a row for every step."""
_RESULT = "effective-dimension"
_THRESHOLD = 0.5
_PATIENCE = 64
_MOST_OF_N = 0.5
"""Share of all N directions above which a number of them says nothing about growth: it is then bound by N itself."""
_FIRST_WIDTH, _LAST_WIDTH = 20, 100
_PAPER_WIDTH = 50
_Group = Sequence["EffectiveDimension"]
"""Solutions of one width, by seed."""
_COLUMNS: Mapping[str, Callable[[tuple[int, _Group]], str]] = {
    "width": lambda row: f"{row[0]}",
    "N": lambda row: f"{row[1][0].n_weights:,}",
    "seeds": lambda row: f"{len(row[1])}",
    "‖w‖": lambda row: mean_with_interval([found.norm for found in row[1]], ".2f"),
    "D_s": lambda row: _at_least(row[1]) + mean_with_interval([found.n_sharp for found in row[1]], ".1f"),
    "D_s/N": lambda row: f"{statistics.fmean(found.n_sharp for found in row[1]) / row[1][0].n_weights:.2g}",
    "D_l 99 %": lambda row: mean_with_interval([found.n_learning[0] for found in row[1]], ".1f"),
    "D_l 99.9 %": lambda row: mean_with_interval([found.n_learning[1] for found in row[1]], ".1f"),
    "99 % without mode 1": lambda row: mean_with_interval([found.n_learning[2] for found in row[1]], ".1f"),
    "the same, null": lambda row: mean_with_interval([found.n_null[1] for found in row[1]], ".1f"),
    "test error": lambda row: f"{100 * statistics.fmean(found.test_error for found in row[1]):.2f} %",
}
_TEXT = (
    "Perceptrons with two hidden layers of one width, and equal initial norms at each. D_s counts principal modes "
    "whose flatness lies below half the norm of the weights between the hidden layers; modes are measured in rank "
    "order, 64 at a time, until none of the 64 is sharp; D_l counts the modes that hold 99 % or 99.9 % of the variance "
    "of the window. Null: the steps of the window in random order. Mean over seeds with Student's 95 % interval. As "
    "D_s compares the flatness with a norm, it does not change when a layer is multiplied and the next one divided by "
    "one factor, which changes every width F; it changes if each hidden unit has a factor of its own. At least: some "
    "of the last 64 directions that the window has are sharp, so more may lie beyond them. Widths where a number is "
    "above half of N, or only a lower bound, do not count in its exponent on N."
)


CLAIMS = (
    Claim(
        "sharp_dimension",
        "Fig. 6B",
        "The number of sharp directions D_s hardly grows with the number of weights (exponent of D_s on N).",
        "roughly constant, a weak increase",
        (-0.2, 0.2),
        "less than a doubling over the paper's widths, where N grows 25-fold",
        "ten seeds of equal initial norm at each width",
    ),
    Claim(
        "few_sharp",
        "Fig. 6B",
        "There are far fewer sharp directions than weights (D_s over N, at the paper's width of 50).",
        "much smaller",
        (0.0, 0.1),
        "a tenth",
        "ten seeds of equal initial norm",
        possible=(0.0, 1.0),
    ),
    Claim(
        "learning_dimension",
        "text, Fig. S17",
        "The number of modes with 99 % of the variance, D_l, hardly grows with the number of weights (exponent on N).",
        "a weak dependence, like that of D_s",
        (-0.2, 0.2),
        "less than a doubling over the paper's widths, where N grows 25-fold",
        "the same modes' number in shuffled increments of each window",
    ),
)


key = "fig6"
title = "Effective dimensions against width (Figs. 6, S17)"


def jobs(plan: Plan) -> list[Job]:
    """One job for each width and seed."""
    return [
        Job(_name(width, seed), _measure, (plan, width, seed))
        for width, seeds in _widths(plan)
        for seed in range(seeds)
    ]


def sections(plan: Plan) -> list[Section]:
    """Dimensions of each width, and the claims on how they grow."""
    found = {
        width: [plan.load(_name(width, seed), _RESULT, EffectiveDimension) for seed in range(seeds)]
        for width, seeds in sorted(_widths(plan))
    }
    values = {f"width {width}": [_numbers(solution) for solution in group] for width, group in found.items()}
    judgements = judged(dimension_measurements(found), CLAIMS)
    pictures: list[Picture] = [
        ("Flatness spectra.", _flatness_spectra, "One seed for each width; F over the norm of the weights."),
        ("Effective dimensions.", _dimensions_by_size, "Every seed is a point."),
    ]
    plots = plots_of(pictures, found)
    return [Section(key, title, _TEXT, *table(_COLUMNS, found.items()), judgements, values, plots)]


def _widths(plan: Plan) -> tuple[tuple[int, int], ...]:
    return _QUICK_WIDTHS if plan.quick else _WIDTHS


def _numbers(solution: EffectiveDimension) -> dict[str, Any]:
    return {name: value for name, value in solution.attributes().items() if name != "provenance"}


def _name(width: int, seed: int) -> str:
    return f"width{width}-seed{seed}"


def _measure(reporter: Reporter, plan: Plan, width: int, seed: int) -> None:
    steps = Experiment(plan.settings).order.batches_per_epoch
    divisors = [every for every in range(1, steps + 1) if steps % every == 0]
    every = min(divisors, key=lambda every: abs(steps / every - _ROWS_AN_EPOCH))
    settings = plan.settings_with(hidden=(width, width), equal_norm=True, seed=seed, record_every=every)
    run = ExperimentRun.create(plan.run_path(_name(width, seed)), settings)
    if not run.to_make(_RESULT, reporter):
        _delete_recording(run)
        return
    run.analyse(reporter, until="train")
    study = run.study
    with run.locked(), reporter.stage(f"Sharp directions of {_name(width, seed)}") as progress:
        history = run.load("training", TrainingHistory)
        test_error = float(history.test_error[history.at(int(study.window.steps[-1]))])
        facts = {"test_error": test_error, "start_epoch": run.start_epoch}
        found = _measure_dimensions(study.risk(), study.window, seed, settings, progress, **facts)
        run.save(_RESULT, found)
    _delete_recording(run)


def _delete_recording(run: ExperimentRun) -> None:
    """Delete the recording, which takes gigabytes and is not needed any more."""
    shutil.rmtree(run.path / "trajectory", ignore_errors=True)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectiveDimension(Result, kind="effective_dimension", dims={"width": ("direction",)}):
    """Effective dimensions of one solution and of the search that found it.

    Args:
        n_weights: Number of weights, N.
        norm: Norm of the selected weights at w0.
        width: F_i in rank order, as far as it was measured.
        n_sharp: D_s, directions with F_i below half the norm.
        n_learning: D_l: modes with 99 % and with 99.9 % of the variance, then the same without the first mode.
        n_null: D_l at 99 % of shuffled increments of the window, with and without the first mode.
        loss0: Loss at w0.
        test_error: Share of wrong answers.
        is_bound: Whether D_s is a lower bound, as sharp directions may lie beyond those of the window.
        start_epoch: Epoch after which the window begins.
    """

    n_weights: int
    norm: float
    width: Float[Tensor, " k"]
    n_sharp: int
    is_bound: bool
    n_learning: tuple[int, int, int, int]
    n_null: tuple[int, int]
    loss0: float
    test_error: float
    start_epoch: int


def _measure_dimensions(
    landscape: LossLandscape,
    window: Trajectory,
    seed: int,
    settings: Settings,
    progress: ProgressCallback,
    **facts: Any,
) -> EffectiveDimension:
    """D_s and D_l of one window, whose last row is w0; the seed is that of the null.

    All min(T - 1, N) modes of the window are there to be counted, in 8 N min(T, N) bytes: 4 GB at width 400.
    """
    modes = principal_modes(window)
    null = principal_variances(shuffled_increments(window, seed=seed))
    w0 = window.row(-1)
    norm = float(torch.linalg.vector_norm(w0.double()))
    threshold = _THRESHOLD * norm
    found = flatness_until_flat(
        landscape,
        w0,
        modes.directions,
        threshold,
        ratio=settings.ratio,
        rtol=settings.rtol,
        patience=_PATIENCE,
        progress=progress,
    )
    counted = [(fraction, drift) for drift in (True, False) for fraction in (0.99, 0.999)]
    dimension = [learning_dimension(modes.variance, f, drift=d, total=modes.total_variance) for f, d in counted]
    of_null = [learning_dimension(null, 0.99, drift=d) for d in (True, False)]
    return EffectiveDimension(
        n_weights=window.dim,
        norm=norm,
        width=found.width,
        n_sharp=sharp_dimension(found, threshold),
        is_bound=sharp_dimension_is_bound(found, threshold, n_directions=window.dim, patience=_PATIENCE),
        n_learning=(dimension[0], dimension[1], dimension[2], dimension[3]),
        n_null=(of_null[0], of_null[1]),
        loss0=found.loss0,
        **facts,
        provenance=stamp(threshold=_THRESHOLD, ratio=settings.ratio, rtol=settings.rtol, rows=len(window), seed=seed),
    )


def dimension_measurements(found: Mapping[int, _Group]) -> dict[str, Measurement]:
    """Measure how D_s and D_l grow with the number of weights over the widths of the paper; keys are widths.

    A width counts where the mean number is at most half of N and no lower bound; three widths are the fewest.
    """
    inside = {width: group for width, group in found.items() if _FIRST_WIDTH <= width <= _LAST_WIDTH}
    inside = inside if len(inside) > 2 else dict(found)
    sharp, of_sharp = _counted(inside, lambda solution: solution.n_sharp, _is_bound)
    # The drift along the first mode can hold 99 % of the variance alone: the search shows in the other modes.
    learning, of_learning = _counted(inside, lambda solution: solution.n_learning[2])
    null = Measurement.over_seeds(_growth(learning, lambda solution: solution.n_null[1])).value
    growth = "" if math.isnan(null) else f"grow with {null:.2f}"
    beyond = [width for width in found if width > max(inside)]
    sizes = {width: statistics.fmean(solution.n_sharp for solution in found[width]) for width in beyond}
    wider = ", ".join(f"{_at_least(found[width])}{size:.0f} at width {width}" for width, size in sizes.items())
    nearest = min(found, key=lambda width: abs(width - _PAPER_WIDTH))
    shares = [solution.n_sharp / solution.n_weights for solution in found[nearest]]
    null_control = Control("shuffled increments of the same windows", (null, null), "differ", growth)
    return {
        "sharp_dimension": Measurement.over_seeds(
            _growth(sharp, lambda solution: solution.n_sharp), note=joined(of_sharp, wider and f"D_s is {wider}")
        ),
        "few_sharp": Measurement.over_seeds(shares, note=joined(f"width {nearest}", _at_least(found[nearest]).strip())),
        "learning_dimension": Measurement.over_seeds(
            _growth(learning, lambda solution: solution.n_learning[2]), null_control,
            note=joined(of_learning, "without the first mode"),
        ),
    }  # fmt: skip


def _is_bound(group: _Group) -> bool:
    return any(solution.is_bound for solution in group)


def _counted(
    found: Mapping[int, _Group],
    quantity: Callable[[EffectiveDimension], float],
    is_bound: Callable[[_Group], bool] = lambda _: False,
) -> tuple[dict[int, _Group], str]:
    """The widths that say something about growth, and a note that names them and those left out with the reason."""
    share = {
        width: statistics.fmean(quantity(each) / each.n_weights for each in group) for width, group in found.items()
    }
    most = sorted(width for width in found if share[width] > _MOST_OF_N)
    bound = sorted(width for width, group in found.items() if is_bound(group) and width not in most)
    counted = {width: group for width, group in sorted(found.items()) if width not in (*most, *bound)}
    used = f"width{'s' if len(counted) > 1 else ''} {_listed(counted)}" if counted else "no width counts"
    few = f"fewer than three widths count: {used}" if len(counted) < 3 else used
    left_out = [(most, "more than half of N"), (bound, "only a lower bound")]
    return counted, joined(few, *(f"left out: {_listed(out)} ({reason})" for out, reason in left_out if out))


def _listed(widths: Iterable[int]) -> str:
    return ", ".join(map(str, widths))


def _at_least(group: _Group) -> str:
    return "at least " if _is_bound(group) else ""


def _growth(found: Mapping[int, _Group], quantity: Callable[[EffectiveDimension], float]) -> list[float]:
    """The exponent of a number on N, for each seed that all widths have."""
    if len(found) < 3:
        return [math.nan]
    seeds = min(len(group) for group in found.values())
    exponents = []
    for seed in range(seeds):
        counts = torch.tensor([float(quantity(group[seed])) for group in found.values()], dtype=torch.float64)
        sizes = torch.tensor([float(group[seed].n_weights) for group in found.values()], dtype=torch.float64)
        exponents.append(fit_power_law(sizes, counts.clamp(min=1)).exponent)
    return exponents


def _flatness_spectra(found: Mapping[int, _Group]) -> go.Figure:
    """Fig. 6A: flatness over the norm against rank, one seed for each width."""
    figure = new_figure("rank i", "F<sub>i</sub>/‖w‖", log_x=True, log_y=True)
    colors = sample_colorscale("Viridis", [0.15 + 0.75 * n / max(1, len(found) - 1) for n in range(len(found))])
    for (width, group), color in zip(sorted(found.items()), colors, strict=True):
        values = numbers(group[0].width) / group[0].norm
        add_line(figure, ranks_of(len(values)), values, f"width {width}", color, width=1.5)
    add_level(figure, 0.5, "threshold", FIT)
    figure.update_yaxes(dtick="D2")
    return figure


def _dimensions_by_size(found: Mapping[int, _Group]) -> go.Figure:
    """Fig. 6B and S17: effective dimensions against the number of weights; every seed is a point."""
    figure = new_figure("number of weights N", "effective dimension", log_x=True, log_y=True)
    quantities = (
        ("D<sub>s</sub>", lambda solution: solution.n_sharp, OWN),
        ("D<sub>l</sub> (99 %) without mode 1", lambda solution: solution.n_learning[2], FRESH),
        ("the same, shuffled increments", lambda solution: solution.n_null[1], NULL),
    )
    runs = [solution for _, group in sorted(found.items()) for solution in group]
    for name, quantity, color in quantities:
        add_points(figure, np.array([r.n_weights for r in runs]), np.array([quantity(r) for r in runs]), name, color, 6)
    sizes = np.array(sorted({run.n_weights for run in runs}))
    add_line(figure, sizes, sizes.astype(float), "N", "#bbb", dash="dot", width=1)
    figure.update_yaxes(dtick="D2")
    return figure
