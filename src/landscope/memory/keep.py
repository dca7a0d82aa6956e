"""One call that keeps what a model knows, also one that was trained elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from landscope._checks import check_choice, check_count, check_kind, check_positive, check_strength
from landscope.errors import InputError
from landscope.memory.methods.method import Method
from landscope.memory.methods.registry import resolve_method
from landscope.memory.task_memory import TaskMemory
from landscope.parameters import Selection

__all__ = ["keep"]


def keep(
    model: nn.Module,
    criterion: Callable[..., Any] | None = None,
    data: Any = None,
    *,
    losses: Callable[[nn.Module, Any], Any] | None = None,
    loss_options: Mapping[str, Any] | None = None,
    name: str | None = None,
    select: Selection | Iterable[Selection] | None = None,
    method: str | Method | None = "basin",
    budget: float | None = None,
    absolute: float = 0.01,
    samples: int = 100,
    at_end: bool = False,
    **options: Any,
) -> TaskMemory:
    """Keep what a model knows now, such as a pretrained one, while it is trained further.

    For a language model, first try :func:`landscope.memory.interpolation` between the old and the new weights, which
    needs no penalty; with ``at_end=True``, a budget chooses the point of that line.

    Args:
        model: The model, with the weights to keep.
        criterion: Loss of what it knows, ``criterion(outputs, targets)``; None with ``losses``. Leave out both for a
            model that computes its loss itself, ``model(**batch).loss``, as those of transformers do.
        data: A thousand samples of what it knows, or more: ``(inputs, targets)``, or batches, such as a ``DataLoader``;
            a mapping is passed to the model by keywords, without its ``labels``.
        losses: ``losses(model, batch)`` in place of a criterion; it gives the loss of each sample,
            ``(losses, weights)``, or ``(sum, count)``.
        loss_options: How the loss is evaluated: ``count`` (``count(batch)``, the number of samples or tokens of a loss
            that is a mean), ``cache_bytes`` (2**30) and, with ``losses``, ``seed`` (None) and ``mode`` (``"eval"``),
            see :meth:`landscope.EmpiricalRisk.from_closure`.
        name: Name of what it knows, "task 1" by default; see :meth:`landscope.TaskMemory.consolidate`.
        select: Weights to hold, by globs over names or classes of layers, see :meth:`landscope.ParameterSpace.of`; all
            trainable ones by default.
        method: How to hold them: ``"basin"``, ``"ewc"``, ``"kfac"``, ``"mas"`` or ``"l2"``, or with options
            :class:`landscope.memory.Basin`, ``EWC``, ``KFAC``, ``MAS`` or ``L2``; None to replay alone.
        budget: Share by which the loss of each task may rise, 0.05 for 5 %, see :meth:`landscope.TaskMemory.budget`; by
            default the strength is constant.
        absolute: Rise of the loss that is always allowed by a budget, for losses near zero.
        samples: With a budget, the number of samples on which the rise is measured.
        at_end: With a budget, whether it is held at the end of each training alone: the better choice for language
            models, see :meth:`landscope.TaskMemory.budget`.
        options: Further arguments of :class:`landscope.TaskMemory`, with these defaults. ``strength`` (1 for
            ``"basin"``; the others need one): factor of the penalty, tuned in factors of ten. ``replay`` (None):
            samples of earlier tasks that each step learns again, a number or :class:`landscope.memory.Replay`.
            ``ratio`` (e): loss at the edge of the basin over the loss now. ``follow_outputs`` (None: with ``"basin"``
            alone): whether the strength grows where outputs move far. ``rank`` (None: no limit): directions to keep
            for all tasks together. ``hold_every`` (1): steps of the optimiser for each implicit step, which costs much
            in wide networks. ``implicit`` (True): whether steps of the optimiser are followed by implicit ones;
            if not, add ``memory.penalty()`` to the loss. ``batch_norm`` (``"kept"``): whether running statistics stay
            those of the tasks held, or are ``"updated"``. ``n_modes``, ``window``, ``every`` and ``per_layer`` are of
            ``"ldc"``, which needs recorded weights, and have no effect here.

    Returns:
        A memory that holds one task. Train inside ``with memory.training(optimizer):``, or pass the memory to a
        callback of ``landscope.adapters``.

    Raises:
        InputError: If the method needs recorded weights, or the model, the loss or the data do not fit.

    Warns:
        LandscopeWarning: If a cross-entropy is above that of guessing, ln C of C classes or tokens, or ln 2 of each yes
            or no: the data are not those of the old task, or the model is untrained. Weights of classes,
            ``pos_weight``, label smoothing, ignored and soft targets count as in the loss, also in ``losses=f``.
            Nothing is said where the loss of guessing is not known: of other losses, such as the squared error or
            ``BCELoss``, of several outputs, and of logits that are scaled, masked or cut first; nor where the model
            knows the data and is only too sure, so that smaller logits would be clearly better than guessing.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model, criterion = torch.nn.Linear(4, 2), torch.nn.CrossEntropyLoss()
        >>> x = torch.randn(64, 4)
        >>> old, new = (x, model(x).argmax(dim=1)), (torch.randn(64, 4), torch.randint(2, (64,)))
        >>> memory = keep(model, criterion, old, budget=0.05)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with memory.training(optimizer):
        ...     for _ in range(100):
        ...         optimizer.zero_grad()
        ...         criterion(model(new[0]), new[1]).backward()
        ...         optimizer.step()
        >>> memory.rise.measured <= memory.rise.allowed
        True
    """
    chosen = None if method is None else resolve_method(method)
    if chosen is not None and chosen.needs_recording:
        raise InputError(
            expected="a method that needs no recorded weights", got=chosen.name,
            hint='Leave method out, or record the training that should be kept: memory = ls.TaskMemory(model, '
            f'method="{chosen.name}"), and train inside `with memory.training(optimizer):`.',
        )  # fmt: skip
    check_kind("at_end", at_end, bool, hint="Pass True or False.")
    _check_options(model, options, budget=budget, at_end=at_end)
    check_strength("absolute", absolute)
    if not callable(samples):
        check_count("samples", samples, minimum=0)
    if budget is not None:
        check_positive("budget", budget, hint="Pass the share by which the loss may rise, such as 0.05 for 5 %.")
    memory = TaskMemory(model, select, method=chosen, **options)
    if budget is not None:
        memory.budget(budget, absolute=absolute, samples=samples, at_end=at_end)
    memory.consolidate(criterion, data, losses=losses, loss_options=loss_options, name=name)
    return memory


def _check_options(model: Any, options: Mapping[str, Any], *, budget: float | None, at_end: bool) -> None:
    """Raise where an argument is none of a memory, or the first one is no model."""
    check_kind("the first argument", model, nn.Module, hint="Call ls.keep(model, criterion, data).")
    known = [name for name in inspect.signature(TaskMemory).parameters if name not in ("model", "select", "method")]
    for name in options:
        check_choice(
            "an argument of ls.keep",
            name,
            [*known, "budget", "absolute", "samples", "at_end", "losses", "loss_options", "name"],
        )
    if at_end and budget is None:
        raise InputError(
            expected="a budget that at_end=True holds", got="none", hint="Pass budget=0.05 too, or leave at_end out.",
        )  # fmt: skip
