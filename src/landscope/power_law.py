"""Power laws between two positive quantities (paper, Eq. 8)."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope._checks import check_positive, check_share
from landscope.errors import InputError, NonFiniteError
from landscope.results import Result, stamp

__all__ = ["PowerLaw", "errors_in_variables_exponent", "fit_power_law"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PowerLaw(Result, kind="power_law"):
    """A fitted law ``y = prefactor * x ** exponent``.

    Args:
        exponent: Slope of ln y on ln x.
        prefactor: ``exp`` of the intercept, in the unit of y.
        stderr: Standard error of the exponent, from the scatter of the points about the line.
        confidence_interval: Confidence interval of the exponent from the same scatter, at ``confidence_level``.
        confidence_level: Nominal coverage probability of the interval.
        n_points: Number of fitted points.
        n_outside: Number of points with x outside ``fit_range``; the fit ignores them.
        fit_range: Smallest and largest fitted x.
        residual: Root mean square of the residuals of ln y.
    """

    exponent: float
    prefactor: float
    stderr: float
    confidence_interval: tuple[float, float]
    confidence_level: float
    n_points: int
    n_outside: int
    fit_range: tuple[float, float]
    residual: float

    def __call__(self, x: Tensor) -> Tensor:
        """The fitted y at x."""
        return self.prefactor * x**self.exponent


def fit_power_law(
    x: Float[Tensor, " n"],
    y: Float[Tensor, " n"],
    fit_range: tuple[float, float] | None = None,
    *,
    confidence_level: float = 0.95,
) -> PowerLaw:
    r"""Fit ``y ~ x ** exponent`` by least squares of the logarithms, each point with equal weight.

    .. math:: \ln y_i = \ln c + s \ln x_i + \varepsilon_i, \qquad
              \hat s = \frac{\sum_i (\ln x_i - \overline{\ln x}) \ln y_i}{\sum_i (\ln x_i - \overline{\ln x})^2}

    The paper's exponents are minus the slope: psi of Eq. 8 is ``-fit_power_law(F, variance).exponent``.
    The interval is valid for independent points. The principal modes of one run are not independent: for such an
    exponent use the interval over several seeds or over blocks of time (:mod:`landscope.law`).

    Args:
        x: Positive abscissae, in any unit.
        y: Positive ordinates, of the same length.
        fit_range: Range of x to fit, ``fit_range[0] <= x <= fit_range[1]``; all points by default.
        confidence_level: Nominal coverage probability of the interval.

    Returns:
        The law, a :class:`PowerLaw`.

    Raises:
        InputError: If the lengths differ, fewer than three points lie in the range, a value is not positive,
            or all x are equal.
        NonFiniteError: If a value in the range is NaN or infinite.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0, 2.0, 4.0, 8.0])
        >>> law = fit_power_law(x, 3.0 * x**-4)
        >>> round(law.exponent, 6), round(law.prefactor, 5), law.n_points
        (-4.0, 3.0, 4)
    """
    check_share("confidence_level", confidence_level)
    low, high = fit_range if fit_range is not None else (-np.inf, np.inf)
    xs, ys = _arrays(x, y)
    inside = ~((xs < low) | (xs > high))
    log_x, log_y = _logarithms(xs[inside], ys[inside])
    fit = stats.linregress(log_x, log_y)
    reach = float(stats.t.ppf(0.5 + confidence_level / 2, len(log_x) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return PowerLaw(
        exponent=slope,
        prefactor=float(np.exp(fit.intercept)),
        stderr=float(fit.stderr),
        confidence_interval=(slope - reach, slope + reach),
        confidence_level=confidence_level,
        n_points=int(inside.sum()),
        n_outside=int((~inside).sum()),
        fit_range=(float(np.exp(log_x.min())), float(np.exp(log_x.max()))),
        residual=float(np.sqrt(np.mean((log_y - fit.intercept - slope * log_x) ** 2))),
        provenance=stamp(fit_range=fit_range, confidence_level=confidence_level),
    )


def _arrays(x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if len(x) != len(y):
        raise InputError(expected="x and y of one length", got=f"{len(x)} and {len(y)}", hint="Pass one y for each x.")
    xs, ys = (np.asarray(values.detach().cpu(), dtype=np.float64) for values in (x, y))
    return xs, ys


def _logarithms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) < 3:
        raise InputError(
            expected="at least 3 points in the fit range",
            got=f"{len(x)}",
            hint="Widen fit_range or measure more.",
        )
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise NonFiniteError(
                expected=f"finite {name}",
                got=f"{int((~np.isfinite(values)).sum())} of {len(values)} NaN or infinite",
                hint="Remove censored points, for example those with bracketed=False.",
            )
        if (values <= 0).any():
            raise InputError(
                expected=f"positive {name}",
                got=f"{int((values <= 0).sum())} of {len(values)} at or below zero",
                hint="Remove these points: they have no logarithm.",
            )
    if np.ptp(np.log(x)) == 0:
        raise InputError(
            expected="at least two different values of x", got="one value", hint="A slope needs two abscissae."
        )
    return np.log(x), np.log(y)


def errors_in_variables_exponent(x: Tensor, y: Tensor, *, error_ratio: float = 1.0) -> float:
    r"""The exponent when both x and y have errors (Deming regression of ln y on ln x).

    With :math:`\delta` the variance of the errors of ln y over that of ln x, and S the second moments,

    .. math:: s = \frac{S_{yy} - \delta S_{xx} + \sqrt{(S_{yy} - \delta S_{xx})^2 + 4 \delta S_{xy}^2}}{2 S_{xy}}.

    A large :math:`\delta` gives the least squares of ln y on ln x, a small :math:`\delta` those of ln x on ln y. If
    these two differ strongly, the points do not follow a line, and an exponent has little meaning.

    Args:
        x: Positive abscissae.
        y: Positive ordinates, of the same length.
        error_ratio: Ratio delta of the error variances; 1 is orthogonal regression.

    Returns:
        The exponent; NaN if ln x and ln y are uncorrelated.

    Raises:
        InputError: If there are fewer than three points, or a value or the ratio is not positive.
        NonFiniteError: If a value is NaN or infinite.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0, 2.0, 4.0, 8.0])
        >>> round(errors_in_variables_exponent(x, 3.0 * x**-4), 6)
        -4.0
    """
    check_positive("error_ratio", error_ratio)
    log_x, log_y = _logarithms(*_arrays(x, y))
    (sxx, sxy), (_, syy) = np.cov(log_x, log_y)
    if sxy == 0:
        return float("nan")
    excess = syy - error_ratio * sxx
    return float((excess + np.sqrt(excess**2 + 4 * error_ratio * sxy**2)) / (2 * sxy))


def fit_power_laws_resampled(x: Tensor, ys: Float[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """The exponents of many replicates of y on the same x, as by :func:`fit_power_law`, in one matrix product."""
    log_x = torch.log(x.double())
    centred = log_x - log_x.mean()
    return torch.log(ys.double()) @ centred / (centred @ centred)
