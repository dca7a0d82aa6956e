"""Fig. 2: the landscape along the modes and the variance-flatness law, in-sample, in fresh data, and under the null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from landscope.controls import shuffled_increments
from landscope.errors import InputError
from landscope.landscape import Flatness, LossProfiles, flatness, loss_profiles
from landscope.law import VarianceFlatnessLaw, prediction_band, variance_flatness_law
from landscope.modes import principal_modes
from landscope.paper.claims import Control, Measurement
from landscope.paper.spectrum import Spectrum, modes_for_share, random_walk_drift_share, spectrum_exponent
from landscope.protocols import LossLandscape, ProgressCallback
from landscope.results import Result, stamp
from landscope.trajectory import Trajectory

__all__ = ["Laws", "SurrogateLaw", "drawn_profiles", "few_modes_control", "laws", "measurements", "surrogate_law"]

_DRAWN_MODES = (10, 20, 50, 100)
_POINTS = 41


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SurrogateLaw(
    Result,
    kind="surrogate_law",
    dims={"variance": ("mode",), "width": ("mode",), "bracketed": ("mode",)},
):
    """The law of one shuffled-increment surrogate.

    Args:
        seed: Seed of the shuffle.
        variance: sigma_i^2 of its modes.
        width: F_i along its modes.
        bracketed: Whether F_i was found within reach.
        total_variance: Sum over all N directions.
        psi: Its exponent; NaN where fewer than three modes could be fitted.
        gamma: Exponent of its spectrum.
    """

    seed: int
    variance: Float[Tensor, " k"]
    width: Float[Tensor, " k"]
    bracketed: Bool[Tensor, " k"]
    total_variance: float
    psi: float
    gamma: float


def surrogate_law(
    landscape: LossLandscape,
    window: Trajectory,
    *,
    seed: int,
    law_modes: tuple[int, int] = (2, 500),
    gamma_ranks: tuple[int, int] = (20, 200),
    rtol: float = 1e-3,
    max_displacement: float | None = None,
    progress: ProgressCallback | None = None,
) -> SurrogateLaw:
    """Send a shuffled-increment surrogate of a window through the same modes, flatness and law.

    The surrogate ends where the window ends, so its flatness is measured around the same w0.

    Args:
        landscape: The risk at the window's end.
        window: The window.
        seed: Seed of the shuffle.
        law_modes: Range of the fit.
        gamma_ranks: Range of the spectrum's fit.
        rtol: Tolerance of the crossings.
        max_displacement: How far to look.
        progress: Told how many modes are done.

    Returns:
        The surrogate's law.

    Raises:
        InputError: If the window has fewer than three rows.

    Example:
        >>> from landscope.synthetic import InverseGaussian, sgd_in_bowl
        >>> curvature = torch.logspace(0, 2, 12).double()
        >>> window = Trajectory.of(sgd_in_bowl(curvature, 500, learning_rate=0.01, noise_variance=1.0, seed=0))
        >>> law = surrogate_law(InverseGaussian(curvature), window, seed=0, law_modes=(2, 10), gamma_ranks=(2, 10))
        >>> law.variance.shape
        torch.Size([12])
    """
    surrogate = shuffled_increments(window, seed=seed)
    modes = principal_modes(surrogate)
    count = len(modes.variance)
    found = flatness(
        landscape,
        window.row(-1),
        modes.directions[: law_modes[1]],
        rtol=rtol,
        max_displacement=max_displacement,
        progress=progress,
    )
    law = _law_or_nan(modes.variance[: law_modes[1]], found, law_modes)
    return SurrogateLaw(
        seed=seed,
        variance=modes.variance,
        width=_padded(found.width, count, math.nan),
        bracketed=_padded(found.bracketed, count, False),
        total_variance=modes.total_variance,
        psi=law.psi,
        gamma=spectrum_exponent(modes.variance, gamma_ranks),
        provenance=stamp(seed=seed, law_modes=law_modes, gamma_ranks=gamma_ranks, rtol=rtol),
    )


def _padded(values: Tensor, count: int, fill: float | bool) -> Tensor:
    padding = torch.full((count - len(values),), fill, dtype=values.dtype)
    return torch.cat([values, padding])


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


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Laws(Result, kind="laws", dims={"used": ("mode",)}):
    """The variance-flatness law of one window, beside its controls.

    Args:
        psi: In-sample exponent, modes and variances from the same window.
        psi_interval: From blocks of time.
        psi_cross: The same modes and flatness, variances of the next window.
        psi_cross_interval: From blocks of that window.
        psi_null: Exponents of the shuffled-increment surrogates.
        psi_null_band: Where one further surrogate falls with 95 %.
        gamma_null: Spectral exponents of the surrogates.
        gamma_null_band: Likewise.
        modes_for_90_percent_null: Modes 2 to n that hold 90 % of the variance without mode 1 in each surrogate.
        prefactor: sigma^2 at F = 1, in-sample.
        prefactor_cross: The same of the next window.
        residual: Root mean square residual of ln sigma^2 in-sample.
        rank_correlation: Spearman correlation of flatness with rank over the fitted modes.
        used: Modes fitted.
        n_used: Their number.
        n_censored: Modes in the range left out: no flatness within reach.
        n_still: Modes in the range left out: no variance.
        n_censored_all: Modes without a flatness within reach among all that were measured.
        mode_range: Range asked for, as far as it exists.
        flatness_range: Smallest and largest flatness fitted.
    """

    psi: float
    psi_interval: tuple[float, float]
    psi_cross: float
    psi_cross_interval: tuple[float, float]
    psi_null: tuple[float, ...]
    psi_null_band: tuple[float, float]
    gamma_null: tuple[float, ...]
    gamma_null_band: tuple[float, float]
    modes_for_90_percent_null: tuple[int, ...]
    prefactor: float
    prefactor_cross: float
    residual: float
    rank_correlation: float
    used: Bool[Tensor, " k"]
    n_used: int
    n_censored: int
    n_still: int
    n_censored_all: int
    mode_range: tuple[int, int]
    flatness_range: tuple[float, float]


def laws(
    found: Spectrum,
    widths: Flatness,
    surrogates: Sequence[SurrogateLaw],
    *,
    law_modes: tuple[int, int] = (2, 500),
) -> Laws:
    """Fit the variance-flatness law in-sample, in fresh data, and under the null.

    Args:
        found: The spectrum of the window.
        widths: Flatness of its modes, from mode 1 on; may be of fewer modes.
        surrogates: Laws of shuffled-increment surrogates.
        law_modes: Range of the fit.

    Returns:
        The exponents.        Where fewer than three modes can be fitted the exponents are NaN.
    """
    count = len(widths.width)
    own, fresh = (
        _law_or_nan(variance[:count], widths, law_modes, moments[:, :, :count])
        for variance, moments in ((found.variance, found.moments), (found.cross_variance, found.cross_moments))
    )
    psi_null = tuple(law.psi for law in surrogates)
    gamma_null = tuple(law.gamma for law in surrogates)
    rank = torch.arange(1, count + 1)[own.used]
    return Laws(
        psi=own.psi,
        psi_interval=own.confidence_interval,
        psi_cross=fresh.psi,
        psi_cross_interval=fresh.confidence_interval,
        psi_null=psi_null,
        psi_null_band=prediction_band(list(psi_null)),
        gamma_null=gamma_null,
        gamma_null_band=prediction_band(list(gamma_null)),
        modes_for_90_percent_null=tuple(modes_for_share(law.variance, law.total_variance, 0.9) for law in surrogates),
        prefactor=own.prefactor,
        prefactor_cross=fresh.prefactor,
        residual=own.residual,
        rank_correlation=_rank_correlation(rank, widths.width[own.used]),
        used=own.used,
        n_used=own.n_used,
        n_censored=own.n_censored,
        n_still=own.n_still,
        n_censored_all=int((~widths.bracketed).sum()),
        mode_range=own.mode_range,
        flatness_range=own.flatness_range,
        provenance=stamp(law_modes=law_modes),
    )


def _rank_correlation(rank: Tensor, width: Tensor) -> float:
    return float(stats.spearmanr(rank.numpy(), width.numpy()).statistic) if len(rank) >= 3 else math.nan


def _law_or_nan(
    variance: Tensor, found: Flatness, law_modes: tuple[int, int], blocks: Tensor | None = None
) -> VarianceFlatnessLaw:
    """The law; where too few modes have a flatness within reach, one whose numbers are NaN."""
    try:
        return variance_flatness_law(variance, found, law_modes, blocks=blocks)
    except InputError:
        last = min(law_modes[1], len(variance))
        considered = slice(law_modes[0] - 1, last)
        nothing = (math.nan, math.nan)
        return VarianceFlatnessLaw(
            psi=math.nan,
            confidence_interval=nothing,
            confidence_level=0.95,
            prefactor=math.nan,
            residual=math.nan,
            mode_range=(law_modes[0], last),
            used=torch.zeros(len(variance), dtype=torch.bool),
            n_used=0,
            n_censored=int((~found.bracketed[considered]).sum()),
            n_still=int((variance[considered] <= 0).sum()),
            flatness_range=nothing,
        )


def measurements(
    found: Spectrum, fitted: Laws, residual_ratio: float, *, exploration_reached: bool
) -> dict[str, Measurement]:
    """What one run says on each claim of Figs. 1 and 2.

    Args:
        found: The spectrum.
        fitted: The laws.
        residual_ratio: Median over drawn modes of the residual of the inverse Gaussian over that of the quadratic.
        exploration_reached: Whether the training error was zero when the window began.

    Returns:
        Measurements by claim.
    """
    note = "" if exploration_reached else "the training error was not zero when the window began"
    walk_share = random_walk_drift_share()
    others = found.drift_share[1 : fitted.mode_range[1]]
    chance = 1.96 / math.sqrt(found.dim)
    return {
        "gamma": Measurement(
            found.gamma,
            found.gamma_interval,
            (
                Control("the shuffled-increment null", fitted.gamma_null_band, "differ"),
                Control("the same modes in the next window", (found.gamma_cross, found.gamma_cross), "agree"),
            ),
            note,
        ),
        "modes_for_90_percent": Measurement(
            found.modes_for_90_percent,
            controls=(few_modes_control(fitted.modes_for_90_percent_null, found.dim),),
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
        "flatness_rises": Measurement(fitted.rank_correlation, note=note),
        "psi": Measurement(
            fitted.psi,
            fitted.psi_interval,
            (
                Control("the shuffled-increment null", fitted.psi_null_band, "differ"),
                Control("the same modes in the next window", (fitted.psi_cross, fitted.psi_cross), "agree"),
            ),
            note,
        ),
    }


def few_modes_control(null: Sequence[float], dim: int) -> Control:
    """Low dimension shows as fewer modes than the null needs: its band reaches up to all N."""
    low, _ = prediction_band([float(count) for count in null])
    needs = f"needs {' to '.join(f'{count:.0f}' for count in sorted({min(null), max(null)}))}" if null else ""
    return Control("the shuffled-increment null", (low, math.nan if math.isnan(low) else float(dim)), "differ", needs)
