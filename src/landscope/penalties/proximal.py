"""Penalties in any training loop: one implicit step of the penalty after every step of the optimiser."""

from __future__ import annotations

import contextlib
import glob
import math
import weakref
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from landscope._checks import check_count, check_hooked, check_kind, check_vector
from landscope.errors import InputError, NonFiniteError
from landscope.full_precision import full_precision
from landscope.optimizer_steps import ends_step, is_nested
from landscope.parameters import ParameterSpace, Selection, named_tensors
from landscope.penalties.questions import Asking, answered, asking_step, together, value_of
from landscope.penalties.step_bound import largest_step_size
from landscope.penalties.warnings import WarnsIfUnused, warn, warn_of_statistics
from landscope.protocols import Penalty
from landscope.sharded import assign, whole
from landscope.shown import in_lines
from landscope.step_size import MovedWeights, StepSizes

__all__ = ["ProximalSteps", "check_optimizer", "times_held"]


@runtime_checkable
class AdaptedStrength(Protocol):
    """What adapts the strength of a penalty from step to step."""

    factor: float

    @property
    def needs_value(self) -> bool:
        """Whether it reads the value of the penalty; where not, it is given NaN, and nothing waits for a GPU."""
        ...

    @property
    def holds_statistics(self) -> bool:
        """Whether running statistics go back too, where the weights that it returns do."""
        ...

    def follow(
        self,
        value: float,
        weights: Tensor,
        at: Callable[[Tensor], contextlib.AbstractContextManager[nn.Module]],
        *,
        moved: float | None = None,
    ) -> Tensor:
        """Adapt the factor by the value of the penalty after a step; return the weights to take.

        ``at(w)`` is a context in which the model has other weights. The weights are those that a user evaluates; where
        the optimiser moves others, ``moved`` is the value of the penalty there.
        """
        ...

    def last(self, weights: Tensor, at: Callable[[Tensor], contextlib.AbstractContextManager[nn.Module]]) -> Tensor:
        """The weights to end with."""
        ...


_ACTIVE: weakref.WeakSet[ProximalSteps] = weakref.WeakSet()
"""The entered instances."""
_TIMES_HELD = WeakIdKeyDictionary()
"""Number of instances that were entered on each parameter."""


class ProximalSteps(WarnsIfUnused):
    r"""Takes the implicit step of a penalty after each ``optimizer.step()``.

    .. math:: w \leftarrow \arg\min_u V(u) + \sum_j \frac{(u_j - w_j)^2}{2\alpha_j}

    with the current step size :math:`\alpha_j` of each weight, so that it follows learning-rate schedules, and several
    learning rates. A stiff penalty that is added to a loss makes training diverge (:math:`\alpha \lambda k > 1`).
    Implicit steps are stable at any strength, and the weights come to rest at the minimum of loss plus penalty. For SGD
    with momentum the step size is :math:`\alpha = \mathrm{lr} (1 - \mathrm{dampening}) / (1 - \mathrm{momentum})`. For
    Adam, AdamW, RMSprop and Adafactor it is :math:`\alpha_j = \mathrm{lr} / (\sqrt{v_j} + \epsilon)`, with v the mean
    squares of the gradients as the optimiser has them; for Lion, whose steps have no scale, that of its mean step, see
    ``landscope.step_size.StepSizes``. A schedule-free optimiser moves other weights than the model has; the implicit
    step is taken on those, and the weights of the model follow. Decoupled weight decay, as in AdamW, acts on top: it
    pulls by :math:`\mathrm{lr} \, \mathrm{decay} \, w_j`, whatever the gradients.

    The steps are taken in a hook of the optimiser, so they work in any loop, with gradient accumulation and mixed
    precision; a step that a gradient scaler skips is skipped here too. A recorder sees the weights after both steps.

    An implicit step of Kronecker products costs some products of matrices for each layer, much more than a step of SGD
    in a wide network. ``every=m`` takes one after every m steps of the optimiser, with the sum of their step sizes: it
    costs a share 1/m, and the weights come to rest at the same place where the gradient of the loss changes little
    within m steps. In between they are not held.

    Args:
        penalty: Penalty on the selected weights.
        model: The model in training.
        optimizer: Optimiser of the model.
        select: Parameters of the penalty, see :meth:`landscope.ParameterSpace.of`; by default those that it names.
        adapted: What adapts the strength from step to step: the penalty is multiplied by its ``factor``, and after
            every implicit step its ``follow`` returns the weights to take.
        every: Steps of the optimiser for each implicit step; those that are left at the end of the ``with`` block get
            one too.

    Raises:
        InputError: If the penalty is on other weights, or the optimiser does not hold all of them.
        NonFiniteError: During training, if the weights became NaN or infinite; they stay as the optimiser left them.

    Warns:
        UserWarning: If the model updates running statistics (batch normalisation), which no penalty holds, and
            nothing measures what they do; or if the step size of the optimiser is not known.
        UnusedContextWarning: If it is never entered by ``with``.

    Example:
        >>> import torch
        >>> from landscope.penalties import QuadraticPenalty
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> penalty = QuadraticPenalty(anchor=torch.zeros(1), stiffness=torch.ones(1))
        >>> _ = model.weight.data.fill_(2.0)
        >>> with ProximalSteps(penalty, model, optimizer):
        ...     (0.0 * model.weight.sum()).backward()
        ...     optimizer.step()
        >>> model.weight.item()
        1.0
    """

    def __init__(
        self,
        penalty: Penalty,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        select: Selection | Iterable[Selection] | ParameterSpace | None = None,
        *,
        adapted: AdaptedStrength | None = None,
        every: int = 1,
    ) -> None:
        self.every = check_count("every", every, minimum=1)
        check_kind("the model", model, nn.Module, hint="Call ProximalSteps(penalty, model, optimizer).")
        optimizer = check_hooked(optimizer)
        self.space = _space_of(penalty, model, select)
        self._check_length(penalty)
        self._tensors = self.space.tensors(model)
        if adapted is None or not adapted.holds_statistics:
            warn_of_statistics(model)
        self._step_sizes = check_optimizer(self.space, self._tensors, optimizer)
        w = self._weights()
        self.penalty = penalty.to(w.device, w.dtype)
        self._optimizer, self._model, self._adapted = optimizer, model, adapted
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._first_hook: torch.utils.hooks.RemovableHandle | None = None
        self._start: Tensor | None = None
        """Weights before the step of an optimiser that may have a step size for each weight."""
        self._n_waiting = 0
        self._waiting: float | Tensor = 0.0
        """Steps of the optimiser since the last implicit step, and the sum of their step sizes."""
        self._step_size_unchecked = True
        self._largest: float | None = None
        self._unused = (
            "landscope.ProximalSteps was made but never entered, so it took no step; write `with "
            "ls.ProximalSteps(...):`"
        )

    def __repr__(self) -> str:
        return in_lines(
            f"ProximalSteps over {self.space.in_words}", penalty=type(self.penalty).__name__,
            optimizer=type(self._optimizer).__name__, every=self.every, active=self._hook is not None,
        )  # fmt: skip

    def __enter__(self) -> ProximalSteps:
        self._unused = ""  # also where an error follows: it was entered
        if self._hook is None:
            self._check_alone()
            self._hook = self._optimizer.register_step_post_hook(self._after_step)
            # First of all hooks, so that a recorder that was entered earlier also sees the weights after this step.
            self._optimizer._optimizer_step_post_hooks.move_to_end(self._hook.id, last=False)  # ty: ignore[missing-attribute] - typed as a dict
            if not isinstance(self._optimizer, torch.optim.SGD):
                self._first_hook = self._optimizer.register_step_pre_hook(self._before_step)
            _ACTIVE.add(self)
            for tensor in self._tensors:
                _TIMES_HELD[tensor] = times_held(tensor) + 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        if kind is None:  # an error of the user's loop comes first
            self._finish()

    def close(self) -> None:
        """Stop taking steps; called by the ``with`` statement."""
        if self._hook is not None:
            self._hook.remove()
            if self._first_hook is not None:
                self._first_hook.remove()
            self._hook = self._first_hook = self._start = None
            _ACTIVE.discard(self)

    def _check_length(self, penalty: Penalty) -> None:
        if penalty.dim != self.space.dim:
            raise InputError(
                expected=f"a penalty on the {self.space.dim} selected parameters, {', '.join(self.space.names)}",
                got=f"a penalty on {penalty.dim}",
                hint="Pass the select= of the penalty, or make the penalty with parameters=space.names.",
            )

    def _check_alone(self) -> None:
        """Raise if another penalty takes implicit steps on some of these weights: two in sequence are not the sum."""
        ours = {id(tensor) for tensor in self._tensors}
        for other in _ACTIVE:
            if other._optimizer is self._optimizer and ours & {id(tensor) for tensor in other._tensors}:
                raise InputError(
                    expected="one ProximalSteps on these weights",
                    got="a second ProximalSteps",
                    hint="Add the penalties with ls.penalties.PenaltySum. Of two memories keep one: a memory holds "
                    "several tasks, each by memory.consolidate(...).",
                )

    @torch.no_grad()
    def value(self) -> float:
        """The penalty V at the current weights."""
        return float(self.penalty(self._weights()))

    @torch.no_grad()
    def _before_step(self, *_: object) -> None:
        if not is_nested(self._optimizer) and self._n_waiting == 0:
            self._start = MovedWeights(self._optimizer, self._tensors).flat()

    @torch.no_grad()
    def _after_step(self, *_: object) -> None:
        if not ends_step(self._optimizer):
            return
        self._waiting = self._step_sizes.after_step() + self._waiting
        self._n_waiting += 1
        if self._n_waiting == self.every:
            self._hold()

    def _hold(self) -> None:
        """Take one implicit step for all steps of the optimiser since the last one."""
        sizes, self._waiting, self._n_waiting = self._waiting, 0.0, 0
        if not isinstance(sizes, Tensor) and not sizes:  # the first step of a warm-up
            return
        moved = MovedWeights(self._optimizer, self._tensors)
        try:
            with full_precision():
                is_moved, (weights, value) = answered(self._asking_step(moved, sizes))
        except NonFiniteError as error:
            raise NonFiniteError(
                expected="finite weights after a step of the optimiser",
                got=error.got,
                hint="Lower the learning rate or check that minibatch, and continue from saved weights.",
            ) from error
        if not is_moved:
            return
        self._warn_if_unknown()
        moved.set(weights)
        if self._adapted is not None:
            evaluated, there = weights, value
            if not moved.are_evaluated:
                evaluated = moved.evaluated()
                there = float(self.penalty(evaluated)) if self._adapted.needs_value else value
            if (allowed := self._adapted.follow(there, evaluated, self._at, moved=value)) is not evaluated:
                moved.set_evaluated(allowed)

    def _asking_step(self, moved: MovedWeights, sizes: float | Tensor) -> Asking[list[Any]]:
        """Whether any weight moves; the weights after the step, and the penalty there where that is needed."""
        w, factor = moved.flat(), 1.0 if self._adapted is None else self._adapted.factor
        bounded = self._bounded(sizes * factor)  # lambda and alpha enter as their product
        return (yield from together([_asking_whether(w, sizes), self._asking_end(w, bounded)]))

    def _asking_end(self, w: Tensor, sizes: float | Tensor) -> Asking[tuple[Tensor, float]]:
        weights, value = (yield from asking_step(self.penalty, w, sizes, self._start)), math.nan
        if self._adapted is not None and self._adapted.needs_value:
            (value,) = yield [value_of(self.penalty, weights)]
        return weights, value

    def _warn_if_unknown(self) -> None:
        """Say once that the step rule of the optimiser is not known."""
        if self._step_size_unchecked and not self._step_sizes.are_known():
            warn(
                f"the step size of {type(self._optimizer).__name__} is not known, so its learning rate is used; the "
                "strength has another scale than with SGD or Adam and must be tuned"
            )
        self._step_size_unchecked = False

    def _bounded(self, sizes: float | Tensor) -> float | Tensor:
        """Step sizes of single weights, at most as large as the precision allows."""
        if not isinstance(sizes, Tensor):
            return sizes
        if self._largest is None:
            self._largest = largest_step_size(self.penalty, self._weights())
        return sizes.clamp(max=self._largest)

    @torch.no_grad()
    def _finish(self) -> None:
        """Hold what is left, and take the weights that the last measurement allows."""
        if self._n_waiting:
            self._hold()
        if self._adapted is not None:
            moved = MovedWeights(self._optimizer, self._tensors)
            weights = moved.evaluated()
            if (allowed := self._adapted.last(weights, self._at)) is not weights:
                moved.set_evaluated(allowed)

    @contextlib.contextmanager
    def _at(self, w: Tensor) -> Generator[nn.Module]:
        """The model with other weights, within the context."""
        kept = [tensor.detach().clone() for tensor in self._tensors]
        try:
            assign(self._model, self._tensors, self.space.unflatten(w).values())
            yield self._model
        finally:
            assign(self._model, self._tensors, kept)

    def _weights(self) -> Tensor:
        return torch.cat([whole(tensor.detach()).reshape(-1) for tensor in self._tensors])


def _asking_whether(w: Tensor, sizes: float | Tensor) -> Asking[bool]:
    """Whether any step size is above 0, where the weights are finite.

    Raises:
        NonFiniteError: If they are not.
    """
    total, *any_size = yield [w.sum(), *([sizes.any()] if isinstance(sizes, Tensor) else [])]
    if not math.isfinite(total):
        check_vector("w", w, dim=len(w))  # a sum of finite weights may be infinite
    return bool(any_size[0]) if any_size else True


def times_held(parameter: Tensor) -> int:
    """How often steps of a penalty on a parameter began."""
    return _TIMES_HELD.get(parameter, 0)


def _space_of(
    penalty: Penalty, model: nn.Module, select: Selection | Iterable[Selection] | ParameterSpace | None
) -> ParameterSpace:
    if not isinstance(penalty, Penalty):
        raise InputError(
            expected="a penalty",
            got=type(penalty).__name__,
            hint="Pass the result of ls.penalties.landscape_dependent_constraint(...), for example.",
        )
    names = tuple(penalty.parameters)
    if select is None and names:
        present = named_tensors(model)
        if missing := [name for name in names if name not in present]:
            raise InputError(
                expected=f"a model with the parameters of the penalty, {', '.join(names)}",
                got=f"a model without {', '.join(missing)}",
                hint="Pass the model of the earlier task, or select= if names have changed.",
            )
        tied = [other for name in names for other, tensor in present.items() if tensor is present[name]]
        space = ParameterSpace.of(model, [glob.escape(name) for name in tied])
        if space.names != names:
            raise InputError(
                expected=f"a model with its parameters in the order {', '.join(names)}",
                got=", ".join(space.names),
                hint="Register the layers in the order of the earlier model, because the penalty is on one vector.",
            )
        return space
    return ParameterSpace.of(model, select)


def check_optimizer(space: ParameterSpace, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> StepSizes:
    """Return the step sizes of an optimiser that holds all selected parameters.

    Raises:
        InputError: If it does not hold one of them, or has no learning rate.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = list(zip(space.names, tensors, strict=True))
    if frozen := [name for name, tensor in named if not tensor.requires_grad]:
        raise InputError(
            expected=f"held weights that are trained, {', '.join(space.names)}",
            got=f"frozen ones, {', '.join(frozen)}",
            hint="Freeze layers before you call ls.keep or make the memory or the penalty, which then leaves them out, "
            "or pass select= with the weights that are trained.",
        )  # fmt: skip
    if missing := [name for name, tensor in named if id(tensor) not in held]:
        raise InputError(
            expected=f"an optimiser that holds all of {', '.join(space.names)}",
            got=f"an optimiser without {', '.join(missing)}",
            hint="Make the optimiser from all of these parameters of this model object. To train some of them alone, "
            "freeze the others before you call ls.keep or make the memory, or pass select=.",
        )
    return StepSizes(optimizer, tensors)
