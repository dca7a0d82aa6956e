"""Checks before a task is consolidated; each raises an error."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_kind, check_strength
from landscope.errors import InputError
from landscope.memory.methods.baselines import L2
from landscope.memory.methods.method import Method
from landscope.memory.methods.registry import resolve_method
from landscope.memory.replay.sources import Replay
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["check_flags", "check_is_at_end", "checked_ratio", "follows_outputs", "method_and_strength"]


def method_and_strength(
    method: str | Method | None, strength: float | None, replay: Replay | None
) -> tuple[Method, float]:
    """The method with its strength; None replays alone, which is a strength of 0."""
    if method is not None:
        found = resolve_method(method)
        return found, checked_strength(found, strength)
    if replay is None or strength is not None:
        raise InputError(
            expected="replay= and no strength, with method=None", got=f"replay={replay}, strength={strength}",
            hint="Pass replay=64 to replay alone, or a method such as method=\"basin\".",
        )  # fmt: skip
    return L2(), 0.0


def checked_strength(method: Method, strength: float | None) -> float:
    """The strength, or the default of the method."""
    value = method.default_strength if strength is None else strength
    if value is None:
        raise InputError(
            expected=f"a strength for {method.name}", got="none",
            hint="Pass strength=: this method has no default. Tune it in factors of ten.",
        )  # fmt: skip
    return float(check_strength("strength", value))


def checked_ratio(ratio: float) -> float:
    """The ratio of losses, above 1."""
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 1 < ratio < math.inf:
        raise InputError(expected="a ratio above 1", got=f"{ratio!r}", hint="Use e, or 1.1 for a language model.")
    return ratio


def check_flags(method: Method, *, per_layer: bool, implicit: bool) -> None:
    """Raise where a flag is none, or modes of layers are asked for without modes."""
    for name, flag in (("per_layer", per_layer), ("implicit", implicit)):
        check_kind(name, flag, bool, hint="Pass True or False.")
    if per_layer and not method.needs_recording:
        raise InputError(
            expected="a method that holds modes with per_layer=True", got=method.name,
            hint="Leave per_layer out: this method holds every weight.",
        )  # fmt: skip


def follows_outputs(method: Method, wanted: bool | None, *, implicit: bool) -> bool:
    """Whether the strength follows how far the outputs move; None for what is usual with the method."""
    if wanted is None:
        return implicit and method.follows_outputs
    check_kind("follow_outputs", wanted, bool, hint="Pass True, False or None.")
    if wanted and not implicit:
        raise InputError(
            expected="implicit steps, whose strength can follow the outputs", got="implicit=False",
            hint="Make the memory without implicit=False, or without follow_outputs=True.",
        )  # fmt: skip
    return wanted


def check_is_at_end(risk: EmpiricalRisk, weights: Float[Tensor, " N"], rows: Trajectory | None) -> None:
    """Raise if a risk was made before the end of the training: its weights are those that a penalty would hold.

    Args:
        risk: The risk of the task.
        weights: The weights of the model now.
        rows: The recorded weights of the task, whose last row is the end of the training.

    Raises:
        InputError: If the weights of the risk are neither of these.
    """
    at_end = [weights] if rows is None else [weights, rows.weights[-1]]
    if not any(torch.equal(risk.w0.cpu(), end.detach().to("cpu", risk.w0.dtype)) for end in at_end):
        away = float(torch.dist(risk.w0.cpu(), weights.detach().to("cpu", risk.w0.dtype)))
        raise InputError(
            expected="a risk at the weights where the training of the task ended",
            got=f"a risk at other weights, at a distance of {away:.3g} from those of the model now",
            hint="A risk keeps the weights that the model has when the risk is made. Make it after the training. To "
            "hold averaged weights, call memory.consolidate(criterion, data, w0=averaged).",
        )
