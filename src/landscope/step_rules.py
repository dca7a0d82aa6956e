"""The step rules of known optimisers: what each divides its gradients by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import InputError

__all__ = ["Scaling", "averaging_beta", "averaging_share", "is_schedule_free", "known_scaling", "momentum_factor"]

_SQUARES = ("max_exp_avg_sq", "exp_avg_sq")
"""Names under which Adam and similar optimisers store the mean square of each gradient."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A step of ``rate / (root + eps)`` per unit of a constant gradient.

    Args:
        rate: Step length per unit of the scaled gradient.
        root: Root of the mean square gradient of each weight, in the shape of the weights; 0 for a weight that had no
            gradient. None where gradients are not scaled.
        eps: Number that the optimiser adds to the root.
    """

    rate: float
    root: Tensor | None = None
    eps: float = 0.0


def known_scaling(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], tensor: Tensor, state: Mapping[str, Any]
) -> Scaling | None:
    """How an optimiser scaled the gradient of a tensor in its last step; None if its step rule is not known.

    Args:
        optimizer: The optimiser.
        group: Parameter group of the tensor.
        tensor: The tensor, with the gradient of the last step.
        state: State of the tensor.
    """
    rate = float(group["lr"]) * momentum_factor(optimizer, group)
    if isinstance(optimizer, torch.optim.SGD):
        return Scaling(rate)
    if is_schedule_free(group, state):
        return _schedule_free(group, state)
    if isinstance(group.get("eps"), tuple | list):
        return _adafactor(group, tensor, state)
    if isinstance(optimizer, torch.optim.RAdam) and state:
        return _radam(group, state)
    if isinstance(optimizer, torch.optim.Adadelta) and state:
        eps = group["eps"]
        root = ((state["square_avg"] + eps) / (state["acc_delta"] + eps)).sqrt()
        return Scaling(rate, torch.where(state["square_avg"] > 0, root, 0.0))  # 0: no gradient so far
    if isinstance(optimizer, torch.optim.Adagrad) and state:
        slowed = 1 + (float(state["step"]) - 1) * group["lr_decay"]
        return Scaling(rate / slowed, state["sum"].sqrt(), group["eps"])
    if isinstance(optimizer, torch.optim.Adamax) and state:
        return Scaling(rate, state["exp_inf"] - group["eps"], group["eps"])  # it contains eps
    return _adam_or_rmsprop(rate, group, state)


def momentum_factor(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """The factor by which momentum lengthens the steps of a constant gradient.

    Raises:
        InputError: If the momentum is 1 or more.
    """
    if not isinstance(optimizer, torch.optim.SGD | torch.optim.RMSprop) or not group["momentum"]:
        return 1.0
    if group["momentum"] >= 1:
        raise InputError(
            expected="a momentum below 1",
            got=f"{group['momentum']}",
            hint="Use a smaller momentum: with this one the steps grow without limit.",
        )
    return (1 - group.get("dampening", 0.0)) / (1 - group["momentum"])


def _adam_or_rmsprop(rate: float, group: Mapping[str, Any], state: Mapping[str, Any]) -> Scaling | None:
    eps = float(group.get("eps", 0.0))
    if isinstance(square := state.get("square_avg"), Tensor):
        around = state["grad_avg"].square() if group.get("centered") else 0.0
        return Scaling(rate, (square - around).clamp_(min=0).sqrt_(), eps)
    square = next((state[name] for name in _SQUARES if isinstance(state.get(name), Tensor)), None)
    if square is None or "d" in group:  # Prodigy and similar optimisers scale the learning rate too
        return None
    step = state.get("step", group.get("step"))
    seen = 1.0 if step is None or "betas" not in group else _seen(group["betas"][1], step)
    return Scaling(rate, (_working(square) / seen).sqrt_(), eps)


def _seen(beta: float, step: float | Tensor) -> float | Tensor:
    """The share of gradients in a running mean after some steps; on a GPU, where fused steps count, it stays there."""
    if isinstance(step, Tensor) and step.is_floating_point() and for_float64(step).device.type != "cpu":
        return 1 - torch.pow(beta, step.detach().double())
    return 1 - beta ** float(step)


def _radam(group: Mapping[str, Any], state: Mapping[str, Any]) -> Scaling:
    """Adam's scaling, with its rate rectified; plain steps until the mean square is certain enough."""
    step, second = float(state["step"]), group["betas"][1]
    seen, longest = 1 - second**step, 2 / (1 - second) - 1
    length = longest - 2 * step * second**step / seen
    if length <= 5:
        return Scaling(float(group["lr"]))
    rectified = (
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    ) ** 0.5  # Liu et al., 2020
    return Scaling(float(group["lr"]) * rectified * seen**0.5, state["exp_avg_sq"].sqrt(), group["eps"])


def _adafactor(group: Mapping[str, Any], tensor: Tensor, state: Mapping[str, Any]) -> Scaling | None:
    """The factored mean squares of torch's Adafactor or that of transformers, and the rate after its clipping."""
    least, least_scale = group["eps"]
    size = float(tensor.detach().float().square().mean()) ** 0.5
    if "row_var" in state or "variance" in state:
        least = torch.finfo(tensor.dtype).eps if least is None else least
        rate = max(least_scale, size) * min(float(group["lr"]), float(state["step"]) ** -0.5)
        if (variance := state.get("variance")) is None:
            rows = state["row_var"]
            variance = rows @ state["col_var"] / rows.mean(dim=-2, keepdim=True).clamp(min=least)
        zero, least, longest = 0.0, least, group["d"]
    elif ("exp_avg_sq_row" in state or "exp_avg_sq" in state) and {"scale_parameter", "clip_threshold"} <= group.keys():
        rate = float(group["lr"]) * (max(least_scale, size) if group["scale_parameter"] else 1.0)
        if (variance := state.get("exp_avg_sq")) is None:
            rows = state["exp_avg_sq_row"]
            rows = rows / rows.mean(dim=-1, keepdim=True)
            variance = rows.unsqueeze(-1) * state["exp_avg_sq_col"].unsqueeze(-2)
        zero, least, longest = 2 * least, 0.0, group["clip_threshold"]  # it adds eps to every square
    else:
        return None
    root = torch.where(variance > zero, variance.sqrt().clamp_(min=least), 0.0)
    if tensor.grad is not None:
        update = tensor.grad / torch.where(root > 0, root, 1.0)
        rate /= max(1.0, float(update.float().square().mean()) ** 0.5 / longest)
    return Scaling(rate, root)


def is_schedule_free(group: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether it is a schedule-free optimiser: it moves weights z, and the model has their mean (Defazio, 2024)."""
    return isinstance(state.get("z"), Tensor) and {"k", "weight_sum"} <= group.keys()


def averaging_beta(group: Mapping[str, Any]) -> float:
    """Share of the mean in the weights of a model that a schedule-free optimiser trains."""
    return group["betas"][0] if "betas" in group else group["momentum"]


def averaging_share(group: Mapping[str, Any]) -> float:
    r"""How far the weights of a model in training follow those that a schedule-free optimiser moves.

    The model has :math:`y = (1 - \beta) z + \beta x`, and the mean x has taken z with a weight c in the last step. So
    y moves by :math:`1 - \beta (1 - c)` times a change of z in that step.
    """
    beta = averaging_beta(group)
    largest = max(float(group.get("lr_max", 0.0)), 0.0)
    weight = float(group["k"]) ** group.get("r", 0.0) * largest ** group.get("weight_lr_power", 2.0)
    total = float(group["weight_sum"])
    return 1 - beta * (1 - (weight / total if total else 0.0))


def _schedule_free(group: Mapping[str, Any], state: Mapping[str, Any]) -> Scaling:
    rate = float(group.get("scheduled_lr", group["lr"]))
    if "exp_avg_sq" not in state:
        return Scaling(rate)
    seen = 1 - group["betas"][1] ** group["k"]
    return Scaling(rate, (_working(state["exp_avg_sq"]) / seen).sqrt_(), group["eps"])


def _working(tensor: Tensor) -> Tensor:
    """The tensor in at least single precision, where small squares neither vanish nor overflow."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
