"""The first step of a training that goes on: is it the optimiser's step along the gradient of its minibatch?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.optimizer_steps import ends_step, shared_rate
from landscope.risk.data import call_model, is_pair_of_tensors
from landscope.seeded import seeded
from landscope.study.checkpoints import fresh_copy
from landscope.study.modes_of_modules import modules_in_eval
from landscope.study.subject import Subject

__all__ = ["FirstStep"]

_SAME = 1e-2
"""Relative difference of two gradients below which they are the same: float32 sums over a minibatch in any order."""
_PARALLEL = 0.99
_COMPARED = 2
"""Steps whose gradients are compared; gradients that are never set to zero show in the second."""


class FirstStep:
    """Watches a model and its optimiser until the first step was taken, and counts the further ones.

    Args:
        model: The model that a user's function trains.
        subject: The study's loss and data.
        batch_size: Samples in a minibatch of the recorded training; None if unknown.
        compare: Whether to compare the step with the gradient; without it, steps are counted.
    """

    def __init__(self, model: nn.Module, subject: Subject, batch_size: int | None, *, compare: bool = True) -> None:
        self._model, self._subject, self._batch_size, self._compare = model, subject, batch_size, compare
        self._inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._is_busy, self._expected = False, dict[Tensor, Tensor | None]()
        self._before: dict[Tensor, Tensor] = {}
        self.taken, self.eval_modules, self.rates = 0, list[str](), set[float]()
        self._groups: Sequence[dict[str, Any]] = ()
        self._earlier: Tensor | None = None
        self.unknown = ""
        """Why the first step was not compared with the gradient of its minibatch, or how it differs; empty if equal."""
        self._hooks = contextlib.ExitStack()
        if compare:
            self._hooks.callback(model.register_forward_pre_hook(self._see, with_kwargs=True).remove)

    def watch(self, optimizer: torch.optim.Optimizer, groups: Sequence[dict[str, Any]]) -> None:
        """Follow an optimiser of the model, and the learning rate of some of its parameter groups."""
        self._groups = groups
        self._hooks.callback(optimizer.register_step_pre_hook(self._before_step).remove)
        self._hooks.callback(optimizer.register_step_post_hook(self._after_step).remove)

    def close(self) -> None:
        """Remove the hooks."""
        self._hooks.close()

    def _see(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.taken < _COMPARED and not self._is_busy and torch.is_grad_enabled() and len(self._inputs) < 2:
            self._inputs.append((args, kwargs))

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if not self.taken:
            self.eval_modules = modules_in_eval(self._model)
        if self.taken >= _COMPARED or not self._compare:
            return
        if len(args) > 1 or kwargs.get("closure") is not None:  # the optimiser itself is the first
            self.unknown = "its optimiser calls a function for the gradient"
            return
        self._is_busy = True
        try:
            self.unknown = self.unknown or self._compared()
        finally:
            self._is_busy = False
        if not self.taken and type(optimizer) is torch.optim.SGD:
            self._foresee(optimizer)

    @torch.no_grad()
    def _foresee(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                if "momentum_buffer" not in optimizer.state.get(tensor, {}) and not tensor.is_sparse:
                    self._before[tensor] = tensor.detach().clone()
                    self._expected[tensor] = _first_sgd_step(tensor, group)

    @torch.no_grad()
    def _after_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not ends_step(optimizer):  # within another step, or left out by a scaler
            return
        self.taken += 1
        self.rates.add(shared_rate(self._groups))
        for tensor, expected in self._expected.items():
            before = self._before[tensor]
            moved, length = tensor - before, torch.linalg.vector_norm(before)
            missed = moved if expected is None else moved - expected
            allowed = 1e-3 * torch.linalg.vector_norm(moved) + 8 * torch.finfo(moved.dtype).eps * length
            if bool(torch.linalg.vector_norm(missed) > allowed):
                raise InputError(
                    expected="a first step of SGD: the learning rate times the gradient, with the options of its group",
                    got="another step",
                    hint="Let train_on leave the weights alone within a step of the optimiser.",
                )
        self._expected, self._before, self._inputs = {}, {}, []

    def _compared(self) -> str:
        """Compare the gradient with that of the criterion on the same samples; why that cannot be done, or the result.

        Raises:
            InputError: If the minibatch has another size, or the gradient is a multiple of the criterion's.
        """
        subject = self._subject
        if subject.criterion is None or not is_pair_of_tensors(subject.data):
            return "the loss is losses=, or the data are no pair of tensors"
        if len(self._inputs) != 1:
            return "the model was called several times, or with another object, before the first step"
        args, kwargs = self._inputs[0]
        if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
            return "the model takes more than one tensor"
        rows = _rows_of(args[0], subject.data[0])
        if rows is None:
            return "its inputs are not samples of the data of the study"
        if self._batch_size is not None and len(rows) != self._batch_size:
            raise InputError(
                expected=f"minibatches of {self._batch_size} samples, as in the recorded training",
                got=f"a first minibatch of {len(rows)}",
                hint="Let train_on draw minibatches of the same size, or correct batch_size= of the study.",
            )
        return self._against_criterion(args[0], subject.data[1][rows], subject.criterion)

    def _against_criterion(self, inputs: Tensor, targets: Tensor, criterion: Callable[..., Any]) -> str:
        own = [p.grad for p in self._model.parameters() if p.requires_grad and p.grad is not None]
        try:
            expected = [self._gradient(inputs, targets, criterion, seed) for seed in (0, 1)]
        except Exception as error:  # noqa: BLE001 - of the user's model
            return f"the criterion cannot be called on its minibatch ({type(error).__name__})"
        if any(not _are_close(*pair) for pair in zip(*expected, strict=True)):
            return "the loss draws random numbers, as dropout does"
        if len(own) != len(expected[0]):
            return "its gradient has other parts than that of the criterion"
        found, exact = (torch.cat([part.reshape(-1).double().cpu() for part in parts]) for parts in (own, expected[0]))
        length, earlier, self._earlier = torch.linalg.vector_norm(exact), self._earlier, found
        if not bool(length > 0) or bool(torch.linalg.vector_norm(found - exact) <= _SAME * length):
            return ""
        if earlier is not None and bool(torch.linalg.vector_norm(found - earlier - exact) <= _SAME * length):
            raise InputError(
                expected="a step along the gradient of its minibatch", got="the sum of this gradient and the last one",
                hint="Let train_on call optimizer.zero_grad() before each backward().",
            )  # fmt: skip
        ratio = float(torch.linalg.vector_norm(found) / length)
        cosine = float(found @ exact / (torch.linalg.vector_norm(found) * length))
        if cosine > _PARALLEL and ratio > 1 + 5 * _SAME:
            raise InputError(
                expected="a step along the gradient of the study's criterion on its minibatch",
                got=f"a gradient {ratio:.3g} times as long",
                hint="Let train_on take the loss of the study as it is: at the same learning rate, a sum in place of a "
                "mean takes other steps.",
            )
        return f"it is not that of the criterion: {ratio:.2g} times as long, at a cosine of {cosine:.2g}"

    def _gradient(self, inputs: Tensor, targets: Tensor, criterion: Callable[..., Any], seed: int) -> list[Tensor]:
        twin = fresh_copy(self._model)
        for module, like in zip(twin.modules(), self._model.modules(), strict=True):
            module.training = like.training
        for tensor, like in zip(twin.parameters(), self._model.parameters(), strict=True):
            tensor.requires_grad_(like.requires_grad)
        moving = [
            tensor
            for tensor, like in zip(twin.parameters(), self._model.parameters(), strict=True)
            if like.requires_grad and like.grad is not None
        ]
        with seeded(seed), torch.enable_grad():
            loss = criterion(call_model(twin, inputs.detach()), targets.to(inputs.device))
            loss = loss[0].sum() / loss[1].sum() if isinstance(loss, tuple) else loss.mean()
            return list(torch.autograd.grad(loss, moving))


def _are_close(one: Tensor, other: Tensor) -> bool:
    return bool(torch.linalg.vector_norm(one - other) <= _SAME * torch.linalg.vector_norm(one))


def _first_sgd_step(tensor: Tensor, group: dict[str, Any]) -> Tensor | None:
    """The step of SGD without a momentum yet; None for a tensor that has no gradient and rests."""
    if tensor.grad is None:
        return None
    gradient = -tensor.grad if group.get("maximize") else tensor.grad
    gradient = gradient + float(group.get("weight_decay") or 0) * tensor
    further = float(group.get("momentum") or 0) if group.get("nesterov") else 0.0
    return -float(group["lr"]) * (1 + further) * gradient


def _rows_of(batch: Tensor, inputs: Tensor) -> Tensor | None:
    """Places of samples in the data, bit for bit; None where one is not there, or there twice."""
    if batch.dtype != inputs.dtype or not batch.ndim or not len(batch) or batch[0].numel() != inputs[0].numel():
        return None
    wanted = _bytes_of(batch)
    looked = set(wanted)
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(_bytes_of(inputs)):
        if row in looked:
            places.setdefault(row, []).append(place)
    if any(len(places.get(row, ())) != 1 for row in wanted):
        return None
    return torch.tensor([places[row][0] for row in wanted])


def _bytes_of(rows: Tensor) -> list[bytes]:
    flat = rows.detach().cpu().contiguous().reshape(len(rows), -1).view(torch.uint8).numpy()
    return [row.tobytes() for row in flat]
