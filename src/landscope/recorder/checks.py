"""What a recorder checks: that the model still uses the recorded tensors, and that each row is after a whole step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from landscope._checks import check_count, device_with_float64
from landscope.errors import InputError, LandscopeWarning
from landscope.notices import warn
from landscope.optimizer_steps import inner_optimizers, is_nested
from landscope.parameters import inner_model
from landscope.recorder.transfer import Transfer
from landscope.sharded import own_part

__all__ = [
    "HalfStepWatch",
    "RecordedPlaces",
    "check_last",
    "check_optimizer",
    "fingerprint",
    "first_step_of",
    "warn_frozen",
]

_OBSERVED = 6
"""Steps that are observed: three to a perturbed point and three back."""
_FEWEST = 8
"""Fewest weights; the change of a single one always lies along its gradient."""
_ALONG = 0.99
"""Least cosine between a change of the weights and the gradient that is taken for a step uphill."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint(tensors: Sequence[Tensor]) -> list[int]:
    """A number for each tensor that changes when a training moves it: the sum of its bits as integers."""
    own = map(own_part, tensors)
    return [int(tensor.view(_INTEGERS[tensor.element_size()]).sum()) for tensor in own]


class RecordedPlaces:
    """The places of the recorded tensors in a model, to see at little cost whether they are still there.

    Args:
        model: The model.
        names: Names of the tensors.
        tensors: The tensors.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        self._model, self._names, self._tensors = model, names, tensors
        self._shapes = [tensor.shape for tensor in tensors]
        self._find()

    def _find(self) -> None:
        """Note one place of each tensor, and the modules on the way to it."""
        wanted, root = set(map(id, self._tensors)), inner_model(self._model)
        self._places: list[tuple[nn.Module, str, Tensor]] = []
        edges: dict[tuple[int, str], tuple[nn.Module, str, nn.Module]] = {}
        for path, module in root.named_modules():
            local = [(name, tensor) for name, tensor in module._parameters.items() if id(tensor) in wanted]
            if not local:
                continue
            for name, tensor in local:
                assert tensor is not None  # noqa: S101 - its id is that of a recorded tensor
                wanted.discard(id(tensor))
                self._places.append((module, name, tensor))
            parent = root
            for name in path.split(".") if path else ():
                child = parent.get_submodule(name)
                edges[id(parent), name] = (parent, name, child)
                parent = child
        self._edges = list(edges.values())

    def check(self, step: int) -> None:
        """Raise if the model no longer uses a recorded tensor, which rows would show at rest, or in another shape.

        New values of a tensor, also by ``p.data = ...``, are followed; so is a layer that moved within the model.

        Args:
            step: Number of the step that was taken.

        Raises:
            InputError: If a tensor is not in the model, or has another shape.
        """
        for name, tensor, shape in zip(self._names, self._tensors, self._shapes, strict=True):
            if tensor.shape != shape:
                raise InputError(
                    expected=f"{name} of shape {tuple(shape)} in all steps",
                    got=f"{tuple(tensor.shape)} in step {step}",
                    hint="Record the training after the change with a new recorder.",
                )
        self._check_there(step)

    def _check_there(self, step: int) -> None:
        for module, name, tensor in self._places:
            if module._parameters.get(name) is not tensor:
                break
        else:
            for parent, name, child in self._edges:
                if parent._modules.get(name) is not child:
                    break
            else:
                return
        there = set(map(id, inner_model(self._model).parameters()))
        gone = [name for name, tensor in zip(self._names, self._tensors, strict=True) if id(tensor) not in there]
        if gone:
            raise InputError(
                expected=f"the recorded parameters in the model at step {step}",
                got=f"a model in which {', '.join(gone)} was replaced",
                hint="The rows before are kept. Change the values in place, as by p.data.copy_(...), or make a new "
                "optimiser and a new recorder after the change.",
            )
        self._find()


class HalfStepWatch:
    """Sees whether the optimiser calls ``step()`` twice for each step: to a perturbed point, and on from there.

    Sharpness-aware optimisers do so, and every second row is then a perturbed point. There are two signs. A wrapper
    takes some steps without a step of the optimiser that it holds. Or, in the first steps, every second change of the
    weights points along the gradient, uphill, and the ones between downhill.

    Args:
        optimizer: The optimiser that is recorded.
        tensors: The recorded tensors.
        every: Steps between two rows.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor], every: int) -> None:
        self._optimizer, self._tensors, self._every = optimizer, tensors, every
        self._inner = inner_optimizers(optimizer)
        self._hooks: list[RemovableHandle] = []
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []
        self._moves: list[Tensor] = []
        """Of each step, the product of its change with the gradient, and the squares of both."""
        self._answer: tuple[int, Transfer] | None = None
        """The last observed step, and what was observed, on its way from the device."""
        self._with_inner: set[bool] = set()
        self._has_inner_step = False

    def start(self) -> None:
        """Observe the next steps."""
        self._before, self._moves, self._answer = [], [], None
        self._hooks = [self._optimizer.register_step_pre_hook(self._before_step)]
        self._hooks += [inner.register_step_post_hook(self._after_inner) for inner in self._inner]

    def stop(self) -> None:
        """Observe no further step."""
        while self._hooks:
            self._hooks.pop().remove()
        if self._answer is not None:
            self._judge(*self._answer)

    def _after_inner(self, *_: object) -> None:
        self._has_inner_step = True

    def _before_step(self, *_: object) -> None:
        if self._inner or self._answer is not None or is_nested(self._optimizer):
            return
        self._before = [
            (tensor, own_part(tensor).clone(), own_part(tensor.grad).clone())
            for tensor in self._tensors
            if tensor.grad is not None and not tensor.grad.is_sparse
        ]

    def after_step(self, step: int) -> None:
        """Take note of a step that was taken.

        Args:
            step: Its number.

        Warns:
            LandscopeWarning: Once, if steps are taken in two halves.
        """
        if not self._hooks:
            return
        if self._inner:
            self._with_inner.add(self._has_inner_step)
            self._has_inner_step = False
            if len(self._with_inner) == 2:
                inner = type(self._inner[0]).__name__
                self._say(f"Some of these calls made no step of the {inner} that it holds. Pass that one to the "
                          "recorder, such as optimizer.base_optimizer.")  # fmt: skip
            return
        if self._answer is None:
            self._moves.append(self._move())
            if len(self._moves) < _OBSERVED:
                return
            self._answer = (step, Transfer(torch.stack(self._moves)))
        if self._answer[1].has_arrived:
            self.stop()

    def _judge(self, step: int, moves: Transfer) -> None:
        """Say it if the observed steps, of which this was the last, are halves of steps."""
        self._answer = None
        uphill = [inner > _ALONG * math.sqrt(change * slope) for inner, change, slope in moves.wait()[0].tolist()]
        alternate = all(up == (uphill[0] == (number % 2 == 0)) for number, up in enumerate(uphill))
        uphill_is_even = (step % 2 == 0) == uphill[-1]
        if alternate and (self._every % 2 or uphill_is_even):
            self._say("Every second call moves the weights along the gradient, uphill. Record with every=2 and an odd "
                      "first_step.")  # fmt: skip

    def _move(self) -> Tensor:
        """What tells whether the weights moved along the gradient; zeros where too few have one.

        Nothing waits for it.
        """
        changes = [(own_part(tensor) - weights, gradient) for tensor, weights, gradient in self._before]
        self._before = []
        device = device_with_float64(self._tensors[0].device)
        found = torch.zeros(3, dtype=torch.float64, device=device)
        if sum(gradient.numel() for _, gradient in changes) < _FEWEST:
            return found
        for change, gradient in changes:
            products = (change * gradient, change * change, gradient * gradient)
            found += torch.stack([product.sum(dtype=torch.float32) for product in products]).to(found)
        return found

    def _say(self, sign: str) -> None:
        self.stop()
        warn(
            f"{type(self._optimizer).__name__} seems to call step() twice for each step, as sharpness-aware optimisers "
            f"do: to a perturbed point and back, so that rows are perturbed points. {sign}",
            LandscopeWarning,
        )


def warn_frozen(names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Say so if no recorded tensor requires a gradient."""
    if not any(tensor.requires_grad for tensor in tensors):
        warn(
            f"None of the selected parameters requires a gradient: {', '.join(names)}. As long as they are frozen they "
            "do not move, and there is nothing to analyse.",
            LandscopeWarning,
        )


def check_optimizer(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Raise if another optimiser moves selected weights: its steps and learning rates would not be recorded."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    named = zip(names, tensors, strict=True)
    missing = [name for name, tensor in named if tensor.requires_grad and id(tensor) not in held]
    if held.isdisjoint(map(id, tensors)):
        raise InputError(
            expected=f"an optimiser of {', '.join(names)}",
            got="an optimiser that holds none of them",
            hint="Make the optimiser from the parameters of this very model object.",
        )
    if missing:
        raise InputError(
            expected="an optimiser of every selected parameter that requires a gradient",
            got=f"one without {', '.join(missing)}",
            hint="Select what this optimiser trains, and record each optimiser in a place of its own. Call "
            "requires_grad_(False) on parameters that stay as they are.",
        )


def check_last(last: int | None, path: str | Path | None) -> None:
    """Raise unless ``last`` is a number of rows in memory."""
    if last is None:
        return
    check_count("last", last, minimum=1)
    if path is not None:
        raise InputError(
            expected="last in memory, or a path", got="both", hint="Cut the trajectory on disk with .window(...)."
        )


def first_step_of(first_step: int | None, resume: bool) -> int:
    """Number of the next step: 1 unless another is given."""
    if resume and first_step is None:
        raise InputError(
            expected="first_step, the number of the next step, when resuming",
            got="none",
            hint="Rows from that step on are recorded again; pass first_step=last_step + 1 to keep all.",
        )
    return check_count("first_step", 1 if first_step is None else first_step, minimum=0)
