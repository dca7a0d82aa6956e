"""The gradient noise scale: how many samples a gradient needs before its noise is as large as itself."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from landscope._checks import (
    check_choice,
    check_count,
    check_kind,
    check_one_point,
    check_point,
    check_share,
    check_start,
    check_vector,
)
from landscope.derivatives import hessian_product
from landscope.directions.directions import Directions, rows_of
from landscope.errors import InputError, LandscopeWarning
from landscope.minibatch_lines import count_left_out, each_gradient
from landscope.noise.ratio_interval import ratio_interval
from landscope.notices import warn
from landscope.protocols import Ensemble, ProgressCallback, silent
from landscope.results import Result, stamp

__all__ = ["NoiseScale", "noise_scale", "noise_scale_of_two_sizes", "scale_of_gradients"]

_MIN_BATCHES = 3
_ROUNDING = 1e-6
_KEPT_BYTES = 2**28
"""Gradients below this size are kept; others are computed twice."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NoiseScale(Result, kind="noise_scale", dims={"along": ("mode",), "along_interval": ("mode", "end")}):
    """The gradient noise scale at one point, in samples.

    Args:
        value: Noise scale tr(Sigma)/G^2; infinite if the estimate of G^2 is not positive, 0 if that of tr(Sigma) is
            not, NaN if neither is.
        confidence_interval: Fieller's interval of it; its end is infinite if G^2 cannot be told from zero.
        trace: Trace of the covariance Sigma of single samples' gradients (of H Sigma for ``matrix="hessian"``).
        gradient_square: Squared norm G^2 of the gradient of the population (G'HG for ``matrix="hessian"``), without
            the part that the noise of the measured samples adds.
        data_gradient_square: Squared gradient of the mean over the measured samples, with that part.
        along: Noise scale B_i along each direction, ``[k]``.
        along_interval: Its intervals, ``[k, 2]``.
        matrix: "identity" or "hessian".
        batch_size: Samples in a minibatch.
        n_batches: Number of measured minibatches, or of measurements.
        n_left_out: Number of samples outside all minibatches.
        confidence_level: Nominal coverage probability of the intervals.
    """

    value: float
    confidence_interval: tuple[float, float]
    trace: float
    gradient_square: float
    data_gradient_square: float
    along: Float[Tensor, " k"]
    along_interval: Float[Tensor, "k 2"]
    matrix: str
    batch_size: int
    n_batches: int
    n_left_out: int
    confidence_level: float


def noise_scale(
    ensemble: Ensemble,
    w0: Float[Tensor, " N"],
    directions: Directions | Float[Tensor, "k N"] | None = None,
    *,
    batch_size: int | None = None,
    n_batches: int | None = None,
    matrix: Literal["identity", "hessian"] = "identity",
    confidence_level: float = 0.95,
    progress: ProgressCallback = silent,
) -> NoiseScale:
    r"""The gradient noise scale, and the noise scale along directions.

    .. math:: \mathcal{B} = \frac{\mathrm{tr}\,\Sigma}{|G|^2}, \qquad
              \mathcal{B}_H = \frac{\mathrm{tr}(H \Sigma)}{G^\top H G}, \qquad
              \mathcal{B}_i = \frac{p_i^\top \Sigma\, p_i}{(p_i^\top G)^2}

    (McCandlish et al., arXiv 1812.06162, Eqs. 2.8 and 2.9.) G is the gradient of the loss and Sigma the covariance of
    the gradients of single samples. Larger minibatches than this hardly shorten a training: it is a first estimate of
    the critical batch size, and :math:`\mathcal{B}_H` is the one that their theory has for one step.

    From the gradients g of n minibatches of B samples, with their mean :math:`\bar g`,

    .. math:: \mathrm{tr}\,\Sigma \approx \frac{B}{n-1} \sum_\mu |g_\mu - \bar g|^2, \qquad
              |G|^2 \approx |\bar g|^2 - \frac{\mathrm{tr}\,\Sigma}{n B},

    both without bias where the samples are independent. So G is the gradient that new samples of the same kind would
    give: late in a training it can be zero within its error, and the interval has no upper end. With the gradient of
    the measured data themselves, take ``trace / data_gradient_square``. Intervals are those of a ratio (Fieller), with
    variances by the jackknife over minibatches. Of 16 minibatches, 93 % of the 95 % intervals held the truth in 4,000
    simulations.

    The cost is two gradients of each minibatch (one where all gradients together take less than 256 MB); with
    ``matrix="hessian"`` further a product of the Hessian of the loss for each minibatch and one for their mean.

    Args:
        ensemble: A landscape with minibatch losses, such as ``risk.minibatches(100)``.
        w0: Point of the gradients.
        directions: Directions p_i; they are not normalised.
        batch_size: Samples in a minibatch; that of the ensemble by default.
        n_batches: Largest number of minibatches, from the first; all by default. Shuffle them with a seed.
        matrix: "identity" for tr(Sigma)/abs(G)^2, "hessian" for the form with H.
        confidence_level: Nominal coverage probability of the intervals.
        progress: Callback for the number of completed minibatches.

    Returns:
        The noise scale, in samples.

    Raises:
        InputError: If the batch size is not known, there are fewer than three minibatches, or a shape, dtype or device
            is wrong.
        NonFiniteError: If w0, a direction or a gradient is not finite.

    Example:
        >>> import torch
        >>> from landscope.synthetic import RandomSprings
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 2.0]), 400, seed=0)
        >>> found = noise_scale(springs, torch.ones(2).double(), batch_size=1)
        >>> low, high = found.confidence_interval
        >>> found.n_batches, 0 < low < found.value < high
        (400, True)
    """
    check_choice("matrix", matrix, ("identity", "hessian"))
    check_share("confidence_level", confidence_level)
    if n_batches is not None:
        check_count("n_batches", n_batches, minimum=_MIN_BATCHES)
    if directions is None:
        w0, basis = check_point(w0), None
    else:
        w0, rows = check_start(w0, rows_of(directions))
        basis = rows.double().cpu()
    size = _batch_size(ensemble, batch_size)
    gradients = _Gradients(ensemble, w0, n_batches)
    total = torch.zeros(w0.shape[-1], dtype=torch.float64)
    for gradient in gradients:
        total += gradient
    n = gradients.count
    if n < _MIN_BATCHES:
        raise InputError(
            expected=f"an ensemble of at least {_MIN_BATCHES} minibatches", got=f"{n}", hint="Use a smaller batch size."
        )
    mean = total / n
    times = _matrix(ensemble, w0, matrix)
    squares, products = _forms(gradients, mean, times, basis, progress)
    of_mean = _form(mean, mean, times(mean), basis)
    values, intervals, trace, square = _ratios(squares, products, of_mean, size, confidence_level)
    return NoiseScale(
        value=float(values[0]),
        confidence_interval=(float(intervals[0, 0]), float(intervals[0, 1])),
        trace=float(trace[0]),
        gradient_square=float(square[0]),
        data_gradient_square=float(of_mean[0]),
        along=values[1:],
        along_interval=intervals[1:],
        matrix=matrix,
        batch_size=size,
        n_batches=n,
        n_left_out=count_left_out(ensemble),
        confidence_level=confidence_level,
        provenance=stamp(batch_size=size, n_batches=n, matrix=matrix),
    )


def noise_scale_of_two_sizes(
    small: Float[Tensor, " n"],
    large: Float[Tensor, " n"],
    *,
    small_size: int,
    large_size: int,
    confidence_level: float = 0.95,
) -> NoiseScale:
    r"""The gradient noise scale from squared norms of gradients of two batch sizes.

    .. math:: |G|^2 = \frac{B_l |g_l|^2 - B_s |g_s|^2}{B_l - B_s}, \qquad
              \mathrm{tr}\,\Sigma = \frac{|g_s|^2 - |g_l|^2}{1/B_s - 1/B_l}

    (McCandlish et al., arXiv 1812.06162, appendix A.1.) A training on several devices has both norms at no cost: each
    device's own gradient is the small one, their mean the large one.

    Args:
        small: Squared norms of gradients of ``small_size`` samples, one for each measurement.
        large: Squared norms of gradients of ``large_size`` samples, in the same measurements.
        small_size: Samples in a small minibatch.
        large_size: Samples in a large minibatch.
        confidence_level: Nominal coverage probability of the interval, from the spread over measurements.

    Returns:
        The noise scale of the means over measurements, in samples.

    Raises:
        InputError: If the lengths differ, there are fewer than three measurements, or ``large_size`` is not above
            ``small_size``, a norm is negative, or the norms are no tensors.
        NonFiniteError: If a norm is not finite.

    Warns:
        LandscopeWarning: If the gradients of fewer samples are shorter, beyond chance.

    Example:
        >>> import torch
        >>> found = noise_scale_of_two_sizes(
        ...     torch.tensor([3.0, 3.2, 2.8]), torch.tensor([1.5, 1.4, 1.6]), small_size=1, large_size=4
        ... )
        >>> round(found.trace, 6), round(found.gradient_square, 6), round(found.value, 6)
        (2.0, 1.0, 2.0)
    """
    check_share("confidence_level", confidence_level)
    check_count("small_size", small_size)
    check_count("large_size", large_size, minimum=small_size + 1)
    small = _squared_norms("small", small)
    large = _squared_norms("large", large)
    if len(small) != len(large):
        raise InputError(
            expected=f"as many measurements of large as of small, {len(small)}", got=f"{len(large)}",
            hint="Pass both norms of each measurement.",
        )  # fmt: skip
    if len(small) < _MIN_BATCHES:
        raise InputError(
            expected=f"at least {_MIN_BATCHES} measurements", got=f"{len(small)}",
            hint="Collect norms over more steps.",
        )  # fmt: skip
    traces = (small - large) / (1 / small_size - 1 / large_size)
    squares = (large_size * large - small_size * small) / (large_size - small_size)
    trace, square = traces.mean(), squares.mean()
    covariance = torch.cov(torch.stack([traces, squares])) / len(small)
    quantile = float(stats.t.ppf(0.5 + confidence_level / 2, len(small) - 1))
    if float(trace + quantile * covariance[0, 0].sqrt()) < -_ROUNDING * float(traces.abs().max()):
        warn(
            f"The gradients of {small_size} samples are shorter than those of {large_size}, beyond chance, where noise "
            "makes them longer: are small and large in each other's place, or norms that are not squared?",
            LandscopeWarning,
        )
    return NoiseScale(
        value=_ratio(float(trace), float(square)),
        confidence_interval=ratio_interval(float(trace), float(square), covariance, quantile),
        trace=float(trace),
        gradient_square=float(square),
        data_gradient_square=float(large.mean()),
        along=torch.empty(0, dtype=torch.float64),
        along_interval=torch.empty(0, 2, dtype=torch.float64),
        matrix="identity",
        batch_size=small_size,
        n_batches=len(small),
        n_left_out=0,
        confidence_level=confidence_level,
        provenance=stamp(small_size=small_size, large_size=large_size),
    )


def _squared_norms(name: str, values: Tensor) -> Tensor:
    """Squared norms of gradients, one for each measurement."""
    hint = f"Pass torch.tensor([...]) with |g|^2 of each measurement as {name}."
    check_kind(name, values, Tensor, hint=hint)
    norms = check_vector(name, check_one_point(name, values)).double().cpu()
    if bool((norms < 0).any()):
        raise InputError(expected=f"squared norms of at least 0 as {name}", got=f"{float(norms.min()):.4g}", hint=hint)
    return norms


def scale_of_gradients(
    gradients: Float[Tensor, "n N"], batch_size: int, confidence_level: float = 0.95
) -> tuple[float, float, float]:
    """The noise scale of minibatch gradients that are there, and the ends of its interval; as :func:`noise_scale`."""
    mean = gradients.mean(dim=0)
    squares, products = gradients.square().sum(dim=1)[:, None], (gradients @ mean)[:, None]
    values, intervals, _, _ = _ratios(squares, products, (mean @ mean)[None], batch_size, confidence_level)
    return float(values[0]), float(intervals[0, 0]), float(intervals[0, 1])


class _Gradients:
    """The gradients of the first minibatches, as often as they are asked for."""

    def __init__(self, ensemble: Ensemble, w: Tensor, most: int | None) -> None:
        self._ensemble, self._w, self._most = ensemble, w, most
        self._kept: list[Tensor] | None = None
        self.count = 0

    def __iter__(self) -> Iterator[Tensor]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, self.count = list[Tensor](), 0
        for gradient in itertools.islice(each_gradient(self._ensemble, self._w), self._most):
            self.count += 1
            if self.count * gradient.nbytes <= _KEPT_BYTES:
                kept.append(gradient)
            yield gradient
        if len(kept) == self.count:
            self._kept = kept


def _batch_size(ensemble: Ensemble, asked: int | None) -> int:
    if asked is not None:
        return check_count("batch_size", asked)
    batches = getattr(ensemble, "batches", None)
    if isinstance(batches, Tensor) and batches.ndim == 2:
        return batches.shape[1]
    raise InputError(
        expected="the number of samples in a minibatch", got=f"{type(ensemble).__name__}, which does not tell it",
        hint="Pass batch_size=...; with batch_size=1 the noise scale is in minibatches.",
    )  # fmt: skip


def _matrix(ensemble: Ensemble, w: Tensor, matrix: str) -> Callable[[Tensor], Tensor]:
    if matrix == "identity":
        return lambda gradient: gradient
    product = hessian_product(ensemble)
    return lambda gradient: product(w, gradient.to(w)).detach().cpu().double()


def _form(left: Tensor, right: Tensor, right_times: Tensor, basis: Tensor | None) -> Tensor:
    """The forms left' A right and (left p_i)(right p_i), ``[1 + k]``."""
    whole = (left @ right_times)[None]
    return whole if basis is None else torch.cat([whole, (basis @ left) * (basis @ right)])


def _forms(
    gradients: _Gradients, mean: Tensor, times: Callable[[Tensor], Tensor], basis: Tensor | None,
    progress: ProgressCallback,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The forms of each gradient with itself and with the mean, ``[n, 1 + k]``."""
    squares, products = [], []
    for gradient in gradients:
        curved = times(gradient)
        squares.append(_form(gradient, gradient, curved, basis))
        products.append(_form(mean, gradient, curved, basis))
        progress(len(squares), gradients.count)
    return torch.stack(squares), torch.stack(products)


def _moments(total: Tensor, of_mean: Tensor, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Trace and squared gradient without bias, from the sum of the squares and the square of the mean."""
    trace = size * (total - n * of_mean) / (n - 1)
    return trace, of_mean - trace / (n * size)


def _ratios(
    squares: Tensor, products: Tensor, of_mean: Tensor, size: int, level: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ratios, their intervals, traces and squared gradients, ``[1 + k]``."""
    n, total = len(squares), squares.sum(dim=0)
    trace, square = _moments(total, of_mean, n, size)
    # Without minibatch j, the mean is (n mean - g_j) / (n - 1).
    rest_mean = (n**2 * of_mean - 2 * n * products + squares) / (n - 1) ** 2
    rest = torch.stack(_moments(total - squares, rest_mean, n - 1, size))
    centred = rest - rest.mean(dim=1, keepdim=True)
    covariance = (n - 1) / n * torch.einsum("ank,bnk->kab", centred, centred)
    quantile = float(stats.t.ppf(0.5 + level / 2, n - 1))
    pairs = list(zip(trace.tolist(), square.tolist(), covariance, strict=True))
    values = torch.tensor([_ratio(t, s) for t, s, _ in pairs], dtype=torch.float64)
    intervals = torch.tensor([ratio_interval(t, s, c, quantile) for t, s, c in pairs], dtype=torch.float64)
    return values, intervals, trace, square


def _ratio(trace: float, square: float) -> float:
    """The ratio; infinite where the squared gradient is not positive, unknown where there is no noise either."""
    if square > 0:
        return max(trace, 0.0) / square
    return math.inf if trace > 0 else math.nan
