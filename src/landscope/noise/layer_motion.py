"""Drift and diffusion of each layer from weights that are seen once, in constant memory."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_vector
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.shown import in_lines

__all__ = ["LayerMotion"]


class LayerMotion:
    r"""How the weights of each layer move: their mean velocity, and how they diffuse about it.

    The displacement :math:`x_j` of a layer over :math:`h_j` steps, for Brownian motion with a drift v, has the mean
    :math:`h_j v` and the variance :math:`2 D h_j`, summed over its weights. With weights :math:`\omega_j = f^{J-j}`,
    :math:`f = 1 - 1/m`, and the sums :math:`S = \sum \omega_j x_j`, :math:`H = \sum \omega_j h_j`,
    :math:`H_2 = \sum \omega_j^2 h_j`, :math:`W = \sum \omega_j`, unbiased estimates are

    .. math:: 2 D = \frac{\sum_j \omega_j |x_j|^2/h_j - |S|^2/H}{W - H_2/H}, \qquad
              |v|^2 = \frac{|S|^2 - 2 D H_2}{H^2}.

    D is a diffusion coefficient, and not the velocity variance :math:`D_i = \langle v_i^2 \rangle` of
    :func:`landscope.noise.velocity_statistics`. Steps that are correlated over more than :math:`h_j` steps, as with
    momentum, make it depend on :math:`h_j`. The memory is two vectors.

    Args:
        space: The parameters that the weights are of.
        memory: Displacements m after which the weight of one has fallen to 1/e; None weights all alike.

    Raises:
        InputError: If ``memory`` is no integer of at least 2, weights have another length, or steps do not ascend.

    Example:
        A steady walk drifts, and does not diffuse.

        >>> space = ParameterSpace(("0.weight", "1.weight"), ((2,), (1,)))
        >>> motion = LayerMotion(space, memory=None)
        >>> for step in range(0, 40, 10):
        ...     motion.add(step, step * torch.tensor([0.5, 0.0, 0.25]))
        >>> motion.drift, motion.diffusion
        ({'0': 0.5, '1': 0.25}, {'0': 0.0, '1': 0.0})
    """

    def __init__(self, space: ParameterSpace, *, memory: int | None = 100) -> None:
        self._space, names = space, list(space.layers)
        self._keep = 1.0 if memory is None else 1 - 1 / check_count("memory", memory, minimum=2)
        self.layers = tuple(name or "model" for name in names)
        places = {name: place for place, layer in enumerate(names) for name in space.layers[layer]}
        self._places = torch.tensor([places[name] for name in space.names])
        self._last: Tensor | None = None
        self._step = 0
        self._sum: Tensor | None = None
        self._squares = torch.zeros(len(names), dtype=torch.float64)
        self._weight = self._steps = self._steps_of_squares = 0.0

    def __repr__(self) -> str:
        return in_lines(f"LayerMotion of {self._space.in_words}", layers=self.layers, step=self._step)

    @torch.no_grad()
    def add(self, step: int, w: Float[Tensor, " N"]) -> None:
        """Take the weights after a step.

        Args:
            step: Number of the step; above that of the weights before.
            w: The weights; they are copied.

        Raises:
            InputError: If the step is negative, or there are not as many weights as in the space.
        """
        check_count("step", step, minimum=0)
        w = check_vector("w", w, dim=self._space.dim).detach()
        last = self._last
        if last is None or self._sum is None:
            self._step, self._last, self._sum = step, w.clone(), torch.zeros_like(w)
            return
        lag = step - self._step
        if lag < 1:
            raise InputError(expected="ascending steps", got=f"{step} after {self._step}", hint="Add them in order.")
        self._step = step
        displacement, self._last = w - last, w.clone()
        self._sum.mul_(self._keep).add_(displacement)
        self._squares = self._keep * self._squares + self._by_layer(displacement) / lag
        self._weight = self._keep * self._weight + 1
        self._steps = self._keep * self._steps + lag
        self._steps_of_squares = self._keep**2 * self._steps_of_squares + lag

    def _by_layer(self, values: Tensor) -> Float[Tensor, " layers"]:
        """Sums of squares."""
        norms = [torch.linalg.vector_norm(part) for part in values.split(list(self._space.sizes))]
        squares = torch.stack(norms).double().cpu().square()
        return torch.zeros(len(self.layers), dtype=torch.float64).index_add_(0, self._places, squares)

    def _estimates(self) -> tuple[Tensor, Tensor]:
        """|v|^2 and 2 D of each layer; NaN before the second displacement."""
        free = self._weight - self._steps_of_squares / self._steps if self._steps else 0.0
        if self._sum is None or free <= 0:
            unknown = torch.full((len(self.layers),), math.nan, dtype=torch.float64)
            return unknown, unknown
        together = self._by_layer(self._sum)
        twice = (self._squares - together / self._steps).clamp(min=0) / free
        return (together - twice * self._steps_of_squares) / self._steps**2, twice

    @property
    def drift(self) -> dict[str, float]:
        """Length of the mean velocity of each layer, weight units a step; 0 where diffusion alone explains it."""
        return dict(zip(self.layers, self._estimates()[0].clamp(min=0).sqrt().tolist(), strict=True))

    @property
    def diffusion(self) -> dict[str, float]:
        """Diffusion coefficient D of each layer, summed over its weights, squared weight units a step."""
        return dict(zip(self.layers, (self._estimates()[1] / 2).tolist(), strict=True))
