"""The penalty that holds weights by the curvature of ln L, averaged over the basin of the minimum."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_kind, check_one_point, check_seed, check_vector
from landscope.landscape.basin import Basin, basin, layer_scale
from landscope.parameters import ParameterSpace
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty, low_rank_penalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty
from landscope.results import stamp
from landscope.risk.diagonal_sums import DiagonalSums
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.kronecker import FactorSums, KroneckerKind, LayerFactors

__all__ = ["basin_penalty"]

_MOST_STORED = 20
"""Values of both factors of a layer for each of its weights, above which each weight is held on its own."""
_WIDEST_FACTOR = 8192
"""Largest side of a factor: the eigenvectors of one of 2,048 take 1.3 s on one core, and grow with the third power."""

_PRECISION = 0.01
"""Accuracy of the mean loss at the edge: 8 points leave ten times as much. The penalty is scaled by what was found."""


def basin_penalty(
    risk: EmpiricalRisk,
    w1: Float[Tensor, " N"],
    *,
    strength: float = 1.0,
    ratio: float = math.e,
    n_points: int = 8,
    n_samples: int = 1000,
    fisher: KroneckerKind = "auto",
    n_draws: int = 1,
    seed: int = 0,
    rank: int | None = None,
) -> PenaltySum:
    r"""Hold each layer by the curvature of ln L, averaged over the basin in which L is e times its minimum.

    .. math:: V(w) = \frac{\lambda}{2 \langle L \rangle} \sum_{layers} \mathrm{tr}(Z^\top G Z A), \qquad
              G = \langle g g^\top \rangle, \quad A = \langle a a^\top \rangle, \quad Z = W - W_1

    The means are over samples and over the points of :func:`landscope.landscape.basin` about w1: noise on every weight
    in units of the root mean square of its layer. a is the input of a layer and g the gradient at its output, over all
    answers of the model, so G and A are the Kronecker factors of its Fisher information (Martens & Grosse 2015).
    V approximates the rise of the logarithm of the smoothed loss :math:`\langle L \rangle`: near a minimum of L, its
    curvature is the mean curvature over the mean loss. So a task holds its weights alike whether its loss is 1e-4 or 1.
    Far from w1 the loss rises more than V says, above all where tasks share their outputs; there 10 to 100 is better.
    ``docs/explanation/penalties.md`` says what the average counts, and what it does not.

    Weights of other layers (normalisation, embeddings, tied and recurrent weights) and of layers whose factors would
    be larger than 20 times the layer are held one by one, by the same mean of the diagonal.

    Args:
        risk: Loss of the task.
        w1: Weights at the end of the task.
        strength: Factor lambda.
        ratio: Loss at the edge of the basin over the loss at w1.
        n_points: Number of points in the basin.
        n_samples: Number of samples that the loss and the factors are taken from, chosen at random.
        fisher: Kind of Fisher information, see :func:`landscope.penalties.elastic_weight_consolidation`;
            ``"random-signs"`` by default, or ``"empirical"`` where the distribution of the answers is not known.
        n_draws: Random signs or drawn answers for each sample and point.
        seed: Seed of the samples, points, signs and draws.
        rank: Number of eigenvectors of each input factor to keep beside the mean of the others, see
            :func:`landscope.penalties.low_rank_penalty`; all by default.

    Returns:
        The sum of one penalty a layer. Its parts store two factors a layer, or one stiffness a weight. With a rank r,
        the input factor of a layer of n inputs is r n + r + 1 numbers in place of n^2, a step costs half as much, and
        layers of many inputs and few outputs have factors too; the default stays exact.

    Raises:
        InputError: If the loss is negative, or a number is out of range.

    Example:
        A parabola L = 0.01 + z^2: its curvature 2 over the loss 0.01 e at the edge.

        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = model.weight.data.fill_(1.0)
        >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), (torch.ones(4, 1), torch.tensor([[0.9], [1.1]] * 2)))
        >>> penalty = basin_penalty(risk, torch.ones(1))
        >>> round(float(penalty(torch.tensor([1.1]))), 2), round(0.1**2 / (0.01 * math.e), 2)
        (0.37, 0.37)
    """
    check_kind("the risk", risk, EmpiricalRisk, hint="Pass ls.EmpiricalRisk(model, criterion, data).")
    w1 = check_one_point("w1", check_vector("w1", w1, dim=risk.space.dim)).detach()
    for name, count in (("n_samples", n_samples), ("n_points", n_points), ("n_draws", n_draws)):
        check_count(name, count, minimum=1)
    if rank is not None:
        check_count("rank", rank, minimum=0)
    some = risk.random_subset(n_samples, seed=check_seed(seed))
    found = basin(some, w1, layer_scale(risk.space, w1), ratio=ratio, n_draws=n_points, seed=seed, precision=_PRECISION)
    layers = [name for name in some.layers_with_factors() if _is_small(risk.space, name, rank)]
    kind = _kind(some, fisher)
    factors, diagonal, others = _means(some, found, layers, kind, n_draws=n_draws, seed=seed)
    information = some.fisher_information().taken(w1, kind, n_draws=n_draws)
    fields: dict[str, Any] = {
        "strength": strength,
        "stiffness_source": f"curvature of ln L over its basin, by the {information}",
        "provenance": stamp(
            ratio=ratio, n_points=n_points, n_samples=n_samples, fisher=fisher, n_draws=n_draws, seed=seed,
            rank=rank,
            strength=strength, width=found.width, loss0=found.loss0, mean_loss=found.loss, reached=found.is_edge,
        ),
    }  # fmt: skip
    scale = 1 / (2 * found.loss)
    held: list[tuple[Penalty, Tensor]] = [
        (_layer(layer, w1, scale, rank, fields), layer.columns.flatten()) for layer in factors
    ]
    if len(others):
        stiffness = (diagonal * scale).to(w1)
        held.append((QuadraticPenalty(anchor=w1[others].clone(), stiffness=stiffness, **fields), others))
    return PenaltySum(
        tuple(
            PartPenalty(penalty, columns.to(w1.device), dim=len(w1), parameters=risk.space.names)
            for penalty, columns in held
        )
    )


def _kind(risk: EmpiricalRisk, fisher: KroneckerKind) -> KroneckerKind:
    """The kind itself; for ``"auto"`` random signs, whose error is far below that of a few points."""
    if fisher != "auto":
        return fisher
    return "random-signs" if risk.fisher_information().knows_answers else "empirical"


def _layer(
    layer: LayerFactors, w1: Tensor, scale: float, rank: int | None, fields: dict[str, Any]
) -> KroneckerPenalty | LowRankKroneckerPenalty:
    inputs, outputs = layer.inputs.to(w1), (layer.outputs * scale).to(w1)
    product = KroneckerPenalty(anchor=w1[layer.columns].clone(), inputs=inputs, outputs=outputs, **fields)
    return product if rank is None else low_rank_penalty(product, rank)


def _means(
    risk: EmpiricalRisk, found: Basin, layers: Sequence[str], kind: KroneckerKind, *, n_draws: int, seed: int
) -> tuple[list[LayerFactors], Tensor, Tensor]:
    """Factors of layers, and the diagonal of all other weights with their positions, as means over a basin."""
    names = [name for layer, own in risk.space.layers.items() if layer not in layers for name in own]
    information, sums = dataclasses.replace(risk.fisher_information(), by_layers=True), []
    if layers:
        sums.append(factors := FactorSums(information, kind, n_draws=n_draws, names=layers))
    if names:
        sums.append(diagonal := DiagonalSums(information, names, kind, n_draws=n_draws))
    for number, point in enumerate(found.points()):
        for each in sums:
            each.add(point, seed=seed + number)
    return (
        factors.means() if layers else [],
        diagonal.mean() if names else torch.zeros(0),
        risk.space.columns(names) if names else torch.zeros(0, dtype=torch.long),
    )


def _is_small(space: ParameterSpace, layer: str, rank: int | None) -> bool:
    """Whether the factors of a layer are of a size that can be stored and diagonalised."""
    shapes = dict(zip(space.names, space.shapes, strict=True))
    own = {name: shapes[name] for name in space.layers[layer]}
    weight = next(shape for name, shape in own.items() if name.endswith("weight"))
    m, n = weight[0], math.prod(weight[1:]) + len(own) - 1
    of_inputs = n * (n if rank is None else min(rank, n))
    return m * m + of_inputs <= _MOST_STORED * m * n and max(m, n) <= _WIDEST_FACTOR
