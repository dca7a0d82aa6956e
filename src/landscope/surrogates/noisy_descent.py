"""Gradient descent with added noise (paper, sec-S9): which noise finds flat minima?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.optimizer import ParamsT

from landscope._checks import check_choice, check_count, check_positive, check_ratio, check_seed, generator_of
from landscope.directions.directions import Directions
from landscope.directions.gradient_noise_eigenvectors import gradient_noise_eigenvectors
from landscope.directions.hessian_eigenvectors import hessian_eigenvectors
from landscope.errors import InputError
from landscope.landscape import flatness
from landscope.risk.empirical import EmpiricalRisk

__all__ = ["NOISES", "NoisyGradientDescent", "gradient_noise_like"]

Noise = Literal["covariance", "diagonal", "isotropic", "hessian", "flatness"]
NOISES: tuple[Noise, ...] = ("covariance", "diagonal", "isotropic", "hessian", "flatness")
"""Shapes of the noise, all of one trace."""


NoiseSource = Callable[[Tensor], Tensor]
"""``w[N] -> xi[N]``: draws a random displacement at w."""


class NoisyGradientDescent(torch.optim.Optimizer):
    r"""Gradient descent with a random displacement added to every step.

    .. math:: w_{t+1} = w_t - \alpha\, (\nabla L(w_t) + \xi_t), \qquad \langle \xi_t \xi_t^\top \rangle = \Sigma(w_t)

    (paper, sec-S9, and Eq. 4 with added noise). The gradient is that in ``.grad``: let the loop compute it from all
    data for descent without the noise of minibatches.

    Args:
        params: The parameters; the noise is over all of them, in this order.
        lr: Learning rate alpha.
        noise: Draws xi at the weights joined to one vector, such as :func:`gradient_noise_like`.

    Raises:
        InputError: If the learning rate is not positive, or there are several groups of parameters.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = NoisyGradientDescent([w], lr=0.1, noise=lambda w: torch.tensor([1.0, 0.0]))
        >>> w.grad = torch.tensor([0.0, 2.0])
        >>> optimizer.step()
        >>> w.tolist()
        [-0.10000000149011612, -0.20000000298023224]
    """

    def __init__(self, params: ParamsT, lr: float, noise: NoiseSource) -> None:
        super().__init__(params, {"lr": check_positive("lr", lr)})
        self._noise = noise
        if len(self.param_groups) != 1:
            raise InputError(
                expected="one group of parameters, for one noise over all of them",
                got=f"{len(self.param_groups)} groups",
                hint="Make one optimiser a group.",
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes the loss and its gradient anew, as for any ``torch.optim`` optimiser."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        tensors = group["params"]
        noise = self._noise(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        for tensor, part in zip(tensors, noise.split([tensor.numel() for tensor in tensors]), strict=True):
            slope = 0.0 if tensor.grad is None else tensor.grad
            tensor.sub_(group["lr"] * (slope + part.view_as(tensor)))
        return loss


def gradient_noise_like(
    kind: Noise,
    risk: EmpiricalRisk,
    batch_size: int,
    *,
    n_directions: int = 20,
    refresh: int = 250,
    ratio: float = math.e,
    seed: int = 0,
) -> NoiseSource:
    r"""Noise with the trace that minibatches of a given size would have, in one of several shapes.

    With :math:`\epsilon_k` white and :math:`g_k` the gradient of sample k,
    :math:`\xi = (BM)^{-1/2} \sum_k \epsilon_k (g_k - \bar g)` has the covariance C/B of the gradient of a minibatch of
    B samples drawn with replacement. All shapes take their size :math:`|\xi|` from one such draw, so that their traces
    agree at every w:

    - ``"covariance"``: xi itself;
    - ``"diagonal"``: xi with a random sign for each weight, which leaves the diagonal of C alone;
    - ``"isotropic"``: a random direction;
    - ``"hessian"``: variance ~ lambda_j along the leading eigenvectors of the Hessian, where they are positive;
    - ``"flatness"``: variance ~ F_j^{-2} (the exponent psi_D of Fig. 3B) along the leading eigenvectors of C.

    Args:
        kind: Shape of the noise.
        risk: The loss of all data; its weights are those of the optimiser, in the same order.
        batch_size: B.
        n_directions: Number of directions of the last two shapes.
        refresh: Number of steps after which these directions are found again.
        ratio: Factor of the loss at which F_j is measured, see :func:`landscope.flatness`.
        seed: Random seed of all draws.

    Returns:
        A source of noise for :class:`NoisyGradientDescent`.

    Raises:
        InputError: If a name or number does not fit, or there is no single loss for each sample.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> data = (torch.randn(8, 2), torch.randn(8, 1))
        >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), data)
        >>> noise = gradient_noise_like("isotropic", risk, batch_size=4)
        >>> NoisyGradientDescent(model.parameters(), lr=0.1, noise=noise).defaults
        {'lr': 0.1}
    """
    check_choice("kind", kind, NOISES)
    check_ratio("ratio", ratio)
    check_seed(seed)
    check_count("batch_size", batch_size, minimum=1)
    check_count("n_directions", n_directions, minimum=1)
    check_count("refresh", refresh, minimum=1)
    return _Shaped(kind, risk, batch_size, n_directions, refresh, ratio, seed)


class _Shaped:
    """Noise of one trace and a chosen shape."""

    def __init__(
        self,
        kind: Noise,
        risk: EmpiricalRisk,
        batch_size: int,
        n_directions: int,
        refresh: int,
        ratio: float,
        seed: int,
    ) -> None:
        self._kind, self._risk, self._batch_size = kind, risk, batch_size
        self._n_directions, self._refresh, self._ratio, self._seed = n_directions, refresh, ratio, seed
        self._generator = generator_of(seed)
        weights = risk.sample_weights()
        self._shares, self._n_samples = weights / weights.mean(), len(weights)
        self._steps = 0
        self._roots: Tensor | None = None

    def __call__(self, w: Tensor) -> Tensor:
        plain = self._minibatch_like(w)
        if self._kind == "covariance":
            return plain
        if self._kind == "diagonal":
            return plain * (2 * self._drawn(len(w), w).gt(0) - 1)
        size = torch.linalg.vector_norm(plain)
        if self._kind == "isotropic":
            way = self._drawn(len(w), w)
            return size * way / torch.linalg.vector_norm(way)
        if self._roots is None or self._steps % self._refresh == 0:
            self._roots = self._square_root(w)
        self._steps += 1
        return size * (self._drawn(len(self._roots), w) @ self._roots)

    def _drawn(self, count: int, like: Tensor) -> Tensor:
        return torch.randn(count, generator=self._generator).to(like)

    def _minibatch_like(self, w: Tensor) -> Tensor:
        white = torch.randn(self._n_samples, generator=self._generator, dtype=torch.float64)
        weights = self._shares * (white - (self._shares * white).mean()) / (self._batch_size * self._n_samples) ** 0.5
        return self._risk.weighted_gradient(w, weights)

    def _square_root(self, w: Tensor) -> Float[Tensor, "k N"]:
        """Rows r_j with sum of r_j r_j' of trace 1 and the shape asked for."""
        basis, variances = self._hessian(w) if self._kind == "hessian" else self._flatness(w)
        total = variances.sum()
        if not float(total) > 0:  # nothing to go by here: as much along each
            variances, total = torch.ones_like(variances), torch.tensor(float(len(variances)))
        return ((variances / total).sqrt()[:, None] * basis.directions).to(w)

    def _hessian(self, w: Tensor) -> tuple[Directions, Tensor]:
        basis = hessian_eigenvectors(self._risk, w, self._n_directions, rtol=1e-2, seed=self._seed)
        return basis, basis.values.clamp(min=0)

    def _flatness(self, w: Tensor) -> tuple[Directions, Tensor]:
        ensemble = self._risk.minibatches(max(1, self._n_samples // (5 * self._n_directions)))
        basis = gradient_noise_eigenvectors(ensemble, w, self._n_directions)
        widths = flatness(self._risk, w, basis.directions.to(w), self._ratio, rtol=1e-2).width
        return basis, torch.nan_to_num(widths.pow(-2), nan=0.0)
