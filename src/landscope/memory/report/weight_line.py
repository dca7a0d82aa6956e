"""The straight line between old and new weights (WiSE-FT): a way to keep a task that costs no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import check_count, check_number
from landscope.errors import InputError
from landscope.memory.report.evaluations import Evaluations, MeanLoss, evaluated_copy
from landscope.memory.report.line_losses import losses_on_line
from landscope.results import Result, register_picture, stamp
from landscope.trajectory.checkpoints import load_checkpoint, own_copy

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["Interpolation", "ends_on_line", "interpolated", "interpolation", "line_between"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Interpolation(
    Result, kind="interpolation", dims={"share": ("point",), "values": ("point", "evaluation")}
):  # fmt: skip
    """Evaluations along the straight line from old to new weights.

    Args:
        names: Names of the evaluations.
        share: Share a of the new weights at each point, from 0 to 1.
        values: What was measured at each point.
        higher_is_better: Whether a higher value is better.

    Example:
        >>> line = Interpolation(
        ...     names=("old", "new"), share=torch.tensor([0.0, 0.5, 1.0]).double(), higher_is_better=False,
        ...     values=torch.tensor([[0.0, 1.0], [0.25, 0.25], [1.0, 0.0]]),
        ... )
        >>> line.best, line.mean.tolist()
        (0.5, [0.5, 0.25, 0.5])
    """

    names: tuple[str, ...]
    share: Float[Tensor, " points"]
    values: Float[Tensor, "points evaluations"]
    higher_is_better: bool

    @property
    def mean(self) -> Float[Tensor, " points"]:
        """Mean of all evaluations at each point; it says something where they have the same unit."""
        return self.values.mean(1)

    @property
    def best(self) -> float:
        """Share of the new weights at the best mean of the evaluations; points with a NaN do not count.

        Choose it on other data than those that the final model is judged by: the best of several points looks better
        than it is.

        Raises:
            InputError: If the mean is NaN at every point.
        """
        cost = -self.mean if self.higher_is_better else self.mean
        if bool(cost.isnan().all()):
            raise InputError(
                expected="a point where all evaluations are numbers", got="NaN at every point",
                hint="Check the evaluations of the old and of the new model.",
            )  # fmt: skip
        return float(self.share[cost.nan_to_num(nan=torch.inf).argmin()])


def _drawn(line: Interpolation) -> go.Figure:
    from landscope.memory.report.figures import interpolation_curve  # plotly is loaded where a figure is drawn

    return interpolation_curve(line)


register_picture(Interpolation.kind, _drawn)


def interpolation(
    model: nn.Module,
    old: Any,
    evaluations: Mapping[str, Any],
    criterion: Callable[..., Any] | None = None,
    *,
    losses: Callable[[nn.Module, Any], Any] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    higher_is_better: bool | None = None,
    points: int = 11,
) -> Interpolation:
    r"""Evaluate a model along the straight line from old weights to its own (Wortsman et al., CVPR 2022).

    .. math:: w(a) = (1 - a) w_{\text{old}} + a w_{\text{new}}

    See :func:`interpolated` for what becomes of everything that is no weight. The functions are called with a copy of
    the model, in eval mode; they must use the model that they are given.

    Args:
        model: The model after the new task. It is left as it is.
        old: The weights before: a model, a state dict, or the path of a checkpoint.
        evaluations: ``function(model)`` that gives a number, by its name; or data, whose mean loss is taken by a
            criterion, by ``losses``, or, without both, by the model itself, ``model(**batch).loss``.
        criterion: ``criterion(outputs, targets)``, see :class:`landscope.EmpiricalRisk`.
        losses: ``losses(model, batch)`` in place of a criterion.
        loss_options: How the loss is evaluated, see :meth:`landscope.TaskMemory.consolidate`.
        higher_is_better: Whether a higher number is better. Functions need it: True for accuracies, False for losses.
        points: Number of points, both ends included. Each costs one evaluation on the data.

    Returns:
        The curves; ``.best`` is the share of the new weights at the best mean.

    Raises:
        InputError: If the old weights are of another model, or the evaluations do not fit.
        StorageError: If a checkpoint cannot be read.

    Example:
        >>> import copy
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(0.0)
        >>> old = copy.deepcopy(model.state_dict())
        >>> _ = model.weight.data.fill_(2.0)
        >>> losses = {"old": lambda m: m.weight**2, "new": lambda m: (m.weight - 2) ** 2}
        >>> line = interpolation(model, old, losses, higher_is_better=False)
        >>> line.best
        0.5
        >>> model.load_state_dict(interpolated(model, old, line.best))
        <All keys matched successfully>
        >>> model.weight.item()
        1.0
    """
    found = Evaluations.of(evaluations, criterion, losses, higher_is_better, loss_options)
    return line_between(model, old, found, points)


def line_between(model: nn.Module, old: Any, found: Evaluations, points: int) -> Interpolation:
    """The evaluations along the line, see :func:`interpolation`."""
    check_count("points", points, minimum=2)
    new, share = evaluated_copy(model), torch.linspace(0, 1, points, dtype=torch.float64)
    start = _state_of(new, old)
    columns: dict[str, Any] = {name: _losses(function, new, start, share) for name, function in found.functions.items()}
    others = {name: function for name, function in found.functions.items() if columns[name] is None}
    if others:
        end, at, rows = new.state_dict(), own_copy(new), []
        for a in share.tolist():
            at.load_state_dict(_between(start, end, a))
            rows.append(dataclasses.replace(found, functions=others).values(at))
        columns |= dict(zip(others, torch.stack(rows, 1), strict=True))
    return Interpolation(
        names=found.names, share=share, higher_is_better=found.higher_is_better, provenance=stamp(points=points),
        values=torch.stack([torch.as_tensor(column, dtype=torch.float64) for column in columns.values()], 1),
    )  # fmt: skip


def _losses(function: Any, new: nn.Module, start: Mapping[str, Any], share: Tensor) -> list[float] | None:
    """The mean loss at all points, where one landscape has them all."""
    if not isinstance(function, MeanLoss):
        return None
    return losses_on_line(function.loss, new, start, share.tolist(), _entry_between)


def ends_on_line(old: nn.Module, new: nn.Module) -> bool:
    """Whether the old model is a point of the line: integers there are those of the new model.

    Counters of batch normalisation are of no use in eval mode.
    """
    later = new.state_dict()
    return all(
        name in later and torch.equal(value, later[name].to(value.device))
        for name, value in old.state_dict().items()
        if isinstance(value, Tensor) and not value.is_floating_point() and not name.endswith("num_batches_tracked")
    )


def interpolated(model: nn.Module, old: Any, share: float) -> dict[str, Any]:
    """The state dict of a model between old weights and its own.

    Floating-point buffers are interpolated as the weights are. That includes the running means and variances of batch
    normalisation, which are then near those of the data and not equal to them: estimate them again on training data
    where the result matters. Counters and other integers are those of the new model, and what is the same in both
    stays the same. Where adapters (LoRA) multiply two factors, the product does not follow a straight line; merge them
    first.

    Args:
        model: The model after the new task. It is left as it is.
        old: The weights before: a model, a state dict, or the path of a checkpoint.
        share: Share a of the new weights: 0 gives the old weights, 1 the new ones. Beyond them the line goes on.

    Returns:
        A state dict for ``model.load_state_dict``.

    Raises:
        InputError: If the old weights are of another model, or the share is no finite number.
        StorageError: If a checkpoint cannot be read.

    Example:
        >>> model, old = torch.nn.Linear(1, 1), {"weight": torch.zeros(1, 1), "bias": torch.zeros(1)}
        >>> _ = model.weight.data.fill_(4.0)
        >>> interpolated(model, old, 0.75)["weight"].item()
        3.0
    """
    check_number("share", share)
    new = evaluated_copy(model)
    return _between(_state_of(new, old), new.state_dict(), float(share))


def _state_of(model: nn.Module, old: Any) -> dict[str, Any]:
    """The old weights under the names of the model."""
    whole = own_copy(model)
    load_checkpoint(old, whole, " for the old weights")
    return whole.state_dict()


def _between(old: Mapping[str, Any], new: Mapping[str, Any], share: float) -> dict[str, Any]:
    return {name: _entry_between(old[name], value, share) for name, value in new.items()}


def _entry_between(old: Any, new: Any, share: float) -> Any:
    if not isinstance(new, Tensor) or not (new.is_floating_point() or new.is_complex()):
        return new
    precise = torch.promote_types(new.dtype, torch.float32)  # half precision would round twice
    line = ((1 - share) * old.to(precise) + share * new.to(precise)).to(new.dtype)
    return torch.where(old == new, new, line)  # an infinity in both, as in a mask, would become NaN
