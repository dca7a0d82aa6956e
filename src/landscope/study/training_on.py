"""Calls the user's ``train_on``, and names what it does otherwise than the recorded training did."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from landscope._checks import check_hooked
from landscope.errors import InputError, LandscopeError
from landscope.parameters import ParameterSpace
from landscope.seeded import seeded
from landscope.study.analysis import Analysis
from landscope.study.first_step import FirstStep
from landscope.study.modes_of_modules import set_modes
from landscope.study.same_rule import check_same_rates, check_same_rule
from landscope.study.training_facts import facts_of
from landscope.wording import error_text

__all__ = ["call_train_on"]


_AnyRecorder = TypeVar("_AnyRecorder")


class _Call(Generic[_AnyRecorder]):
    """One call of ``train_on``: what it may record with, and what it did."""

    def __init__(
        self, analysis: Analysis, model: nn.Module, make: Callable[[torch.optim.Optimizer], _AnyRecorder],
        first: FirstStep,
    ) -> None:  # fmt: skip
        self._analysis, self._model, self._make, self.first = analysis, model, make, first
        self.recorder: _AnyRecorder | None = None

    def record(self, optimizer: Any) -> _AnyRecorder:
        """Give the user's function its recorder, if it passes an optimiser."""
        if self.recorder is not None:
            raise InputError(
                expected="one `with record(optimizer):` around all steps", got="a second one",
                hint="Call record once in train_on, before the loop over epochs.",
            )  # fmt: skip
        optimizer = check_hooked(optimizer)
        groups = _groups_of(optimizer, self._analysis.space, self._model)
        facts = facts_of(optimizer, groups, 1)
        check_same_rule(self._analysis.facts, facts)
        self.recorder = self._make(optimizer)
        self.first.watch(optimizer, groups)
        return self.recorder


def call_train_on(
    analysis: Analysis, model: nn.Module, make: Callable[[torch.optim.Optimizer], _AnyRecorder], *, sampling: str,
    n_steps: int, seed: int, compare: bool = True,
) -> tuple[_AnyRecorder, FirstStep]:  # fmt: skip
    """Train a model on by the user's function, with random numbers of its own.

    Args:
        analysis: The analysis, whose recorded training goes on.
        model: A copy of the model, which is trained.
        make: ``make(optimizer)`` gives the recorder.
        sampling: Order of the minibatches.
        n_steps: Steps to take.
        seed: Seed of the minibatches.
        compare: Whether to compare the first step with the gradient of the study's criterion.

    Returns:
        The recorder, and what is known of the first step.

    Raises:
        InputError: If the function does not offer the order, raises an error, does not train and record the model for
            all steps, or trains it by another rule than the recorded training.
    """
    function = analysis.subject.train_on
    assert function is not None  # noqa: S101 - the part needs it
    known_modes = analysis.folder.read_note("training").get("eval_modules")
    if known_modes is not None:
        set_modes(model, known_modes)
    first = FirstStep(model, analysis.subject, analysis.batch_size, compare=compare)
    call = _Call(analysis, model, make, first)
    with contextlib.closing(first), seeded(seed), _explained(sampling), torch.enable_grad():
        returned = function(model, call.record, sampling=sampling, n_steps=n_steps, seed=seed)
    _check_ran(returned)
    if call.recorder is None:
        raise InputError(
            expected="a training inside `with record(optimizer):`", got="a train_on that does not call record",
            hint="See help(ls.study.TrainOn).",
        )  # fmt: skip
    if first.taken < n_steps:
        raise InputError(
            expected=f"{n_steps} steps of the training that goes on", got=f"{first.taken}",
            hint="Let train_on take all n_steps steps inside `with record(optimizer):`, with minibatches of an "
            "iterator that is made in each call, also where n_steps is no whole number of epochs.",
        )  # fmt: skip
    for rate in first.rates:
        check_same_rates(rate, *analysis.rates_of_window)
    _check_modes(first.eval_modules, known_modes)
    return call.recorder, first


def _groups_of(optimizer: torch.optim.Optimizer, space: ParameterSpace, model: nn.Module) -> list[dict[str, Any]]:
    """The parameter groups that hold recorded weights."""
    selected = {id(tensor) for tensor in space.tensors(model)}
    groups = [group for group in optimizer.param_groups if any(id(tensor) in selected for tensor in group["params"])]
    if not groups:
        raise InputError(
            expected="an optimiser of the model in the argument of train_on",
            got="one that holds none of its recorded weights",
            hint="Make a new optimiser from model.parameters() in each call; the model is a copy of the study's.",
        )  # fmt: skip
    return groups


@contextlib.contextmanager
def _explained(sampling: str) -> Any:
    """Turn what a user's function raises into an error that names the function."""
    try:
        yield
    except NotImplementedError as error:
        raise InputError(
            expected=f"a training that offers the order {sampling}", got="none", hint=str(error) or "It is left out."
        ) from error
    except LandscopeError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            expected=f"train_on to train the model with sampling={sampling!r}",
            got=f"{error_text(error)} (line {line.lineno} of {line.filename})",
            hint="The function itself raises this; the traceback above shows where.",
        ) from error


def _check_ran(returned: Any) -> None:
    """Raise if the function only promised to run."""
    if inspect.isgenerator(returned) or inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()  # it would warn that nobody awaited it
        raise InputError(
            expected="train_on to train when it is called", got=f"a {type(returned).__name__}",
            hint="Write it as a plain function, without yield and async.",
        )  # fmt: skip


def _check_modes(found: Sequence[str], recorded: Sequence[str] | None) -> None:
    """Raise if layers are in another mode than in the recorded training."""
    if recorded is None or list(found) == list(recorded):
        return
    wrong = sorted(set(found) ^ set(recorded))
    shown = ", ".join(name or "the model" for name in wrong[:3]) + (" and others" if len(wrong) > 3 else "")
    raise InputError(
        expected="the modes of the recorded training (model.train() or model.eval())",
        got=f"another mode of {shown} at the first step",
        hint="The model in the argument of train_on is in the modes of the recorded training: leave them, or set them "
        "as the training did.",
    )
