"""Coordinates in which an adaptive optimiser makes plain gradient steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.derivatives import gradient_function, hessian_product
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.plain_lines import PlainBatchLines, PlainLines
from landscope.protocols import BatchLines, Ensemble, Lines, LossLandscape
from landscope.results import Result, stamp
from landscope.shown import in_lines

__all__ = ["Preconditioned", "PreconditionedMinibatches", "Preconditioner", "adam_preconditioner"]


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

    def __repr__(self) -> str:
        return in_lines(type(self).__name__, scale=self._scale, of=self._landscape)

    def hessian_vector_product(self, u: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The product of the Hessian at ``u`` ``[N]``, S^-1 H S^-1, and ``vector`` ``[N]``."""
        return self._back(hessian_product(self._landscape)(self._back(u), self._back(vector)))

    def __call__(self, u: Float[Tensor, "*points N"]) -> Float[Tensor, "*points"]:
        """``u[..., N] -> L[...]``."""
        return self._landscape(self._back(u))

    def lines(self, u0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> Lines:
        """The lines of the original landscape from ``u0`` ``[N]`` along ``directions`` ``[k, N]``, both in u."""
        own = getattr(self._landscape, "lines", None)
        return PlainLines(self, u0, directions) if own is None else own(self._back(u0), self._back(directions))

    def gradient(self, u: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The gradient at ``u`` ``[N]`` in these coordinates, S^-1 grad L, ``[N]``."""
        return self._back(gradient_function(self._landscape)(self._back(u)))

    def minibatches(self, batch_size: int | None, *, seed: int | None = None) -> PreconditionedMinibatches:
        """The minibatch losses of the landscape in the coordinates u.

        Args:
            batch_size: Number of samples in a minibatch, see :meth:`landscope.EmpiricalRisk.minibatches`.
            seed: Random seed of a shuffle of the data.

        Returns:
            The ensemble.

        Raises:
            InputError: If the landscape has no minibatches.
        """
        own = getattr(self._landscape, "minibatches", None)
        if own is None:
            raise InputError(
                expected="a landscape of samples, such as an EmpiricalRisk",
                got=type(self._landscape).__name__,
                hint="Pass an ensemble to ls.landscape.PreconditionedMinibatches.",
            )
        return PreconditionedMinibatches(own(batch_size, seed=seed), self._scale)

    def _back(self, u: Tensor) -> Tensor:
        return u / self._scale.to(u)


class PreconditionedMinibatches(Preconditioned):
    r"""An ensemble of minibatch losses over the coordinates u = s w.

    A gradient in u is :math:`S^{-1}` times the gradient in w, so the gradient noise is :math:`S^{-1} C S^{-1}`. With
    the scales of Adam, :math:`S^{-2}` is its preconditioner P: the noise is :math:`P^{1/2} C P^{1/2}`. All statistics
    of minibatches take such an ensemble, with points and directions in u.

    Args:
        ensemble: Ensemble over w.
        scale: Scales s, ``[N]``, above 0; or the result of :func:`adam_preconditioner`.

    Raises:
        InputError: If this is no ensemble, or a scale does not fit, see :class:`Preconditioned`.

    Example:
        >>> from landscope.synthetic import RandomSprings
        >>> import landscope as ls
        >>> springs = RandomSprings.draw(torch.tensor([1.0, 1.0]), 50, seed=0)
        >>> scaled = PreconditionedMinibatches(springs, torch.tensor([2.0, 1.0]))
        >>> plain, noise = (ls.noise.gradient_noise(e, torch.zeros(2).double(), torch.eye(2).double()).variance
        ...                 for e in (springs, scaled))
        >>> (plain / noise).round(decimals=4).tolist()
        [4.0, 1.0]
    """

    def __init__(self, ensemble: Ensemble, scale: Float[Tensor, " N"] | Preconditioner) -> None:
        if not isinstance(ensemble, Ensemble):
            raise InputError(
                expected="an ensemble of minibatch losses",
                got=type(ensemble).__name__,
                hint="Pass risk.minibatches(batch_size), or call Preconditioned(risk, scale).minibatches(batch_size).",
            )
        super().__init__(ensemble, scale)
        self._ensemble = ensemble
        self.n_left_out: int = getattr(ensemble, "n_left_out", 0)
        self.n_batches: int = getattr(ensemble, "n_batches", 0)

    def batch_losses(self, u: Float[Tensor, "*points N"]) -> Float[Tensor, "*points batches"]:
        """The minibatch losses ``L^mu[..., batches]`` at ``u`` ``[..., N]``."""
        return self._ensemble.batch_losses(self._back(u))

    def batch_lines(self, u0: Float[Tensor, " N"], directions: Float[Tensor, "k N"]) -> BatchLines:
        """The lines of the original ensemble from ``u0`` ``[N]`` along ``directions`` ``[k, N]``, both in u."""
        own = getattr(self._ensemble, "batch_lines", None)
        if own is None:
            return PlainBatchLines(self.batch_losses, u0, directions)
        return own(self._back(u0), self._back(directions))

    def batch_gradients(self, u: Float[Tensor, " N"]) -> Iterator[Float[Tensor, " N"]]:
        """The gradients ``[N]`` at ``u`` ``[N]`` in these coordinates, one minibatch after another."""
        own = getattr(self._ensemble, "batch_gradients", torch.func.jacrev(self._ensemble.batch_losses))
        for gradient in own(self._back(u)):
            yield self._back(gradient)

    def batch_hessian_vector_product(
        self, u: Float[Tensor, " N"], number: int, vector: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """The product of the Hessian of minibatch ``number`` at ``u`` ``[N]``, in these coordinates, and ``vector``."""
        w, back = self._back(u), self._back(vector)
        own = getattr(self._ensemble, "batch_hessian_vector_product", None)
        if own is not None:
            return self._back(own(w, number, back))
        return self._back(hessian_product(lambda w: self._ensemble.batch_losses(w)[..., number])(w, back))
