"""Questions to the device that are asked together: the host waits for a GPU once for all that can be asked now."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeVar

from torch import Tensor

from landscope.protocols import Penalty
from landscope.read_numbers import read_numbers

__all__ = ["Asking", "answered", "asking_step", "gradient_of", "together", "value_of"]

T = TypeVar("T")

Asking = Generator[list[Tensor], list[float], T]
"""A computation that yields tensors of one number, and is sent their values; it ends with its result."""


def answered(asking: Asking[T]) -> T:
    """The result of a computation whose questions are answered one round after another.

    Example:
        >>> import torch
        >>> def half(of):
        ...     (number,) = yield [of]
        ...     return number / 2
        >>> answered(half(torch.tensor(3.0)))
        1.5
    """
    try:
        questions = next(asking)
        while True:
            questions = asking.send(read_numbers(questions))
    except StopIteration as stop:
        return stop.value


def together(askings: Sequence[Asking[T]]) -> Asking[list[T]]:
    """Several computations whose questions of a round are asked at once; their results, in order.

    The first of them that raises an error ends all.
    """
    results: dict[int, T] = {}
    waiting: dict[int, list[Tensor]] = {}

    def go_on(place: int, answers: list[float] | None) -> None:
        try:
            waiting[place] = next(askings[place]) if answers is None else askings[place].send(answers)
        except StopIteration as stop:
            results[place] = stop.value

    for place in range(len(askings)):
        go_on(place, None)
    while waiting:
        asked, waiting = waiting, {}
        answers = yield [question for questions in asked.values() for question in questions]
        for place, questions in asked.items():
            own, answers = answers[: len(questions)], answers[len(questions) :]
            go_on(place, own)
    return [results[place] for place in range(len(askings))]


def asking_step(penalty: Penalty, w: Tensor, step_size: float | Tensor, start: Tensor | None = None) -> Asking[Tensor]:
    """The implicit step of a penalty from finite weights; a penalty of a user asks its questions by itself."""
    own = getattr(penalty, "_asking_step", None)
    if own is None:
        return penalty.proximal_step(w, step_size, start)
    return (yield from own(w, step_size, start))


def gradient_of(penalty: Penalty, w: Tensor) -> Tensor:
    """The gradient of a penalty at finite weights, which it need not check."""
    own = getattr(penalty, "_gradient", None)
    return penalty.gradient(w) if own is None else own(w)


def value_of(penalty: Penalty, w: Tensor) -> Tensor:
    """The value of a penalty at finite weights, which it need not check."""
    own = getattr(penalty, "_value", None)
    return penalty(w) if own is None else own(w)
