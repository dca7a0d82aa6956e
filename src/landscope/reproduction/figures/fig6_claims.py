"""Fig. 6 and Fig. S17: sharp and searched directions of networks of several widths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.verdict import Control, Measurement
from landscope.directions.principal import principal_modes, principal_variances
from landscope.landscape.dimension import flatness_until_flat, learning_dimension, sharp_dimension
from landscope.law.intervals import seed_interval
from landscope.power_law import fit_power_law
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.results import Result, stamp
from landscope.surrogates.shuffled import shuffled_increments
from landscope.trajectory import Trajectory

__all__ = ["EffectiveDimension", "dimension_measurements", "measure_dimensions"]

_MOST_MODES = 1000
_THRESHOLD = 0.5
_FIRST_WIDTH, _LAST_WIDTH = 20, 100
_PAPER_WIDTH = 50


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EffectiveDimension(Result, kind="paper_effective_dimension", dims={"width": ("direction",)}):
    """Effective dimensions of one solution and of the search that found it.

    Args:
        n_weights: N.
        norm: Norm of the selected weights at w0.
        width: F_i in rank order, as far as it was measured.
        n_sharp: D_s, directions with F_i below half the norm.
        n_learning: D_l: modes with 99 % and with 99.9 % of the variance, then the same without the first mode.
        n_null: D_l at 99 % of shuffled increments of the window, with and without the first mode.
        loss0: L(w0).
        test_error: Share of wrong answers.
        start_epoch: Epoch after which the window begins.
    """

    n_weights: int
    norm: float
    width: Float[Tensor, " k"]
    n_sharp: int
    n_learning: tuple[int, int, int, int]
    n_null: tuple[int, int]
    loss0: float
    test_error: float
    start_epoch: int

    @property
    def is_bound(self) -> bool:
        """Whether all directions that the window has are sharp, so that D_s is a lower bound."""
        return self.n_sharp == len(self.width)

    def numbers(self) -> dict[str, Any]:
        """What a table needs."""
        names = ("n_weights", "norm", "n_sharp", "n_learning", "n_null", "loss0", "test_error", "start_epoch")
        return {name: getattr(self, name) for name in names}


def measure_dimensions(
    landscape: LossLandscape,
    window: Trajectory,
    *,
    test_error: float,
    start_epoch: int,
    seed: int,
    rtol: float = 1e-3,
    progress: ProgressCallback = silent,
) -> EffectiveDimension:
    """D_s and D_l of one window.

    Args:
        landscape: The risk.
        window: The window; its last row is w0.
        test_error: Of the network at w0.
        start_epoch: When the window begins.
        seed: Of the null.
        rtol: Tolerance of the crossings.
        progress: Told how many directions are done.
    """
    modes = principal_modes(window, min(_MOST_MODES, len(window) - 1, window.dim))
    null = principal_variances(shuffled_increments(window, seed=seed))
    w0 = window.row(-1)
    norm = float(torch.linalg.vector_norm(w0.double()))
    found = flatness_until_flat(landscape, w0, modes.directions, _THRESHOLD * norm, rtol=rtol, progress=progress)
    counted = [(fraction, drift) for drift in (True, False) for fraction in (0.99, 0.999)]
    dimension = [learning_dimension(modes.variance, f, drift=d, total=modes.total_variance) for f, d in counted]
    of_null = [learning_dimension(null, 0.99, drift=d) for d in (True, False)]
    return EffectiveDimension(
        n_weights=window.dim,
        norm=norm,
        width=found.width,
        n_sharp=sharp_dimension(found, _THRESHOLD * norm),
        n_learning=(dimension[0], dimension[1], dimension[2], dimension[3]),
        n_null=(of_null[0], of_null[1]),
        loss0=found.loss0,
        test_error=test_error,
        start_epoch=start_epoch,
        provenance=stamp(threshold=_THRESHOLD, rtol=rtol, rows=len(window), seed=seed),
    )


def dimension_measurements(found: Mapping[int, Sequence[EffectiveDimension]]) -> dict[str, Measurement]:
    """How D_s and D_l grow with the number of weights, over the paper's widths.

    Args:
        found: Width -> the solutions of its seeds.

    Returns:
        Measurements by claim.
    """
    inside = {width: group for width, group in found.items() if _FIRST_WIDTH <= width <= _LAST_WIDTH}
    inside = inside if len(inside) > 2 else dict(found)
    sharp = _growth(inside, lambda one: one.n_sharp)
    # The drift along the first mode can hold 99 % alone: what is searched shows in the others.
    learning = _growth(inside, lambda one: one.n_learning[2])
    null = _mean(_growth(inside, lambda one: one.n_null[1]))
    beyond = [width for width in found if width > max(inside)]
    wider = ", ".join(f"{_sharp_of(found[width])} at width {width}" for width in beyond)
    nearest = min(found, key=lambda width: abs(width - _PAPER_WIDTH))
    shares = [one.n_sharp / one.n_weights for one in found[nearest]]
    widths = f"widths {min(inside)} to {max(inside)}"
    return {
        "sharp_dimension": Measurement(
            _mean(sharp), seed_interval(sharp), note=f"{widths}" + (f"; D_s is {wider}" if wider else "")
        ),
        "few_sharp": Measurement(_mean(shares), seed_interval(shares), note=f"width {nearest}"),
        "learning_dimension": Measurement(
            _mean(learning),
            seed_interval(learning),
            (Control("shuffled increments of the same windows", (null, null), "differ", f"grow with {null:.2f}"),),
            f"{widths}, without the first mode",
        ),
    }


def _sharp_of(group: Sequence[EffectiveDimension]) -> str:
    at_least = "at least " if any(one.is_bound for one in group) else ""
    return f"{at_least}{_mean([one.n_sharp for one in group]):.0f}"


def _growth(found: Mapping[int, Sequence[EffectiveDimension]], quantity: Any) -> list[float]:
    """The exponent of a number on N, for each seed that all widths have."""
    seeds = min(len(group) for group in found.values())
    if len(found) < 3:
        return [math.nan]
    exponents = []
    for seed in range(seeds):
        counts = torch.tensor([float(quantity(group[seed])) for group in found.values()], dtype=torch.float64)
        sizes = torch.tensor([float(group[seed].n_weights) for group in found.values()], dtype=torch.float64)
        exponents.append(fit_power_law(sizes, counts.clamp(min=1)).exponent)
    return exponents


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
