"""What a user measures of a model: one number a task, of functions of the model or of losses on data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import check_kind
from landscope.errors import InputError
from landscope.memory.report.task_loss import TaskLoss
from landscope.parameters import ParameterSpace, inner_model, named_tensors
from landscope.risk.metrics import one_number
from landscope.seeded import seeded
from landscope.trajectory.checkpoints import own_copy

__all__ = ["Evaluations", "MeanLoss", "evaluated_copy"]


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """One function of a model for each task.

    Args:
        functions: ``function(model)`` gives a number, by the name of the task.
        higher_is_better: Whether a higher number is better, as of an accuracy.
    """

    functions: Mapping[str, Callable[[nn.Module], Any]]
    higher_is_better: bool

    @classmethod
    def of(
        cls,
        evaluations: Mapping[str, Any],
        criterion: Callable[..., Any] | None = None,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        higher_is_better: bool | None = None,
        loss_options: Mapping[str, Any] | None = None,
    ) -> Evaluations:
        """Functions of the model as they are; data as their mean loss, also that of the model itself.

        Raises:
            InputError: If nothing is to be evaluated, an entry is no function where there is no loss, or it is not said
                which way is better.
        """
        check_kind("the evaluations", evaluations, Mapping, hint='Pass {"first task": f, "second task": g}.')
        if not evaluations:
            raise InputError(expected="at least one evaluation", got="none", hint='Pass {"first task": f}.')
        if criterion is None and losses is None and (higher_is_better or not _are_data(evaluations)):
            return cls(_functions(evaluations), _direction(higher_is_better))
        if higher_is_better:
            raise InputError(
                expected="a loss, which is better where it is lower", got="higher_is_better=True",
                hint="Leave higher_is_better out, or pass functions of the model without a criterion.",
            )  # fmt: skip
        functions = {
            name: MeanLoss(TaskLoss(criterion, data, losses, loss_options)) for name, data in evaluations.items()
        }
        return cls(functions, False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(map(str, self.functions))

    @property
    def kind(self) -> str:
        """What is measured: numbers of other kinds are not compared, also of the same task."""
        losses = [function.loss for function in self.functions.values() if isinstance(function, MeanLoss)]
        if losses:
            loss = losses[0].criterion or losses[0].losses
            return f"mean loss by {'the model' if loss is None else _named(loss)}"
        return f"{'higher' if self.higher_is_better else 'lower'} is better"

    def first(self, count: int) -> Evaluations:
        """The first functions."""
        return dataclasses.replace(self, functions=dict(list(self.functions.items())[:count]))

    @torch.no_grad()
    def values(self, model: nn.Module, known: Sequence[float] = ()) -> Float[Tensor, " tasks"]:
        """All numbers of a copy of the user's model, in eval mode; each function draws the same random numbers.

        Args:
            model: The copy.
            known: Numbers of the first functions, which are not called again.
        """
        found = list(known)
        for function in list(self.functions.values())[len(found) :]:
            with seeded(0):
                found.append(one_number(function(model.eval())))
        return torch.tensor(found, dtype=torch.float64)


def evaluated_copy(model: nn.Module) -> nn.Module:
    """A copy of a model, without what wraps it: evaluations change neither the model nor its mode."""
    check_kind("the model", model, nn.Module, hint="Pass the model itself, not its parameters or its state.")
    return own_copy(inner_model(model)).eval()


@dataclasses.dataclass(frozen=True)
class MeanLoss:
    """The mean loss of a model on some data.

    Args:
        loss: The loss and its data.
    """

    loss: TaskLoss

    def __call__(self, model: nn.Module) -> float:
        """The mean loss at the weights that the model has."""
        risk = self.loss.risk(model, _one_parameter(model))
        return float(risk(risk.w0))


def _are_data(evaluations: Mapping[str, Any]) -> bool:
    """Whether all entries are data, whose mean loss the model itself gives, and none is a function."""
    return not any(callable(entry) for entry in evaluations.values())


def _named(loss: Any) -> str:
    """The name of a function, or of the class of an object: another loss has another name."""
    return getattr(loss, "__qualname__", type(loss).__qualname__)


def _one_parameter(model: nn.Module) -> ParameterSpace:
    """Any one parameter, with all its names: a loss is a landscape, and here it is read at one point alone."""
    everything = named_tensors(model)
    first = next((tensor for tensor in everything.values() if tensor.is_floating_point()), None)
    return ParameterSpace.of(model, [name for name, tensor in everything.items() if tensor is first])


def _functions(evaluations: Mapping[str, Any]) -> dict[str, Callable[[nn.Module], Any]]:
    for name, function in evaluations.items():
        if not callable(function) or isinstance(function, nn.Module | type):
            raise InputError(
                expected=f"a function of the model for {name!r}", got=type(function).__name__,
                hint="Pass f with f(model) -> number. To take the mean loss on data, pass criterion= or losses= too.",
            )  # fmt: skip
    return dict(evaluations)


def _direction(higher_is_better: bool | None) -> bool:
    if not isinstance(higher_is_better, bool):
        raise InputError(
            expected="higher_is_better=True or higher_is_better=False", got=repr(higher_is_better),
            hint="Pass True for accuracies, False for losses and errors.",
        )  # fmt: skip
    return higher_is_better
