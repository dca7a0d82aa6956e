r"""The basin of a minimum: the random displacements of all weights by which the loss rises to a multiple of itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from scipy import optimize
from torch import Tensor

from landscope._checks import (
    check_count,
    check_number,
    check_one_point,
    check_positive,
    check_ratio,
    check_seed,
    check_vector,
)
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.protocols import LossLandscape
from landscope.shown import ShownByField

__all__ = ["Basin", "basin", "layer_scale"]

_LEAST_LOSS = 1e-7
"""Loss below which a minimum counts as zero: the rounding of a float32 loss near 1."""
_NARROWEST, _WIDEST = 2.0**-20, 4.0
"""Widths between which the edge is sought; noise of four times the weights leaves nothing of a network."""
_FIRST, _FAR = 0.5, 50.0


@dataclasses.dataclass(frozen=True, repr=False)
class Basin(ShownByField):
    r"""Points about a minimum where the mean loss is ``ratio`` times as large as at the minimum.

    Args:
        w0: The minimum, ``[N]``.
        scale: Standard deviation of every weight at width 1, ``[N]``.
        width: Width :math:`\epsilon` in units of ``scale``.
        loss0: Loss at the minimum.
        loss: Mean loss over the points.
        is_edge: Whether the mean loss reaches the ratio; if not, the width is the largest that was tried.
        n_draws: Number of points.
        seed: Seed of the points.
    """

    w0: Float[Tensor, " N"]
    scale: Float[Tensor, " N"]
    width: float
    loss0: float
    loss: float
    is_edge: bool
    n_draws: int
    seed: int

    def points(self) -> Iterator[Float[Tensor, " N"]]:
        """The points, one at a time, so that only one is in memory."""
        return _points(self.w0, self.scale, self.width, self.n_draws, self.seed)


def basin(
    risk: LossLandscape,
    w0: Float[Tensor, " N"],
    scale: Float[Tensor, " N"],
    *,
    ratio: float = math.e,
    n_draws: int = 8,
    seed: int = 0,
    precision: float = 1e-3,
) -> Basin:
    r"""The width of the noise on all weights by which the mean loss rises to ``ratio`` times its minimum.

    .. math:: \frac1n \sum_{d=1}^n L(w_0 + \epsilon\, s \circ \xi_d) = \mathrm{ratio}\; L(w_0),
              \qquad \xi_d \sim \mathcal N(0, 1)

    It is the flatness of the paper (Eq. 7: the width where the loss is e times its minimum) for all directions at
    once. The draws are the same at every width, so the mean loss is a smooth function of it.

    Args:
        risk: Loss L, above 0.
        w0: The minimum.
        scale: Standard deviation s of every weight at width 1, such as :func:`layer_scale`.
        ratio: Loss at the edge over the loss at the minimum; a loss below 1e-7 counts as 1e-7.
        n_draws: Number n of points.
        seed: Seed of the points.
        precision: Accuracy of the mean loss, relative to the loss at the edge.

    Returns:
        The basin; its width is at most 4. ``loss`` is the mean loss at just this width.

    Raises:
        InputError: If the loss is not above 0 at w0, or a number is out of range.

    Example:
        A bowl of 1000 weights: displacements of standard deviation x raise the mean loss by x squared.

        >>> import torch
        >>> from landscope.synthetic import QuadraticBowl
        >>> bowl = QuadraticBowl(torch.full((1000,), 2e-3), minimum=0.01)
        >>> found = basin(bowl, torch.zeros(1000), torch.ones(1000))
        >>> abs(found.width / (0.01 * (math.e - 1)) ** 0.5 - 1) < 0.05
        True
    """
    check_one_point("w0", w0)
    check_vector("scale", scale, dim=len(w0))
    check_ratio("ratio", ratio)
    check_count("n_draws", n_draws, minimum=1)
    check_seed(seed)
    check_positive("precision", precision)
    loss0 = check_number("the loss at w0", float(risk(w0)))
    if loss0 < 0:
        raise InputError(
            expected="a loss that is never negative, so that its logarithm exists", got=f"{loss0:.4g} at w0",
            hint="Add its lower bound to the loss, or hold the weights by another method, such as 'kfac'.",
        )  # fmt: skip

    def mean_loss(width: float) -> float:
        losses = [float(risk(point)) for point in _finite(_points(w0, scale, width, n_draws, seed))]
        return sum(losses) / n_draws if len(losses) == n_draws and all(map(math.isfinite, losses)) else math.inf

    width, loss, is_edge = _edge(mean_loss, max(loss0, _LEAST_LOSS), ratio, precision)
    return Basin(w0, scale, width, loss0, loss, is_edge, n_draws, seed)


def _edge(
    mean_loss: Callable[[float], float], least: float, ratio: float, precision: float
) -> tuple[float, float, bool]:
    """The width where the mean loss reaches the ratio; the mean loss there; whether it is reached."""
    tried: dict[float, float] = {}
    target = ratio * least

    def known(ln_width: float) -> float:
        if ln_width not in tried:
            tried[ln_width] = mean_loss(math.exp(ln_width))
        return tried[ln_width]

    inside, outside = _bracket(lambda ln_width: known(ln_width) < target)
    if inside is None or outside is None:
        width = _NARROWEST if inside is None else _WIDEST
        return width, mean_loss(width), inside is None

    def over(ln_width: float) -> float:
        """The logarithm of the rise over that at the edge: nearly a straight line, so that few widths are tried."""
        if abs(known(ln_width) / target - 1) < precision:
            return 0.0  # near enough, which ends the search
        rise = max((known(ln_width) - least) / (target - least), math.exp(-_FAR))
        return min(_FAR, math.log(rise))

    optimize.brentq(over, inside, outside, xtol=precision)
    finite = [ln_width for ln_width, loss in tried.items() if math.isfinite(loss)]
    best = min(finite, key=lambda ln_width: (abs(tried[ln_width] - target), -ln_width))  # the widest one below a jump
    return math.exp(best), tried[best], True


def _bracket(is_inside: Callable[[float], bool]) -> tuple[float | None, float | None]:
    """Logarithms of a width below the edge and of one above, a factor of two apart; None where there is none."""
    lowest, highest, at = math.log(_NARROWEST), math.log(_WIDEST), math.log(_FIRST)
    step = math.log(2) if is_inside(at) else -math.log(2)
    while lowest - 1e-9 <= at + step <= highest + 1e-9:
        if is_inside(at + step) != is_inside(at):
            return min(at, at + step), max(at, at + step)
        at += step
    return (at, None) if step > 0 else (None, at)


def _finite(points: Iterator[Tensor]) -> Iterator[Tensor]:
    return (point for point in points if bool(torch.isfinite(point).all()))


def _points(w0: Tensor, scale: Tensor, width: float, n_draws: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_draws):
        drawn = torch.float64 if w0.dtype == torch.float64 else torch.float32
        noise = torch.randn(len(w0), generator=generator, dtype=drawn).to(w0)
        yield noise.mul_(scale.to(w0)).mul_(width).add_(w0)


def layer_scale(space: ParameterSpace, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The root mean square of the weights of the layer of every weight.

    Args:
        space: The selected parameters; those of one module are a layer.
        w: Their values.

    Returns:
        One value for each weight, ``[N]``.

    Raises:
        InputError: If the length is not that of the parameters.

    Example:
        >>> space = ParameterSpace(("0.weight", "0.bias", "1.weight"), ((1, 3), (1,), (2,)))
        >>> layer_scale(space, torch.tensor([1.0, 1.0, 1.0, -1.0, 3.0, 4.0])).tolist()[:4]
        [1.0, 1.0, 1.0, 1.0]
    """
    check_one_point("w", check_vector("w", w, dim=space.dim))
    scale = torch.empty_like(w)
    for names in space.layers.values():
        columns = space.columns(names).to(w.device)
        scale[columns] = w[columns].square().mean().sqrt()
    return scale
