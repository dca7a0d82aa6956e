"""The loss on the straight line between two solutions, and its barrier."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Generator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_vector
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.landscape.lines import CentredLines, start_lines
from landscope.landscape.metrics import Metrics, metrics_at, metrics_of
from landscope.notices import warn
from landscope.protocols import LossLandscape
from landscope.results import Result, described, stamp

__all__ = ["LossInterpolation", "log_barrier", "loss_between"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossInterpolation(
    Result, kind="loss_interpolation",
    dims={"fraction": ("point",), "loss": ("point",), "metric_values": ("metric", "point")},
):  # fmt: skip
    """Losses on the straight line between two solutions w1 and w2.

    Args:
        fraction: Fractions s of the way from w1 to w2, from 0 to 1, ``[S]``.
        loss: Losses L(w1 + s (w2 - w1)), ``[S]``; infinite if the loss overflows.
        metric_names: Names of the other quantities.
        metric_values: The other quantities at the same points, ``[m, S]``.
        distance: Distance between w1 and w2, in weight units.
    """

    fraction: Float[Tensor, " S"]
    loss: Float[Tensor, " S"]
    metric_names: tuple[str, ...]
    metric_values: Float[Tensor, "m S"]
    distance: float

    @property
    def metrics(self) -> dict[str, Float[Tensor, " S"]]:
        """The other quantities, by name."""
        return dict(zip(self.metric_names, self.metric_values, strict=True))

    @property
    def above_the_ends(self) -> Float[Tensor, " S"]:
        """The loss above the straight line between the losses of the two ends, L(s) - (1 - s) L(0) - s L(1)."""
        return self.loss - (self.loss[0] + self.fraction * (self.loss[-1] - self.loss[0]))

    @property
    def barrier(self) -> float:
        """Largest rise of the loss above the straight line between its ends (Entezari et al., ICLR 2022), at least 0.

        It is the largest of the points that were measured; a narrower barrier may lie between two of them.
        """
        return float(self.above_the_ends.max().clamp(min=0))

    @property
    def highest(self) -> float:
        """Fraction of the way at which the loss is highest above the straight line between its ends."""
        return float(self.fraction[self.above_the_ends.argmax()])

    @property
    def log_barrier(self) -> float:
        """Largest rise of ln L above the higher of the two ends, at least 0."""
        logs = torch.log(self.loss)
        return max(0.0, float(logs.max() - torch.maximum(logs[0], logs[-1])))


def loss_between(
    landscape: LossLandscape,
    first: Float[Tensor, " N"],
    second: Float[Tensor, " N"],
    *,
    n_points: int = 25,
    metrics: Metrics | None = None,
) -> LossInterpolation:
    r"""The loss on the straight line between two solutions: :math:`L(w_1 + s\,(w_2 - w_1))` for s from 0 to 1.

    Two trainings that end in one valley have no barrier between them. Two networks that compute nearly the same may
    have one because their hidden units stand in another order: :func:`landscope.landscape.align_units` puts those of
    one network in the order of the other before. Wider networks have lower barriers then.

    The landscape is a function of all weights in which the two differ: what a risk does not select stays as it is.

    The running statistics of batch normalisation are those of the model of the risk along the whole line. Halfway
    between two networks they are wrong, and make a barrier of their own (Jordan et al., REPAIR, ICLR 2023), so a risk
    of such a model warns. Make it with ``batch_norm="re-estimated"``.

    Between the models before and after a task, with evaluations by name: :func:`landscope.memory.interpolation`.

    Args:
        landscape: Any landscape.
        first: First solution w1.
        second: Second solution w2.
        n_points: Number of points on the line, including the ends.
        metrics: Other quantities to measure at the same points, see :func:`landscope.loss_profiles`.

    Returns:
        The losses in float64, with ``.barrier`` and ``.log_barrier``.

    Raises:
        InputError: If a shape, dtype or device is wrong, or there are fewer than 2 points.
        NonFiniteError: If the loss at an end is not finite, or a loss is NaN.

    Example:
        Two wells at -1 and 1, L = (w^2 - 1)^2, have a barrier of 1 at 0.

        >>> import torch
        >>> wells = lambda w: (w[..., 0].square() - 1).square()
        >>> line = loss_between(wells, torch.tensor([-1.0]), torch.tensor([1.0]))
        >>> line.barrier, line.highest
        (1.0, 0.5)
    """
    check_count("n_points", n_points, minimum=2)
    fraction = torch.linspace(0, 1, n_points, dtype=torch.float64)
    move = _difference(first, second)
    is_one_point = not bool(move.any())
    with _statistics_said(landscape):
        lines = start_lines(landscape, first, (torch.ones_like(move) if is_one_point else move)[None])
        loss = _losses(lines, torch.zeros_like(fraction) if is_one_point else fraction)
    functions = metrics_of(landscape, metrics)
    values = metrics_at(functions, fraction.tolist(), lambda s: first + s * move)
    return LossInterpolation(
        fraction=fraction, loss=loss, metric_names=tuple(functions), metric_values=values,
        distance=float(torch.linalg.vector_norm(move.double())),
        provenance=stamp(landscape=described(landscape), n_points=n_points),
    )  # fmt: skip


def log_barrier(
    landscape: LossLandscape, first: Float[Tensor, " N"], second: Float[Tensor, " N"], n_points: int = 21
) -> float:
    r"""The rise of the log-loss on the straight line between two solutions, above the higher of the two.

    .. math:: \max_{0 \le s \le 1} \ln L(w_1 + s (w_2 - w_1)) - \max(\ln L(w_1), \ln L(w_2))

    It is near 0 if both solutions are in one valley.

    Args:
        landscape: Any landscape.
        first: First solution.
        second: Second solution.
        n_points: Number of points on the line, including the ends.

    Returns:
        The barrier, at least 0.

    Example:
        >>> from landscope.synthetic import InverseGaussian
        >>> well = InverseGaussian(torch.tensor([2.0]))
        >>> log_barrier(well, torch.tensor([-1.0]), torch.tensor([2.0]))
        0.0
    """
    return loss_between(landscape, first, second, n_points=n_points).log_barrier


def _difference(first: Tensor, second: Tensor) -> Tensor:
    for name, w in (("first", first), ("second", second)):
        if not isinstance(w, Tensor) or w.ndim != 1:
            raise InputError(
                expected=f"the {name} solution as a tensor w[N]",
                got=f"shape {tuple(w.shape)}" if isinstance(w, Tensor) else type(w).__name__,
                hint="The weights of a model are risk.space.flatten(model).",
            )
    w1 = check_vector("first", first, dim=len(first))
    return check_vector("second", second, dim=len(first), device=w1.device, dtype=w1.dtype) - w1


def _losses(lines: CentredLines, fraction: Tensor) -> Tensor:
    loss = lines.losses(torch.zeros(len(fraction), dtype=torch.long), fraction)
    if not bool(torch.isfinite(loss[-1])):
        raise NonFiniteError(
            expected="a finite loss at the second solution", got=f"{float(loss[-1])}",
            hint="Choose weights with a finite loss, or check the data.",
        )  # fmt: skip
    return loss


@contextlib.contextmanager
def _statistics_said(landscape: LossLandscape) -> Generator[None]:
    """Say that running statistics stay those of one model; not also at which weights the lines start."""
    with warnings.catch_warnings():
        if getattr(landscape, "keeps_statistics", False):
            warn(
                "Batch normalisation keeps the running statistics of the model of the risk along the whole line "
                "between the two solutions, which makes a barrier of its own. Make the risk with "
                'batch_norm="re-estimated".',
                LandscopeWarning,
            )
            warnings.simplefilter("ignore", LandscopeWarning)
        yield
