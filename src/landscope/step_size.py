"""The step size of an optimiser, weight by weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.sharded import in_parts_of, whole
from landscope.step_rules import (
    Scaling,
    averaging_beta,
    averaging_share,
    is_schedule_free,
    known_scaling,
    momentum_factor,
)

__all__ = ["MovedWeights", "StepSizes", "gradient_scale"]


class StepSizes:
    r"""The step length of every weight per unit of a constant gradient, after a step of the optimiser.

    An optimiser takes the steps :math:`w_j \leftarrow w_j - \alpha_j g_j`. SGD has
    :math:`\alpha = \mathrm{lr} (1 - \mathrm{dampening}) / (1 - \mathrm{momentum})` for all weights of a group. Adam,
    AdamW, NAdam, RAdam, RMSprop, Adagrad, Adamax, Adadelta and Adafactor divide each gradient by a root of its mean
    square, with bias corrections as in their own step, so that :math:`\alpha_j = \mathrm{lr} / (\sqrt{v_j} +
    \epsilon)`. So do schedule-free optimisers. A weight that has had no gradient at all takes the mean of
    :math:`\sqrt{v}` over weights, because the optimiser does not move it at any scale.

    Two cases are approximate. Lion takes the sign of c, a mean of recent gradients; :math:`\alpha_j` is lr times the
    mean of this sign over the mean of c, for Gaussian noise and a running mean of :math:`c^2`. Where the noise is
    large this is :math:`\mathrm{lr} \sqrt{2 / (\pi \langle c_j^2 \rangle)}`, found to about a tenth. And a mean square
    of few gradients contains the gradient that it divides, which shortens mean steps by about the share
    :math:`1 - \beta_2`: 0.001 for Adam, 0.01 for RMSprop, 0.1 for Adadelta, at their defaults.

    Args:
        optimizer: Any optimiser.
        tensors: The weights.

    Raises:
        InputError: If a group has no learning rate, or a momentum is 1 or more.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> round(StepSizes(optimizer, [weight]).after_step(), 6)
        1.0
    """

    def __init__(self, optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> None:
        self._optimizer, self._tensors = optimizer, tensors
        self._signed: dict[int, _MeanSquare] = {}
        for group in self._groups():
            if group.get("lr") is None:
                raise InputError(
                    expected="a learning rate", got="an optimiser that chooses its own",
                    hint="Pass lr= to it: a penalty needs the length of its steps.",
                )  # fmt: skip
            momentum_factor(optimizer, group)

    @torch.no_grad()
    def after_step(self) -> float | Float[Tensor, " N"]:
        """The step sizes, to be called once after each step: one number if all weights share it, else one a weight."""
        groups, states = self._groups(), self._states()
        scalings = [
            self._scaling(group, tensor, state) or Scaling(float(group["lr"]))
            for group, tensor, state in zip(groups, self._tensors, states, strict=True)
        ]
        roots = [scaling.root for scaling in scalings if scaling.root is not None]
        if not roots:
            rates = {scaling.rate for scaling in scalings}
            if len(rates) == 1:
                return rates.pop()
        else:  # a tensor that the optimiser has not stepped is one without gradients
            scalings = [
                scaling if state else Scaling(scaling.rate, torch.zeros_like(tensor), scaling.eps)
                for scaling, tensor, state in zip(scalings, self._tensors, states, strict=True)
            ]
        mean = _mean(roots) if roots else None
        return torch.cat([_sizes(each, tensor, mean) for each, tensor in zip(scalings, self._tensors, strict=True)])

    @torch.no_grad()
    def are_known(self) -> bool:
        """Whether the step rule of the optimiser is known; if not, the step sizes are its learning rates."""
        if isinstance(self._optimizer, torch.optim.SGD):
            return True
        stepped = [
            (group, tensor, state)
            for group, tensor, state in zip(self._groups(), self._tensors, self._states(), strict=True)
            if state
        ]
        return bool(stepped) and all(self._scaling(*each, look=True) is not None for each in stepped)

    def _scaling(
        self, group: Mapping[str, Any], tensor: Tensor, state: Mapping[str, Any], *, look: bool = False
    ) -> Scaling | None:
        if not _takes_signs(group, state):
            return known_scaling(self._optimizer, group, tensor, state)
        signed = self._signed.setdefault(id(tensor), _MeanSquare(torch.zeros_like(state["exp_avg"])))
        if not look:
            signed.add(_interpolated(group, tensor, state))
        return Scaling(float(group["lr"]), _per_mean_sign(signed.root(), state["exp_avg"].abs(), group["betas"]))

    def _groups(self) -> list[dict[str, Any]]:
        return _groups_of(self._optimizer, self._tensors)

    def _states(self) -> list[Mapping[str, Any]]:
        return [self._optimizer.state.get(tensor) or {} for tensor in self._tensors]


def _groups_of(optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The parameter group of each tensor; found at every step, because a loaded state replaces the groups."""
    home = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    return [home[id(tensor)] for tensor in tensors]


@dataclasses.dataclass
class _MeanSquare:
    """The running mean of the squares of a tensor, over some hundred steps."""

    total: Tensor
    share: float = 0.0
    decay: float = 0.99

    def add(self, value: Tensor) -> None:
        self.total.mul_(self.decay).addcmul_(value, value, value=1 - self.decay)
        self.share = self.decay * self.share + 1 - self.decay

    def root(self) -> Tensor:
        return (self.total / max(self.share, 1e-30)).sqrt()


def _takes_signs(group: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether it is Lion, which stores nothing but a mean of gradients."""
    return set(state) - {"step"} == {"exp_avg"} and "betas" in group and "eps" not in group


def _interpolated(group: Mapping[str, Any], tensor: Tensor, state: Mapping[str, Any]) -> Tensor:
    """The mean of gradients whose sign Lion took, from the mean that it stored afterwards."""
    first, second = group["betas"]
    after = state["exp_avg"]
    if tensor.grad is None:
        return after
    before = (after - (1 - second) * tensor.grad) / second
    return first * before + (1 - first) * tensor.grad


def _per_mean_sign(root: Tensor, mean: Tensor, betas: tuple[float, float]) -> Tensor:
    r"""The mean of c over the mean of its sign, for Gaussian c with this root mean square.

    With mean m and standard deviation s the mean sign is :math:`erf(m / (s \sqrt 2))`. The stored mean of gradients
    fluctuates by a known share of the variance of c, which does not belong to m.
    """
    first, second = betas
    stored = (1 - second) / (1 + second)
    share = stored / (first**2 * stored + (1 - first) ** 2)
    ratio = (mean / root).square().nan_to_num_(0.0)
    part = ((ratio - share) / (1 - share)).clamp_(1e-6, 1 - 1e-6).sqrt_()
    return root * part / torch.erf(part / (2 * (1 - part.square())).sqrt())


def _mean(roots: Sequence[Tensor]) -> Tensor:
    """The mean of all roots, as one number on their device, so that nothing waits for it."""
    count = sum(root.numel() for root in roots)
    sums = [whole(root).sum(dtype=torch.float32) for root in roots]
    return for_float64(torch.stack(sums).sum()).double() / count


def _sizes(scaling: Scaling, tensor: Tensor, mean: Tensor | None) -> Float[Tensor, " n"]:
    """The step sizes of one tensor; weights without gradients take the mean of all roots."""
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    if scaling.root is None:
        return torch.full((tensor.numel(),), scaling.rate, dtype=dtype, device=tensor.device)
    root = whole(scaling.root).to(dtype).reshape(-1)
    root = root if mean is None else torch.where(root <= 0, mean.to(dtype), root)
    divisor = root + scaling.eps
    return torch.where(divisor > 0, scaling.rate / divisor, scaling.rate)


class MovedWeights:
    """The weights that an optimiser moves: those of the model, or those of which a schedule-free optimiser takes means.

    Args:
        optimizer: Any optimiser, after a step.
        tensors: The weights of the model.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, tensors: Sequence[Tensor]) -> None:
        self._tensors, groups = tensors, _groups_of(optimizer, tensors)
        self._averaged: dict[int, _Averaged] = {}
        for tensor, group in zip(tensors, groups, strict=True):
            state = optimizer.state.get(tensor) or {}
            if is_schedule_free(group, state):
                self._averaged[id(tensor)] = _Averaged(
                    state["z"], averaging_share(group), averaging_beta(group), group.get("train_mode", True)
                )

    def flat(self) -> Float[Tensor, " N"]:
        """All of them, one after another."""
        return torch.cat([whole(self._moved(tensor).detach()).reshape(-1) for tensor in self._tensors])

    @torch.no_grad()
    def set(self, weights: Float[Tensor, " N"]) -> None:
        """Move them, as if the optimiser had done so in its last step."""
        for tensor, value in self._parts(weights):
            if (averaged := self._averaged.get(id(tensor))) is not None:
                tensor.add_((value - averaged.moved).to(tensor), alpha=averaged.share)
            self._moved(tensor).copy_(value)

    @property
    def are_evaluated(self) -> bool:
        """Whether the weights that a user evaluates are these, and not their means."""
        return not self._averaged

    @torch.no_grad()
    def evaluated(self) -> Float[Tensor, " N"]:
        """The weights that a user evaluates after the training: the means x of a schedule-free optimiser."""
        return torch.cat([whole(self._mean(tensor).detach()).reshape(-1) for tensor in self._tensors])

    @torch.no_grad()
    def set_evaluated(self, weights: Float[Tensor, " N"]) -> None:
        """Move the weights that a user evaluates, and those that the optimiser moves as far."""
        for tensor, value in self._parts(weights):
            if (averaged := self._averaged.get(id(tensor))) is None:
                tensor.copy_(value)
                continue
            averaged.moved.add_((value - self._mean(tensor)).to(averaged.moved))
            tensor.copy_(value.lerp(averaged.moved.to(value), averaged.share_of_moved))

    def _parts(self, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
        parts = weights.split([tensor.numel() for tensor in self._tensors])
        return [
            (tensor, in_parts_of(part.view(tensor.shape), tensor))
            for tensor, part in zip(self._tensors, parts, strict=True)
        ]

    def _moved(self, tensor: Tensor) -> Tensor:
        return self._averaged[id(tensor)].moved if id(tensor) in self._averaged else tensor

    def _mean(self, tensor: Tensor) -> Tensor:
        averaged = self._averaged.get(id(tensor))
        if averaged is None or not averaged.share_of_moved:
            return tensor
        share = averaged.share_of_moved
        return (tensor - share * averaged.moved) / (1 - share)


@dataclasses.dataclass(frozen=True)
class _Averaged:
    """One tensor of a schedule-free optimiser.

    Args:
        moved: The weights z that it moves.
        share: How far the weights of the model follow a change of z in the last step.
        beta: The model has the weights (1 - beta) z + beta x in training, and x in evaluation.
        trains: Whether it is in training.
    """

    moved: Tensor
    share: float
    beta: float
    trains: bool

    @property
    def share_of_moved(self) -> float:
        """Share of z in the weights of the model; 0 where they are x, or x does not enter them."""
        return 1 - self.beta if self.trains and self.beta else 0.0


def gradient_scale(optimizer: torch.optim.Optimizer) -> Tensor | float:
    """The factor by which a gradient scaler multiplied the gradients; a fused optimiser divides by it in its step."""
    scale = getattr(optimizer, "grad_scale", None)
    return 1.0 if scale is None else scale
