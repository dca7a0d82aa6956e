"""A trial of ``train_on`` before the analysis begins: a few steps show the mistakes that hours would end with."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import get_args

import torch
from torch import Tensor, nn

from landscope._names import Sampling
from landscope.errors import InputError
from landscope.recorder import TrajectoryRecorder
from landscope.study.analysis import Analysis
from landscope.study.subject_checks import n_samples
from landscope.study.training_on import call_train_on

__all__ = ["try_train_on"]

STEPS = 4
_SAME = 1e-2
"""Relative difference of two displacements below which they are the same: devices add in any order."""
_SKETCHES = 3


def try_train_on(analysis: Analysis) -> tuple[float, ...] | None:
    """Call ``train_on`` for four steps: twice with one seed, once with another.

    Args:
        analysis: The analysis of a recorded training.

    Returns:
        Numbers by which another function is known: the length of the displacement of the first call, and its components
        along a few drawn directions; None if the function offers no order.

    Raises:
        InputError: If the function does not train the model of its argument, by the rule of the recorded training, for
            the steps that are asked; or if one seed gives two trainings, or two seeds one.
    """
    for sampling in ("with-replacement", *(name for name in get_args(Sampling) if name != "with-replacement")):
        with _users_model_kept(analysis.subject.model):
            try:
                found = _displacement(analysis, sampling, seed=1)
            except InputError as error:
                if isinstance(error.__cause__, NotImplementedError):
                    continue
                raise
            _check_seeds(analysis, sampling, found)
        return _sketch(found)
    return None


def _displacement(analysis: Analysis, sampling: str, seed: int) -> Tensor:
    model, space = analysis.model_at(analysis.windows.step), analysis.space
    before = space.flatten(model).detach().cpu().double()
    recorder, _ = call_train_on(
        analysis, model, lambda optimizer: TrajectoryRecorder(model, optimizer, space), sampling=sampling,
        n_steps=STEPS, seed=analysis.settings.seed + seed,
    )  # fmt: skip
    rows = recorder.trajectory()
    if len(rows) < STEPS:
        raise InputError(
            expected=f"{STEPS} steps inside `with record(optimizer):`", got=f"{len(rows)}",
            hint="Let train_on take all n_steps steps inside that block.",
        )  # fmt: skip
    if rows.row(0).dtype != space.flatten(analysis.subject.model).dtype:
        raise InputError(
            expected=f"weights that stay in {space.flatten(analysis.subject.model).dtype}", got=f"{rows.row(0).dtype}",
            hint="Let train_on leave the dtype of its model as it is.",
        )  # fmt: skip
    found = rows.row(STEPS - 1).double() - before
    if not bool(found.any()):
        raise InputError(
            expected="a training that goes on", got="weights that end where they began",
            hint="train_on must train the model in its argument, with a learning rate above 0.",
        )  # fmt: skip
    return found


def _check_seeds(analysis: Analysis, sampling: str, found: Tensor) -> None:
    length = torch.linalg.vector_norm(found)
    again = _displacement(analysis, sampling, seed=1)
    if bool(torch.linalg.vector_norm(again - found) > _SAME * length):
        raise InputError(
            expected="the same training on for the same seed", got="another one in the second call",
            hint="Let train_on draw the minibatches with its argument seed alone, from a generator or a loader that is "
            "made in each call.",
        )  # fmt: skip
    count = n_samples(analysis.subject.data)
    takes_all = count is not None and analysis.batch_size is not None and analysis.batch_size >= count
    if sampling not in ("with-replacement", "reshuffled") or takes_all:
        return
    other = _displacement(analysis, sampling, seed=2)
    if bool(torch.linalg.vector_norm(other - found) < 1e-6 * length):
        raise InputError(
            expected="other minibatches for another seed", got="the same training on for two seeds",
            hint="Let train_on draw the minibatches with its argument seed, as "
            "torch.Generator().manual_seed(seed).",
        )  # fmt: skip


@contextmanager
def _users_model_kept(model: nn.Module) -> Generator[None]:
    """Restore the user's model where the function trained it, and say so.

    Raises:
        InputError: If the function changed the user's model.
    """
    state = copy.deepcopy(model.state_dict())
    try:
        yield
    finally:
        changed = [name for name, value in model.state_dict().items() if _differs(value, state[name])]
        if changed:
            model.load_state_dict(state)
    if changed:
        raise InputError(
            expected="a train_on that trains the model in its argument",
            got=f"one that changes the model of the study ({', '.join(changed[:3])})",
            hint="Use the argument model in train_on, for the optimiser and for the loss. The model of the study was "
            "set back to what it was.",
        )


def _differs(one: object, other: object) -> bool:
    return isinstance(one, Tensor) and isinstance(other, Tensor) and not torch.equal(one, other)


def _sketch(found: Tensor) -> tuple[float, ...]:
    generator = torch.Generator().manual_seed(0)
    lengths = [
        float(found @ torch.randn(len(found), generator=generator, dtype=torch.float64)) for _ in range(_SKETCHES)
    ]
    return float(torch.linalg.vector_norm(found)), *lengths
