"""A penalty on the weights of a model whose parameters have changed since: what is shared stays held."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope._checks import check_kind, check_vector
from landscope.errors import InputError
from landscope.parameters import ParameterSpace
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.compression.factored import uncoupled_penalty
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.low_rank import LowRankKroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.protocols import Penalty

__all__ = ["carried_penalty", "shared_positions"]


def shared_positions(old: ParameterSpace, new: ParameterSpace, without: Collection[str] = ()) -> Int[Tensor, " N_old"]:
    """The position in the new vector of each weight of the old one; -1 where it is gone.

    A parameter of another shape shares its first rows and columns, as an embedding of more words does.

    Args:
        old: Parameters before.
        new: Parameters now.
        without: Parameters that share nothing although they have the same name.

    Example:
        >>> before, now = (ParameterSpace(("w", "b"), ((rows, 2), (1,))) for rows in (2, 3))
        >>> shared_positions(before, now).tolist(), shared_positions(now, before).tolist()
        ([0, 1, 2, 3, 6], [0, 1, 2, 3, -1, -1, 4])
    """
    shapes, parts = dict(zip(new.names, new.shapes, strict=True)), []
    for name, shape in zip(old.names, old.shapes, strict=True):
        positions = torch.full(shape, -1)
        if name in shapes and name not in without and len(shapes[name]) == len(shape):
            block = tuple(slice(0, min(sizes)) for sizes in zip(shape, shapes[name], strict=True))
            positions[block] = new.columns([name]).view(shapes[name])[block]
        parts.append(positions.flatten())
    return torch.cat(parts)


def carried_penalty(
    penalty: Any, old: ParameterSpace, new: ParameterSpace, w: Float[Tensor, " N_new"], without: Collection[str] = ()
) -> Penalty | None:
    """The penalty of a model on its parameters of today: V of the shared weights, with those that are gone at rest.

    Args:
        penalty: A penalty on the old parameters, or a sum of penalties.
        old: Parameters before.
        new: Parameters now.
        w: The weights now; those that no task held have this anchor and no stiffness.
        without: Parameters that share nothing although they have the same name.

    Returns:
        The penalty; None if no weight is shared.

    Raises:
        InputError: If a length does not fit, or the penalty is of another kind.

    Example:
        >>> before, now = (ParameterSpace(("w",), ((rows, 1),)) for rows in (1, 2))
        >>> penalty = QuadraticPenalty(anchor=torch.ones(1), stiffness=torch.tensor([3.0]))
        >>> carried = carried_penalty(penalty, before, now, torch.tensor([1.0, 5.0]))
        >>> carried(torch.tensor([[2.0, 5.0], [1.0, 9.0]])).tolist()
        [3.0, 0.0]
    """
    if penalty.dim != old.dim:
        raise InputError(
            expected=f"a penalty on the {old.dim} old weights", got=f"one on {penalty.dim}",
            hint="Pass the parameters that the penalty was made for.",
        )  # fmt: skip
    return _Change(old, new, check_vector("w", w, dim=new.dim), shared_positions(old, new, without)).carried(penalty)


@dataclasses.dataclass(frozen=True)
class _Change:
    old: ParameterSpace
    new: ParameterSpace
    w: Tensor
    positions: Tensor

    def carried(self, penalty: Any) -> Penalty | None:
        if isinstance(penalty, PenaltySum):
            parts = [part for each in penalty.parts if (part := self.carried(each)) is not None]
            return PenaltySum(tuple(parts)) if parts else None
        if isinstance(penalty, PartPenalty):
            return self._part(penalty.part, penalty.columns.cpu())
        return self._part(penalty, torch.arange(self.old.dim))

    def _part(self, part: Any, columns: Tensor) -> Penalty | None:
        """A penalty on some of the old weights."""
        if isinstance(part, PenaltySum):
            parts = [found for each in part.parts if (found := self._part(each, columns)) is not None]
            return PenaltySum(tuple(parts)) if parts else None
        if isinstance(part, PartPenalty):
            return self._part(part.part, columns[part.columns.cpu()])
        if bool((self.positions[columns] < 0).all()):
            return None
        if isinstance(part, KroneckerPenalty | LowRankKroneckerPenalty):
            return self._product(part, columns) or self._each(uncoupled_penalty(part), columns)
        check_kind("the penalty", part, QuadraticPenalty, hint="Pass a penalty of landscope.penalties.")
        return self._each(part, columns) if part.directions is None else self._along(part, columns)

    def _shapes(self, names: list[str]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Shapes of some parameters before and now."""
        before, now = (dict(zip(space.names, space.shapes, strict=True)) for space in (self.old, self.new))
        return [(before[name], now[name]) for name in names]

    def _placed(self, part: Penalty, columns: Tensor) -> PartPenalty:
        return PartPenalty(part, columns.to(self.w.device), dim=self.new.dim, parameters=self.new.names)

    def _each(self, part: QuadraticPenalty, columns: Tensor) -> Penalty:
        """A stiffness of each weight: new weights of the same parameters have none."""
        to = self.positions[columns]
        names = [name for name in self.new.names if bool(torch.isin(self.new.columns([name]), to).any())]
        whole = self.new.columns(names)
        anchor, stiffness = self.w.clone(), self.w.new_zeros(self.new.dim)
        anchor[to[to >= 0]] = part.anchor[to >= 0].to(self.w)
        stiffness[to[to >= 0]] = part.stiffness[to >= 0].to(self.w)
        if len(whole) == self.new.dim and len(columns) == self.old.dim:
            return dataclasses.replace(part, anchor=anchor, stiffness=stiffness, parameters=self.new.names)
        placed = dataclasses.replace(part, anchor=anchor[whole], stiffness=stiffness[whole], parameters=())
        return self._placed(placed, whole)

    def _along(self, part: QuadraticPenalty, columns: Tensor) -> Penalty:
        r"""Directions: the matrix :math:`k_0 + P^\top (k - k_0) P` of the shared weights, in its own eigenvectors."""
        to = self.positions[columns]
        kept = (to >= 0).to(part.anchor.device)
        assert part.directions is not None  # noqa: S101 - the caller has looked
        basis, rows = torch.linalg.qr(part.directions[:, kept].double().T)
        among = (rows * (part.stiffness.double() - part.floor)) @ rows.T
        above, vectors = torch.linalg.eigh(among)
        restricted = dataclasses.replace(
            part, anchor=part.anchor[kept].clone(), directions=(basis @ vectors).T.to(part.directions),
            stiffness=(part.floor + above).clamp(min=0).to(part.stiffness), parameters=(),
        )  # fmt: skip
        return self._placed(restricted, to[to >= 0])

    def _product(self, part: KroneckerPenalty | LowRankKroneckerPenalty, columns: Tensor) -> Penalty | None:
        """A product of two factors: new rows and columns of the matrix have none; None if no matrix is left."""
        grid = columns.view(part.anchor.shape)
        touched = [name for name in self.old.names if bool(torch.isin(self.old.columns([name]), columns).any())]
        transposed = next(
            (turned for turned in (False, True) if _same(_matrix(self.old, touched, transposed=turned), grid)), None
        )
        if transposed is None or any(name not in self.new.names for name in touched):
            return None
        if any(bool((self.positions[self.old.columns([name])] < 0).all()) for name in touched):
            return None
        if any(a[1:] != b[1:] and len(a) > 2 for a, b in self._shapes(touched)):
            return None  # a row of the matrix runs through several dimensions, of which one has changed
        there = _matrix(self.new, touched, transposed=transposed)
        assert there is not None  # noqa: S101 - the same names had one
        biased = len(touched) > 1
        rows = min(len(grid), len(there))
        inner = min(grid.shape[1], there.shape[1]) - biased
        here_columns = [*range(inner), *([grid.shape[1] - 1] if biased else [])]
        there_columns = [*range(inner), *([there.shape[1] - 1] if biased else [])]
        anchor = self.w.cpu()[there].to(part.anchor)
        anchor[:rows, there_columns] = part.anchor[:rows, here_columns]
        outputs = part.outputs.new_zeros(len(there), len(there))
        outputs[:rows, :rows] = part.outputs[:rows, :rows]
        if isinstance(part, LowRankKroneckerPenalty) and grid.shape[1] == there.shape[1]:
            return self._placed(dataclasses.replace(part, anchor=anchor, outputs=outputs), there.flatten())
        inputs = part.outputs.new_zeros(there.shape[1], there.shape[1])
        inputs[torch.tensor(there_columns)[:, None], there_columns] = part.inputs[
            torch.tensor(here_columns)[:, None], here_columns
        ]
        product = KroneckerPenalty(  # also of a low rank: its floor would hold the new columns
            anchor=anchor, inputs=inputs, outputs=outputs, strength=part.strength,
            stiffness_source=part.stiffness_source, provenance=part.provenance,
        )  # fmt: skip
        return self._placed(product, there.flatten())


def _matrix(space: ParameterSpace, names: list[str], *, transposed: bool) -> Tensor | None:
    """Positions of the weights of a layer as its matrix, the bias as the last column; None for other parameters."""
    shapes = dict(zip(space.names, space.shapes, strict=True))
    weights = [name for name in names if len(shapes[name]) > 1]
    biases = [name for name in names if len(shapes[name]) == 1]
    if len(weights) != 1 or len(biases) > 1:
        return None
    columns = space.columns(weights).view(shapes[weights[0]][0], -1)
    columns = columns.T if transposed else columns
    if not biases:
        return columns
    bias = space.columns(biases)
    return None if len(bias) != len(columns) else torch.cat([columns, bias[:, None]], dim=1)


def _same(first: Tensor | None, second: Tensor) -> bool:
    return first is not None and torch.equal(first, second)
