"""The inverse relation of any run: in-sample, along the same modes in fresh data, and under its null."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_count, check_ratio, check_tolerance
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape.flatness import Flatness, flatness
from landscope.law.exponents import Exponents, measure_exponents, ranks_to_measure, variance_flatness
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.shown import in_lines
from landscope.surrogates.shuffled import shuffled_increments
from landscope.trajectory import Trajectory, check_fresh

__all__ = ["IN_SAMPLE", "FRESH", "SHUFFLED", "InverseRelation"]

IN_SAMPLE = "in-sample"
FRESH = "same modes, fresh data"
SHUFFLED = "shuffled increments"

_ROWS = 3000


class InverseRelation:
    r"""How variance goes with flatness along the principal modes of a window (paper, Eq. 8; Figs. 2D, S3, S10).

    The same three numbers for any model, optimiser and loss: psi along the window's own modes; along the same
    modes in fresh data, where nothing was selected; and along the modes of the window's shuffled increments.

    Where both the rows and the weights are more than 3,000, modes are found from evenly spaced rows (at least 3,000);
    variances along them are measured over all rows.

    Args:
        landscape: The risk at the end of the window.
        window: The window.
        fresh: Other rows of the run, in which nothing was selected.
        fit_modes: First and last mode of the fit.
        w0: Point about which the flatness is measured: the last row of the window by default, or averaged weights
            such as an EMA. The directions are those of the window in any case.
        n_modes: Measure the flatness of about so many modes, log-spaced; in the fit each counts for the ranks it is
            nearest to. By default the flatness of all modes of the range is measured.
        spectrum_ranks: First and last rank of the fit of the spectrum; by default 20 to 200 of 2,500 modes, and in
            proportion of others.
        rtol: Tolerance of the crossings.
        ratio: Factor of the loss at the crossings, see :func:`landscope.flatness`.
        progress: Callback with the number of directions that are done, for each flatness.

    Raises:
        InputError: If both windows hold the same rows, if a landscape with a ``w0`` was not taken at the window's last
            row or at ``w0``; when measured, if a window is too short for the modes.

    Example:
        >>> import torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> run = Trajectory.of(sgd_in_bowl(curvature, 1000, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> relation = InverseRelation(InverseGaussian(curvature), run.window(1, 501), run.window(501), (2, 12))
        >>> own, fresh, null = relation.in_sample(), relation.fresh(), relation.null(seed=0)
        >>> own.n_used == fresh.n_used, null.name
        (True, 'shuffled increments')
    """

    def __init__(
        self,
        landscape: LossLandscape,
        window: Trajectory,
        fresh: Trajectory,
        fit_modes: tuple[int, int] = (2, 500),
        *,
        w0: Float[Tensor, " N"] | None = None,
        n_modes: int | None = None,
        spectrum_ranks: tuple[int, int] | None = None,
        rtol: float = 1e-3,
        ratio: float = math.e,
        progress: ProgressCallback = silent,
    ) -> None:
        self._landscape, self._window, self._fresh = landscape, window, fresh
        check_fresh(window, fresh)
        check_ratio("ratio", ratio)
        check_tolerance("rtol", rtol)
        if n_modes is not None:
            check_count("n_modes", n_modes)
        self._w0 = window.row(-1) if w0 is None else w0
        _check_taken_at(landscape, self._w0)
        self._fit_modes, self._n_modes, self._spectrum_ranks = fit_modes, n_modes, spectrum_ranks
        self._rtol, self._ratio, self._progress = rtol, ratio, progress

    def __repr__(self) -> str:
        return in_lines(
            "InverseRelation", window=self._window, fresh=self._fresh, fit_modes=self._fit_modes, ratio=self._ratio,
            landscape=type(self._landscape).__name__,
        )  # fmt: skip

    def in_sample(self) -> Exponents:
        """Along the window's own modes."""
        return self._along_own_modes(IN_SAMPLE, self._window)

    def fresh(self) -> Exponents:
        """Along the same modes in fresh data."""
        return self._along_own_modes(FRESH, self._fresh)

    def null(self, *, seed: int) -> Exponents:
        """Along the modes of shuffled increments of the window, drawn with the random ``seed``."""
        surrogate = shuffled_increments(self._window, seed=seed)
        return measure_exponents(
            SHUFFLED, self._landscape, self._w0, surrogate, directions=self._modes_of(surrogate),
            fit_modes=self._fit_modes, n_modes=self._n_modes, spectrum_ranks=self._spectrum_ranks, rtol=self._rtol,
            ratio=self._ratio, progress=self._progress,
        )  # fmt: skip

    @functools.cached_property
    def _modes(self) -> Directions:
        return self._modes_of(self._window)

    @functools.cached_property
    def _flatness(self) -> Flatness:
        w0 = self._w0
        directions = self._modes.directions[self._ranks() - 1].to(w0)
        return flatness(self._landscape, w0, directions, ratio=self._ratio, rtol=self._rtol, progress=self._progress)

    def _ranks(self) -> Int[Tensor, " m"]:
        return ranks_to_measure(len(self._modes), self._fit_modes, self._n_modes)

    def _modes_of(self, trajectory: Trajectory) -> Directions:
        smaller = min(len(trajectory), trajectory.dim)
        rows = trajectory.thin(max(1, len(trajectory) // _ROWS)) if smaller > _ROWS else trajectory
        return principal_modes(rows, min(self._fit_modes[1], len(rows) - 1, rows.dim))

    def _along_own_modes(self, name: str, window: Trajectory) -> Exponents:
        return variance_flatness(
            self._modes, window, self._flatness, self._fit_modes, name=name, ranks=self._ranks(),
            spectrum_ranks=self._spectrum_ranks,
        )  # fmt: skip


def _check_taken_at(landscape: LossLandscape, w0: Float[Tensor, " N"]) -> None:
    """The other weights of a network are frozen where its risk was taken: that must be at w0."""
    own = getattr(landscape, "w0", None)
    if own is not None and not (own.shape == w0.shape and torch.allclose(own.to(w0), w0, rtol=1e-4)):
        raise InputError(
            expected="a landscape taken at the last row of the window, or at the w0 given, in the same coordinates",
            got="one taken elsewhere",
            hint="Make EmpiricalRisk when the window ends, or pass w0=risk.w0; for Preconditioned pass "
            "trajectory.scaled(scale).",
        )
