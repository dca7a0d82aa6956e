"""A penalty in anybody's training loop: one implicit step of it after every step of the optimiser."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_hooked, check_kind
from landscope.errors import InputError, NonFiniteError
from landscope.parameters import ParameterSpace, Selection
from landscope.protocols import Penalty
from landscope.step_size import is_known, step_size, was_skipped

__all__ = ["ProximalSteps", "check_optimizer", "warn_of_statistics"]


class ProximalSteps:
    r"""Takes the implicit step of a penalty after each ``optimizer.step()``.

    .. math:: w \leftarrow \arg\min_u V(u) + \frac{|u - w|^2}{2\alpha}

    with the step size :math:`\alpha` of the moment, so that schedules are followed. Added to a loss, a stiff penalty
    makes the training diverge (:math:`\alpha \lambda k > 1`); this is stable at any strength, and comes to rest where
    training on loss plus penalty would. For SGD with momentum that needs
    :math:`\alpha = \mathrm{lr} (1 - \mathrm{dampening}) / (1 - \mathrm{momentum})`. Adam and its kin have a step size
    for each weight; with :math:`\alpha = \mathrm{lr} / (\langle \sqrt{v} \rangle + \epsilon)`, v their mean squared
    gradients and the mean over weights, lambda keeps its meaning, but they come to rest near that place, not at it.

    It hooks the optimiser, so one line serves any loop, gradient accumulation and mixed precision; a step that a
    gradient scaler skips is skipped here too. A recorder sees the weights after both steps.

    Args:
        penalty: On the selected weights.
        model: The model in training.
        optimizer: Its optimiser, with one learning rate for the selected weights.
        select: Which parameters, see :meth:`landscope.ParameterSpace.of`; those the penalty names by default.

    Raises:
        InputError: If the penalty is on other weights, or the optimiser does not hold all of them.
        NonFiniteError: While training, if the weights became NaN or infinite; they are left as the optimiser made them.

    Warns:
        UserWarning: If the model takes running statistics (batch normalisation): they are no weights, and go over to
            the next task unheld; if the steps of the optimiser are of no length that is known; or if it is thrown away
            without having been entered by ``with``.

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
    ) -> None:
        check_kind("the model", model, nn.Module, hint="Call ProximalSteps(penalty, model, optimizer).")
        check_hooked(optimizer)
        self.space = _space_of(penalty, model, select)
        self._check_length(penalty)
        self._tensors = self.space.tensors(model)
        warn_of_statistics(model)
        self._groups = check_optimizer(self.space, self._tensors, optimizer)
        w = self._weights()
        self.penalty = penalty.to(w.device, w.dtype)
        self._optimizer = optimizer
        self._hook: torch.utils.hooks.RemovableHandle | None = None
        self._unused = self._unasked = True

    def __enter__(self) -> ProximalSteps:
        if self._hook is None:
            self._check_alone()
            self._hook = self._optimizer.register_step_post_hook(self._after_step)
            # Before all others, so that a recorder that was entered earlier sees the weights after this step too.
            self._optimizer._optimizer_step_post_hooks.move_to_end(self._hook.id, last=False)  # ty: ignore[missing-attribute] - typed as a dict
        self._unused = False
        return self

    def __del__(self) -> None:
        if getattr(self, "_unused", False):
            warnings.warn(
                "a landscope.ProximalSteps was never entered, and took no step; write with ls.ProximalSteps(...):",
                UserWarning,
                stacklevel=2,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more steps; called by the ``with`` statement."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _check_length(self, penalty: Penalty) -> None:
        if penalty.dim != self.space.dim:
            raise InputError(
                expected=f"a penalty on the {self.space.dim} selected parameters, {', '.join(self.space.names)}",
                got=f"one on {penalty.dim}",
                hint="Pass the select= that it was made with, or parameters=space.names when making it.",
            )

    def _check_alone(self) -> None:
        """Raise if another penalty takes its own steps on some of these weights: one after another they are no sum."""
        ours = {id(tensor) for tensor in self._tensors}
        for hook in self._optimizer._optimizer_step_post_hooks.values():
            other = getattr(hook, "__self__", None)
            if isinstance(other, ProximalSteps) and ours & {id(tensor) for tensor in other._tensors}:
                raise InputError(
                    expected="one ProximalSteps on these weights",
                    got="a second one",
                    hint="Add penalties up by ls.penalties.PenaltySum.",
                )

    @torch.no_grad()
    def value(self) -> float:
        """V at the weights of the moment."""
        return float(self.penalty(self._weights()))

    @torch.no_grad()
    def _after_step(self, *_: object) -> None:
        if was_skipped(self._optimizer) or (rate := self._step_size()) == 0:  # a warm-up's first step moves nothing
            return
        if self._unasked:
            self._unasked = False
            _warn_of_steps(self._optimizer, self._tensors)
        try:
            held = self.penalty.proximal_step(self._weights(), rate)
        except NonFiniteError as error:
            raise NonFiniteError(
                expected="finite weights after a step of the optimiser",
                got=error.got,
                hint="Lower the learning rate, or look at that minibatch, and go on from weights that were saved.",
            ) from error
        for tensor, value in zip(self._tensors, self.space.unflatten(held).values(), strict=True):
            tensor.copy_(value)

    def _step_size(self) -> float:
        return step_size(self._optimizer, self._groups, self._tensors)

    def _weights(self) -> Tensor:
        return torch.cat([tensor.detach().reshape(-1) for tensor in self._tensors])


def _space_of(
    penalty: Penalty, model: nn.Module, select: Selection | Iterable[Selection] | ParameterSpace | None
) -> ParameterSpace:
    if not isinstance(penalty, Penalty):
        raise InputError(
            expected="a penalty",
            got=type(penalty).__name__,
            hint="Make one with penalties.landscape_dependent_constraint(...).",
        )
    names = tuple(penalty.parameters)
    if select is None and names:
        present = dict(model.named_parameters(remove_duplicate=False))
        if missing := [name for name in names if name not in present]:
            raise InputError(
                expected=f"a model with the parameters of the penalty, {', '.join(names)}",
                got=f"one without {', '.join(missing)}",
                hint="Pass the model of the earlier task (the one inside a compiled one), or select= for other names.",
            )
        tied = [other for name in names for other, tensor in present.items() if tensor is present[name]]
        space = ParameterSpace.of(model, [glob.escape(name) for name in tied])
        if space.names != names:
            raise InputError(
                expected=f"a model with its parameters in the order {', '.join(names)}",
                got=", ".join(space.names),
                hint="Register its layers in the order of the earlier model: a penalty is one vector.",
            )
        return space
    return ParameterSpace.of(model, select)


def warn_of_statistics(model: nn.Module) -> None:
    """Where layers take running statistics, which no penalty holds."""
    taking = [
        name
        for name, module in model.named_modules()
        if module.training and getattr(module, "track_running_stats", False) and hasattr(module, "running_mean")
    ]
    if taking:
        layers = ", ".join([*map(repr, taking[:3]), *(["..."] if len(taking) > 3 else [])])
        warnings.warn(
            f"the running statistics of layer {layers} are no weights: they go over to the next task, and no "
            "penalty holds them; put these layers in eval mode to keep them",
            UserWarning,
            stacklevel=4,
        )


def _warn_of_steps(optimizer: torch.optim.Optimizer, tensors: list[Tensor]) -> None:
    if not is_known(optimizer, tensors):
        warnings.warn(
            f"how far a step of {type(optimizer).__name__} goes is not known, and its learning rate is taken: the "
            "strength has another meaning than under SGD and Adam, and must be tried",
            UserWarning,
            stacklevel=2,
        )


def check_optimizer(
    space: ParameterSpace, tensors: list[Tensor], optimizer: torch.optim.Optimizer
) -> list[dict[str, Any]]:
    """The groups of an optimiser that hold some parameters.

    Args:
        space: Their names.
        tensors: The parameters.
        optimizer: Of all of them.

    Returns:
        Its groups.

    Raises:
        InputError: If it does not hold all of them, or has no one step size for them.
    """
    home = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    strangers = [
        name
        for name, tensor in zip(space.names, tensors, strict=True)
        if id(tensor) not in home or not tensor.requires_grad
    ]
    if strangers:
        raise InputError(
            expected=f"an optimiser that holds all of {', '.join(space.names)}",
            got=f"one without {', '.join(strangers)}",
            hint="Make it from this very model's parameters, none of them frozen: a penalty moves them all. Some may "
            "be frozen where its value is added to the loss instead: ls.TaskMemory(..., implicit=False).",
        )
    groups = list({id(home[id(tensor)]): home[id(tensor)] for tensor in tensors}.values())
    step_size(optimizer, groups, tensors)
    return groups
