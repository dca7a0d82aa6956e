"""Coordinates in which an adaptive optimiser makes plain gradient steps."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.derivatives import hessian_product
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.plain_lines import PlainLines
from landscope.protocols import Lines, LossLandscape
from landscope.results import Result, stamp

__all__ = ["Preconditioned", "Preconditioner", "adam_preconditioner"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Preconditioner(Result, kind="preconditioner", dims={"scale": ("weight",)}):
    """Scales s of the coordinates u = s w.

    Args:
        scale: Scale s of each selected weight, above 0, ``[N]``.
    """

    scale: Float[Tensor, " N"]


def adam_preconditioner(model: nn.Module, optimizer: torch.optim.Optimizer, space: ParameterSpace) -> Preconditioner:
    r"""The coordinates in which Adam, with its current second moments, makes plain gradient steps.

    A step of Adam is :math:`-\alpha\, \hat m/(\sqrt{\hat v} + \epsilon)` (Kingma & Ba 2015). With
    :math:`s = (\sqrt{\hat v} + \epsilon)^{1/2}` and :math:`u = s\, w` it is :math:`-\alpha\, \partial L/\partial u`
    if the momentum equals the gradient. So variance and flatness along directions of u are comparable with those of a
    plain optimiser.

    Args:
        model: The model.
        optimizer: ``torch.optim.Adam`` or ``AdamW`` of the model, after at least one step.
        space: The selected parameters.

    Returns:
        The scales.

    Raises:
        InputError: If the optimiser is another one, or has no second moments of the selected parameters.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        >>> model(torch.tensor([[4.0, 1.0]])).sum().backward()
        >>> optimizer.step()
        >>> adam_preconditioner(model, optimizer, ParameterSpace.of(model)).scale.round(decimals=4).tolist()
        [2.0, 1.0]
    """
    groups = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    parts = {}
    for name, tensor in zip(space.names, space.tensors(model), strict=True):
        state = optimizer.state.get(tensor, {})
        if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or "exp_avg_sq" not in state:
            raise InputError(
                expected=f"an Adam optimiser that has made a step of {name}",
                got=f"{type(optimizer).__name__} without its second moment",
                hint="Pass the optimiser of this model after its first step.",
            )
        group = groups[id(tensor)]
        moment = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        corrected = moment.double() / (1 - group["betas"][1] ** float(state["step"]))
        parts[name] = (corrected.sqrt() + group["eps"]).sqrt()
    scale = torch.cat([parts[name].reshape(-1) for name in space.names]).cpu()
    return Preconditioner(scale=scale, provenance=stamp(optimizer=type(optimizer).__name__))


class Preconditioned:
    r"""A landscape over the coordinates u = s w: :math:`\tilde L(u) = L(u/s)`.

    Args:
        landscape: Landscape L over w.
        scale: Scales s, ``[N]``, above 0; or the result of :func:`adam_preconditioner`.

    Raises:
        InputError: If a scale is not positive and finite, or the scales are not one for each weight.

    Example:
        An elliptic valley becomes round.

        >>> from landscope.synthetic import InverseGaussian
        >>> import landscope as ls
        >>> well = InverseGaussian(torch.tensor([8.0, 2.0]))
        >>> round_well = Preconditioned(well, torch.tensor([2.0, 1.0]))
        >>> ls.flatness(round_well, torch.zeros(2), torch.eye(2)).width.round(decimals=2).tolist()
        [2.0, 2.0]
    """

    def __init__(self, landscape: LossLandscape, scale: Float[Tensor, " N"] | Preconditioner) -> None:
        scale = scale.scale if isinstance(scale, Preconditioner) else scale
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            raise InputError(
                expected="scales above 0",
                got=f"a minimum of {float(scale.min())}",
                hint="Leave out weights that do not move.",
            )
        start = getattr(landscape, "w0", None)
        if start is not None and scale.shape != start.shape:
            raise InputError(
                expected=f"{len(start)} scales, one for each weight of the landscape",
                got=f"{tuple(scale.shape)}",
                hint="Make the scales with the parameter space of the landscape.",
            )
        self._landscape, self._scale = landscape, scale
        if start is not None:
            self.w0: Float[Tensor, " N"] = start * scale.to(start)

    def hessian_vector_product(self, u: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The product of the Hessian in u, S^-1 H S^-1, and a vector."""
        return self._back(hessian_product(self._landscape)(self._back(u), self._back(vector)))

    def __call__(self, u: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """``u[..., N] -> L[...]``."""
        return self._landscape(self._back(u))

    def lines(self, u0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> Lines:
        """The lines of the original landscape, in the coordinates u."""
        own = getattr(self._landscape, "lines", None)
        return PlainLines(self, u0, directions) if own is None else own(self._back(u0), self._back(directions))

    def _back(self, u: Tensor) -> Tensor:
        return u / self._scale.to(u)
