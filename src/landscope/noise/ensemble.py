"""Random springs fitted to the minibatch losses along modes (paper, Eqs. 9, 10 and 12; Fig. 3A)."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from landscope._checks import check_positive, check_share
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError
from landscope.landscape.lines import steps_for
from landscope.landscape.profile import quadratic_fit
from landscope.minibatch_lines import count_left_out, start_batch_lines
from landscope.noise.trimmed import trimmed_mean_square
from landscope.protocols import Ensemble, ProgressCallback
from landscope.results import Result, stamp

__all__ = ["MinibatchEnsemble", "minibatch_ensemble"]

_KEPT_PROFILES = 12
_MIN_GOOD = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MinibatchEnsemble(
    Result,
    kind="minibatch_ensemble",
    dims={
        **dict.fromkeys(("stiffness", "centre", "log_minimum", "r_squared", "good"), ("mode", "batch")),
        **dict.fromkeys(("displacements", "loss"), ("mode", "point")),
        **dict.fromkeys(
            (
                "mean_stiffness", "mean_square_stiffness", "centre_spread", "centre_scale", "mean_field_ratio",
                "predicted_velocity_variance", "trimmed_velocity_variance", "predicted_flatness", "n_good",
            ),
            ("mode",),
        ),
        "batch_profiles": ("mode", "point", "drawn"), "loss0": ("batch",), "correlations": ("mode", "pair"),
        "skewness": ("mode", "parameter"), "excess_kurtosis": ("mode", "parameter"),
    },
):  # fmt: skip
    """Fits ln L^mu = ln L_min + M (theta - theta^mu)^2/2 of the minibatch losses along modes.

    Statistics over minibatches use only the good fits. The three parameters are M, theta^mu and ln L_min; the three
    pairs are (M, theta^mu), (M, ln L_min) and (theta^mu, ln L_min).

    Args:
        displacements: Displacements delta theta, ``[k, S]``.
        loss: Profile L_i, the mean over minibatches, ``[k, S]``.
        batch_profiles: Profiles of a few minibatches, ``[k, S, drawn]``.
        loss0: Losses L_0^mu = L^mu(w0), ``[b]``.
        stiffness: Stiffness M_ii^mu, ``[k, b]``; NaN if a loss on the line is zero or infinite.
        centre: Centre theta_i^mu with zero slope, the minimum for M > 0; NaN if a loss on the line is zero or infinite.
        log_minimum: Logarithm ln L_min^mu of the minimal loss.
        r_squared: Fraction of the variance of ln L^mu along the line that the fit explains.
        good: Whether the fit is good: M > 0 and r_squared not below the threshold.
        n_good: Number of good fits in each mode.
        mean_stiffness: Mean M_ii^(0) of M_ii^mu; NaN for fewer than three good fits.
        mean_square_stiffness: Mean of the square of M_ii^mu.
        centre_spread: Root mean square sigma~_i of theta_i^mu.
        centre_scale: 1.4826 times the median of abs(theta_i^mu), a robust estimate of sigma~_i for normal centres.
        correlations: Pearson correlations of the three pairs, ``[k, 3]``; for independent parameters 95 % of them are
            below 2/sqrt(n_good).
        skewness: Skewness of the three parameters, ``[k, 3]``; 0 for a normal distribution.
        excess_kurtosis: Excess kurtosis of the three parameters, ``[k, 3]``; 0 for a normal distribution.
        mean_field_ratio: Ratio <(L_0 M theta)^2> / (<L_0^2><M^2><theta^2>), ``[k]``; 1 if Eq. 12 may factorise.
        predicted_velocity_variance: Velocity variance D_i of Eq. 12; NaN without a learning rate.
        trimmed_velocity_variance: The same without the tenth of the theta_i^mu farthest from zero, scaled so that
            normal ones give Eq. 12 (``landscope.noise.trimmed.trimmed_mean_square``): the second moment of
            theta^mu = -slope/stiffness may not exist.
        predicted_flatness: Flatness F_i = sqrt(8/M_ii) of Eq. 10, with the log-curvature M_ii of the averaged springs
            at w0.
        n_left_out: Number of samples outside all minibatches, if the batch size does not divide the data.
    """

    displacements: Float[Tensor, "k S"]
    loss: Float[Tensor, "k S"]
    batch_profiles: Float[Tensor, "k S drawn"]
    loss0: Float[Tensor, " b"]
    stiffness: Float[Tensor, "k b"]
    centre: Float[Tensor, "k b"]
    log_minimum: Float[Tensor, "k b"]
    r_squared: Float[Tensor, "k b"]
    good: Bool[Tensor, "k b"]
    n_good: Float[Tensor, " k"]
    mean_stiffness: Float[Tensor, " k"]
    mean_square_stiffness: Float[Tensor, " k"]
    centre_spread: Float[Tensor, " k"]
    centre_scale: Float[Tensor, " k"]
    correlations: Float[Tensor, "k 3"]
    skewness: Float[Tensor, "k 3"]
    excess_kurtosis: Float[Tensor, "k 3"]
    mean_field_ratio: Float[Tensor, " k"]
    predicted_velocity_variance: Float[Tensor, " k"]
    trimmed_velocity_variance: Float[Tensor, " k"]
    predicted_flatness: Float[Tensor, " k"]
    n_left_out: int


def minibatch_ensemble(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"],
    displacements: Float[Tensor, "*k S"],
    *,
    learning_rate: float | None = None,
    min_r_squared: float = 0.8,
    progress: ProgressCallback | None = None,
) -> MinibatchEnsemble:
    r"""Fit a random spring to every minibatch loss along every mode (paper, Eq. 9), and evaluate Eqs. 10 and 12.

    .. math:: \ln L^\mu(\delta) \approx \ln L_{min}^\mu + \tfrac12 M_{ii}^\mu (\delta - \theta_i^\mu)^2,
              \qquad D_i \approx \alpha^2 \langle (L_0^\mu)^2 \rangle \langle (M_{ii}^\mu)^2 \rangle
              \langle (\theta_i^\mu)^2 \rangle

    The average of the springs has the log-curvature
    :math:`M_{ii} = E[M_{ii}^\mu] + \mathrm{Var}[M_{ii}^\mu \theta_i^\mu]` at w0, with weights proportional to L_0^mu.
    It determines the predicted flatness.

    Args:
        ensemble: A landscape with minibatch losses, such as ``risk.minibatches(50)``.
        w0: Centre of the lines.
        directions: Directions p_i; they are not normalised.
        displacements: Displacements of the fit, ``[S]`` for all directions or ``[k, S]`` for each; at least five.
        learning_rate: Learning rate alpha for the predicted velocity variance.
        min_r_squared: Smallest r_squared of a good fit.
        progress: Callback for the number of completed directions.

    Returns:
        The fits, their statistics, and the predictions.

    Raises:
        InputError: If a shape, dtype or device is wrong, directions are zero or parallel, or there are too few points
            or minibatches.
        NonFiniteError: If a minibatch loss at w0 is not finite.

    Example:
        The fit recovers springs exactly.

        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 3.0]), 50, seed=0)
        >>> along = torch.linspace(-1, 1, 9)
        >>> fits = minibatch_ensemble(springs, torch.zeros(2).double(), torch.eye(2).double(), along)
        >>> torch.allclose(fits.stiffness[0], springs.stiffness[:, 0, 0]), bool(fits.good.all())
        (True, True)
    """
    check_share("min_r_squared", min_r_squared)
    if learning_rate is not None:
        check_positive("learning_rate", learning_rate)
    directions = rows_of(directions)
    lines, at_start = start_batch_lines(ensemble, w0, directions)
    count = len(directions)
    steps = steps_for(displacements, count)
    distinct = min(len(row.unique()) for row in steps)
    if distinct < 5:
        raise InputError(
            expected="at least 5 different displacements",
            got=f"{distinct}",
            hint="Pass more displacements: the fit of a parabola and its quality need them.",
        )
    rows = []
    for direction in range(count):
        index = torch.full((steps.shape[1],), direction)
        rows.append(_fit(steps[direction], lines.losses(index, steps[direction]), min_r_squared))
        if progress is not None:
            progress(direction + 1, count)
    fits = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    statistics = [_statistics(row, at_start, learning_rate) for row in rows]
    return MinibatchEnsemble(
        displacements=steps,
        loss0=at_start,
        **fits,
        **{name: torch.stack([row[name] for row in statistics]) for name in statistics[0]},
        n_left_out=count_left_out(ensemble),
        provenance=stamp(learning_rate=learning_rate, min_r_squared=min_r_squared),
    )


def _fit(steps: Tensor, losses: Tensor, min_r_squared: float) -> dict[str, Tensor]:
    """The parabola of every minibatch along one line, from its losses ``[S, b]``."""
    usable = (torch.isfinite(losses) & (losses > 0)).all(dim=0)
    logs = torch.log(torch.where(usable, losses, 1.0)).T
    fit, values = quadratic_fit(steps.expand(len(logs), -1), logs)
    offset, slope, stiffness = fit.T
    scatter = (logs - logs.mean(dim=1, keepdim=True)).square().sum(dim=1)
    r_squared = 1 - (logs - values).square().sum(dim=1) / scatter
    centre = -slope / stiffness
    parameters = {
        "stiffness": stiffness,
        "centre": centre,
        "log_minimum": offset - stiffness * centre.square() / 2,
        "r_squared": r_squared,
    }
    return {
        **{name: torch.where(usable, value, math.nan) for name, value in parameters.items()},
        "good": usable & (stiffness > 0) & (r_squared >= min_r_squared),
        "loss": losses.mean(dim=1),
        "batch_profiles": losses[:, :_KEPT_PROFILES].contiguous(),
    }


def _statistics(row: dict[str, Tensor], loss0: Tensor, learning_rate: float | None) -> dict[str, Tensor]:
    good = row["good"]
    unknown = {"n_good": good.sum().double(), **dict.fromkeys(_NAMES, torch.tensor(math.nan, dtype=torch.float64))}
    nothing = torch.full((3,), math.nan, dtype=torch.float64)
    unknown |= {"correlations": nothing, "skewness": nothing, "excess_kurtosis": nothing}
    if int(good.sum()) < _MIN_GOOD:
        return unknown
    stiffness, centre, weight = row["stiffness"][good], row["centre"][good], loss0[good]
    parameters = torch.stack([stiffness, centre, row["log_minimum"][good]])
    centred = parameters - parameters.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1).sqrt()
    normed = centred / torch.where(spread > 0, spread, math.nan)[:, None]
    correlation = normed @ normed.T / normed.shape[1]
    force = stiffness * centre
    share = weight / weight.sum()
    mean_force = (share * force).sum()
    log_curvature = (share * stiffness).sum() + (share * (force - mean_force).square()).sum()
    squares = weight.square().mean() * stiffness.square().mean() * centre.square().mean()
    bulk = trimmed_mean_square(centre) / centre.square().mean()
    return {
        **unknown,
        "mean_stiffness": stiffness.mean(),
        "mean_square_stiffness": stiffness.square().mean(),
        "centre_spread": centre.square().mean().sqrt(),
        "centre_scale": 1.4826 * centre.abs().median(),
        "mean_field_ratio": (weight * force).square().mean() / squares,
        "predicted_velocity_variance": (math.nan if learning_rate is None else learning_rate**2) * squares,
        "trimmed_velocity_variance": (math.nan if learning_rate is None else learning_rate**2) * squares * bulk,
        "predicted_flatness": torch.sqrt(8 / log_curvature),
        "correlations": torch.stack([correlation[0, 1], correlation[0, 2], correlation[1, 2]]),
        "skewness": normed.pow(3).mean(dim=1),
        "excess_kurtosis": normed.pow(4).mean(dim=1) - 3,
    }


_NAMES = (
    "mean_stiffness",
    "mean_square_stiffness",
    "centre_spread",
    "centre_scale",
    "mean_field_ratio",
    "predicted_velocity_variance",
    "trimmed_velocity_variance",
    "predicted_flatness",
)
