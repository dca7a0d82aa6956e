"""Fig. 2: the landscape along the modes and the variance-flatness law, in-sample, in fresh data, and under the null."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.landscape import flatness
from landscope.law.exponents import Exponents, fit_exponents
from landscope.noise.mode_statistics import mode_statistics
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.trajectory import Trajectory

__all__ = ["exponents_of"]


def exponents_of(
    name: str,
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    trajectory: Trajectory,
    *,
    modes: Directions | None = None,
    fit_modes: tuple[int, int] = (2, 500),
    spectrum_ranks: tuple[int, int] = (20, 200),
    rtol: float = 1e-3,
    max_displacement: float | None = None,
    progress: ProgressCallback | None = None,
) -> Exponents:
    """Send a trajectory through the same modes, flatness and law as the window itself.

    Args:
        name: What the row of a table should be called.
        landscape: The risk at the window's end.
        w0: The window's end, around which the flatness is measured.
        trajectory: The window, a surrogate, or another run.
        modes: Directions; the principal modes of the trajectory by default.
        fit_modes: Range of the fit; the flatness is measured as far as it reaches.
        spectrum_ranks: Range of the spectrum's fit.
        rtol: Tolerance of the crossings.
        max_displacement: How far to look.
        progress: Told how many modes are done.

    Returns:
        The exponents.

    Raises:
        InputError: If the trajectory is too short.

    Example:
        >>> import torch
        >>> from landscope.surrogates.trajectories import shuffled_increments
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 500, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> null, w0 = shuffled_increments(window, seed=0), window.row(-1)
        >>> exponents_of("null", InverseGaussian(curvature), w0, null, fit_modes=(2, 10)).variance.shape
        torch.Size([12])
    """
    modes = modes or principal_modes(trajectory)
    widths = flatness(
        landscape,
        w0,
        modes.directions[: fit_modes[1]].to(w0),
        rtol=rtol,
        max_displacement=max_displacement,
        progress=progress,
    )
    return fit_exponents(name, mode_statistics(modes, trajectory), widths, fit_modes, spectrum_ranks=spectrum_ranks)
