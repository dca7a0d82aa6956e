"""The coordinates in which an adaptive optimiser takes plain gradient steps."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.plain_lines import PlainLines
from landscope.protocols import Lines, LossLandscape, WalksLines
from landscope.results import Result, stamp

__all__ = ["Preconditioned", "Preconditioner", "adam_preconditioner"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Preconditioner(Result, kind="preconditioner", dims={"scale": ("weight",)}):
    """Scales s of the coordinates u = s w.

    Args:
        scale: s of each selected weight, above 0, ``[N]``.
    """

    scale: Float[Tensor, " N"]


def adam_preconditioner(model: nn.Module, optimizer: torch.optim.Optimizer, space: ParameterSpace) -> Preconditioner:
    r"""The coordinates in which Adam, as it stands, takes plain gradient steps.

    Adam steps by :math:`-\alpha\, \hat m/(\sqrt{\hat v} + \epsilon)` (Kingma & Ba 2015). With
    :math:`s = (\sqrt{\hat v} + \epsilon)^{1/2}` and :math:`u = s\, w` that is :math:`-\alpha\, \partial L/\partial u`
    where the momentum follows the gradient: variance and flatness along directions of u are those a plain optimiser
    would see.

    Args:
        model: The model.
        optimizer: ``torch.optim.Adam`` or ``AdamW`` of its parameters, after a step at least.
        space: The selected parameters.

    Returns:
        The scales.

    Raises:
        InputError: If the optimiser is another one, or keeps no second moments of the selected parameters.

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
                expected=f"an Adam that has stepped {name}",
                got=f"{type(optimizer).__name__} without its second moment",
                hint="Pass the optimiser of this model, after its first step.",
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
        landscape: L over w.
        scale: s, ``[N]``, above 0; or what :func:`adam_preconditioner` gives.

    Raises:
        InputError: If a scale is not positive and finite, or there is not one for each weight.

    Example:
        A parabola whose axes differ becomes round.

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
                expected="scales above 0", got=f"{float(scale.min())} among them", hint="Leave still weights out."
            )
        w0 = getattr(landscape, "w0", None)
        if isinstance(w0, Tensor) and scale.shape != w0.shape:
            raise InputError(
                expected=f"{len(w0)} scales, one for each weight of the landscape",
                got=f"{tuple(scale.shape)}",
                hint="Make them with the space of the landscape.",
            )
        self._landscape, self._scale = landscape, scale

    @property
    def w0(self) -> Float[Tensor, " N"]:
        """Where the landscape below was taken, in u."""
        w0: Tensor = self._landscape.w0  # ty: ignore[missing-attribute]
        return w0 * self._scale.to(w0)

    def hessian_vector_product(self, u: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The Hessian in u, S^-1 H S^-1, times a vector."""
        product = self._landscape.hessian_vector_product  # ty: ignore[missing-attribute]
        return self._back(product(self._back(u), self._back(vector)))

    def __call__(self, u: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """``u[..., N] -> L[...]``."""
        return self._landscape(self._back(u))

    def lines(self, u0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> Lines:
        """The lines of the landscape itself, seen from u."""
        if isinstance(self._landscape, WalksLines):
            return self._landscape.lines(self._back(u0), self._back(directions))
        return PlainLines(self, u0, directions)

    def _back(self, u: Tensor) -> Tensor:
        return u / self._scale.to(u)
