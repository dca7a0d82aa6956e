"""Fig. 2: the landscape along the modes and the variance-flatness law, in-sample, in fresh data, and under the null."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.exponents import Exponents, flatness_exponents
from landscope.landscape import Flatness, LossProfiles, flatness, loss_profiles
from landscope.law import prediction_band
from landscope.modes import PrincipalModes, principal_modes
from landscope.motion import motion_along, random_walk_drift_share
from landscope.paper.claims import Control, Measurement
from landscope.paper.spectrum import Spectrum
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.trajectory import Trajectory

__all__ = ["NULL_NAME", "drawn_profiles", "exponents_of", "few_modes_control", "measurements"]

NULL_NAME = "the shuffled-increment null"
_DRAWN_MODES = (10, 20, 50, 100)
_POINTS = 41


def exponents_of(
    name: str,
    landscape: LossLandscape,
    w0: Float[Tensor, " N"],
    trajectory: Trajectory,
    *,
    modes: PrincipalModes | None = None,
    law_modes: tuple[int, int] = (2, 500),
    gamma_ranks: tuple[int, int] = (20, 200),
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
        law_modes: Range of the fit; the flatness is measured as far as it reaches.
        gamma_ranks: Range of the spectrum's fit.
        rtol: Tolerance of the crossings.
        max_displacement: How far to look.
        progress: Told how many modes are done.

    Returns:
        The exponents.

    Raises:
        InputError: If the trajectory is too short.

    Example:
        >>> from landscope.controls import shuffled_increments
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 500, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> null, w0 = shuffled_increments(window, seed=0), window.row(-1)
        >>> exponents_of("null", InverseGaussian(curvature), w0, null, law_modes=(2, 10)).variance.shape
        torch.Size([12])
    """
    modes = modes or principal_modes(trajectory)
    widths = flatness(
        landscape,
        w0,
        modes.directions[: law_modes[1]].to(w0),
        rtol=rtol,
        max_displacement=max_displacement,
        progress=progress,
    )
    return flatness_exponents(name, motion_along(modes, trajectory), widths, law_modes, gamma_ranks=gamma_ranks)


def drawn_profiles(
    landscape: LossLandscape, window: Trajectory, directions: Float[Tensor, "k N"], found: Flatness
) -> tuple[LossProfiles, tuple[int, ...]]:
    """Profiles along a few modes (ranks 10, 20, 50, 100 where they exist), from crossing to crossing and a bit more.

    Returns:
        The profiles and the ranks drawn.
    """
    ranks = [rank for rank in _DRAWN_MODES if rank <= len(found.width) and bool(found.bracketed[rank - 1])]
    ranks = ranks or [int(i) + 1 for i in found.bracketed.nonzero().flatten()[:4]] or [1]
    rows = torch.tensor(ranks) - 1
    reach = torch.maximum(-found.left[rows], found.right[rows])
    reach = torch.where(torch.isnan(reach), found.max_displacement[rows] / 10, reach)
    steps = 1.2 * reach[:, None] * torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    return loss_profiles(landscape, window.row(-1), directions[rows], steps), tuple(ranks)


def measurements(
    found: Spectrum,
    own: Exponents,
    fresh: Exponents,
    nulls: Sequence[Exponents],
    residual_ratio: float,
    *,
    exploration_reached: bool,
) -> dict[str, Measurement]:
    """What one run says on each claim of Figs. 1 and 2, and on the exponents of Fig. 3B.

    Args:
        found: The spectrum.
        own: Exponents of the window along its own modes.
        fresh: Exponents of the next window along the same modes.
        nulls: Exponents of shuffled-increment surrogates.
        residual_ratio: Median over drawn modes of the residual of the inverse Gaussian over that of the quadratic.
        exploration_reached: Whether the training error was zero when the window began.

    Returns:
        Measurements by claim.
    """
    note = "" if exploration_reached else "the training error was not zero when the window began"
    walk_share = random_walk_drift_share()
    others = found.drift_share[1 : own.mode_range[1]]
    chance = 1.96 / math.sqrt(found.dim)

    def exponent(key: str, null: Control) -> Measurement:
        value = getattr(fresh, key)
        controls = (null, Control("the same modes in the next window", (value, value), "agree"))
        return Measurement(getattr(own, key), getattr(own, f"{key}_interval"), controls, note)

    def shuffled(key: str) -> Control:
        return Control(NULL_NAME, prediction_band([getattr(null, key) for null in nulls]), "differ", no_band)

    no_band = "" if len(nulls) > 1 else "has no band with fewer than two surrogates"
    # D holds no memory, so shuffling keeps what makes psi_D: its null is noise of one strength in all directions.
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ", "has 0 exactly")
    return {
        **{key: exponent(key, shuffled(key)) for key in ("gamma", "psi", "psi_tau")},
        "psi_D": exponent("psi_D", isotropic),
        "modes_for_90_percent": Measurement(
            found.modes_for_90_percent,
            controls=(few_modes_control([null.modes_for_90_percent for null in nulls], found.dim),),
            note=note,
        ),
        "drift_share": Measurement(
            float(found.drift_share[0]),
            controls=(
                Control(
                    "the first mode of a driftless random walk", (0.0, walk_share), "differ", f"has {walk_share:.2f}"
                ),
            ),
            note=note,
        ),
        "alignment": Measurement(
            found.alignment,
            controls=(Control("a random direction", (0.0, chance), "differ", f"stays below {chance:.2f} (95 %)"),),
            note=note,
        ),
        "diffusion_share": Measurement(float(others.nanmedian()) if len(others) else math.nan, note=note),
        "inverse_gaussian": Measurement(residual_ratio, note=note),
        "flatness_rises": Measurement(own.rank_correlation, note=note),
    }


def few_modes_control(null: Sequence[float], dim: int) -> Control:
    """Low dimension shows as fewer modes than the null needs: its band reaches up to all N."""
    low, _ = prediction_band([float(count) for count in null])
    if len(null) < 2:
        return Control(NULL_NAME, (math.nan, math.nan), "differ", "has no band with fewer than two surrogates")
    needs = f"needs {' to '.join(f'{count:.0f}' for count in sorted({min(null), max(null)}))}"
    return Control(NULL_NAME, (low, float(dim)), "differ", needs)
