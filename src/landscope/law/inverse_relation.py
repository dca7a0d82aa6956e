"""The inverse relation of any run, three ways: in-sample, the same modes in fresh data, and its null."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Int
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.landscape import flatness
from landscope.landscape.flatness import Flatness
from landscope.law.exponents import Exponents, fit_exponents, spread_ranks
from landscope.noise.mode_statistics import mode_statistics
from landscope.protocols import LossLandscape, ProgressCallback, silent
from landscope.surrogates.trajectories import shuffled_increments
from landscope.trajectory import Trajectory

__all__ = ["IN_SAMPLE", "NEXT_WINDOW", "SHUFFLED", "InverseRelation"]

IN_SAMPLE = "in-sample"
NEXT_WINDOW = "same modes, next window"
SHUFFLED = "shuffled increments"

_ROWS = 3000


class InverseRelation:
    r"""How variance goes with flatness along the principal modes of a window (paper, Eq. 8; Figs. 2D, S3, S10).

    The same three numbers for any model, optimiser and loss: psi along the window's own modes; along the same
    modes in the next window, where nothing was selected; and along the modes of the window's shuffled increments.

    Where both the rows and the weights are more than 3,000, modes are found from evenly spaced rows (at least 3,000);
    variances along them are of all rows.

    Args:
        landscape: The risk.
        window: The window; its last row is w0.
        next_window: The one after it.
        fit_modes: First and last mode of the fit.
        n_modes: Measure the flatness of so many modes, log-spaced, each of which then counts for the ranks it is
            nearest to; of all in the range by default.
        spectrum_ranks: First and last rank of the fit of the spectrum.
        rtol: Tolerance of the crossings.
        progress: Told how many directions of each flatness are done.

    Raises:
        InputError: If a landscape with a ``w0`` was not taken at the window's last row; when measured, if a window is
            too short for the modes.

    Example:
        >>> import torch
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> run = Trajectory.of(sgd_in_bowl(curvature, 1000, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> relation = InverseRelation(InverseGaussian(curvature), run.window(1, 501), run.window(501), (2, 12))
        >>> own, fresh, null = relation.in_sample(), relation.next_window(), relation.null(seed=0)
        >>> own.n_used == fresh.n_used, null.name
        (True, 'shuffled increments')
    """

    def __init__(
        self,
        landscape: LossLandscape,
        window: Trajectory,
        next_window: Trajectory,
        fit_modes: tuple[int, int] = (2, 500),
        *,
        n_modes: int | None = None,
        spectrum_ranks: tuple[int, int] = (20, 200),
        rtol: float = 1e-3,
        progress: ProgressCallback = silent,
    ) -> None:
        self._landscape, self._window, self._next = landscape, window, next_window
        _check_taken_at_the_end(landscape, window)
        self._law_modes, self._n_modes, self._gamma_ranks = fit_modes, n_modes, spectrum_ranks
        self._rtol, self._progress = rtol, progress

    def in_sample(self) -> Exponents:
        """Along the window's own modes."""
        return self._exponents(IN_SAMPLE, self._modes, self._window, self._widths)

    def next_window(self) -> Exponents:
        """Along the same modes in the next window."""
        return self._exponents(NEXT_WINDOW, self._modes, self._next, self._widths)

    def null(self, *, seed: int) -> Exponents:
        """Along the modes of shuffled increments of the window."""
        surrogate = shuffled_increments(self._window, seed=seed)
        modes = self._modes_of(surrogate)
        return self._exponents(SHUFFLED, modes, surrogate, self._flatness(modes))

    @functools.cached_property
    def _modes(self) -> Directions:
        return self._modes_of(self._window)

    @functools.cached_property
    def _widths(self) -> Flatness:
        return self._flatness(self._modes)

    def _modes_of(self, trajectory: Trajectory) -> Directions:
        smaller = min(len(trajectory), trajectory.dim)
        rows = trajectory.thin(max(1, len(trajectory) // _ROWS)) if smaller > _ROWS else trajectory
        return principal_modes(rows, min(self._law_modes[1], len(rows) - 1, rows.dim))

    def _ranks(self, modes: Directions) -> Int[Tensor, " m"]:
        return spread_ranks(len(modes.directions), self._n_modes, self._law_modes[0])

    def _flatness(self, modes: Directions) -> Flatness:
        w0 = self._window.row(-1)
        directions = modes.directions[self._ranks(modes) - 1].to(w0)
        return flatness(self._landscape, w0, directions, rtol=self._rtol, progress=self._progress)

    def _exponents(self, name: str, modes: Directions, trajectory: Trajectory, widths: Flatness) -> Exponents:
        motion = mode_statistics(modes, trajectory)
        return fit_exponents(
            name, motion, widths, self._law_modes, ranks=self._ranks(modes), spectrum_ranks=self._gamma_ranks
        )


def _check_taken_at_the_end(landscape: LossLandscape, window: Trajectory) -> None:
    """The other weights of a network are frozen where its risk was taken: that must be the end of the window."""
    w0, last = getattr(landscape, "w0", None), window.row(-1)
    if isinstance(w0, Tensor) and not (w0.shape == last.shape and torch.allclose(w0.to(last), last, rtol=1e-4)):
        raise InputError(
            expected="a landscape taken at the last row of the window, in the same coordinates",
            got="one taken elsewhere",
            hint="Make EmpiricalRisk when the window ends; for Preconditioned pass trajectory.scaled(scale).",
        )
