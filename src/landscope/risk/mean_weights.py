"""A check that the mean of a batch, which says no weight, has the weight by which it is added to other means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from landscope.errors import InputError
from landscope.risk.samples import all_joined, count_of, rows_of, rows_of_pair

__all__ = ["Piece", "check_weights_of_means", "cut_by_label", "pieces_of"]

_RTOL = 1e-4
_LEAST_SPREAD = 1e-3
"""Spread of the means, as a share of their size, below which wrong weights change less than this share."""
_KEPT = 32


class Piece(NamedTuple):
    """Some samples: a batch or a part of one.

    Args:
        batch: The samples.
        count: Number of samples; None if it is not known.
        weight: The weight that is taken for their mean; None if it is not known.
    """

    batch: Any
    count: int | None
    weight: float | None


Mean = Callable[[Any], float | None]
"""The mean of a batch; None where the batch says its weight itself."""


def pieces_of(batches: Sequence[Any], weights: Sequence[float]) -> list[Piece]:
    """Whole batches with their weights."""
    return [Piece(batch, count_of(batch), weight) for batch, weight in zip(batches, weights, strict=True)]


def check_weights_of_means(mean: Mean, batches: Sequence[Piece], count: Callable[[Any], float] | None = None) -> None:
    r"""Raise if the means of batches are means with other weights than those given.

    With :math:`m_A` the mean of batch A and :math:`W_A` its weight, the mean of two batches together is

    .. math:: m_{AB} = \frac{W_A m_A + W_B m_B}{W_A + W_B}

    All neighbours are joined and compared. Where two have different shapes, the parts of each one are compared. A loss
    that compares the samples of a batch with each other is no mean with any weights, and stays as it is.

    Args:
        mean: The mean of a batch.
        batches: All batches, with the weights that the user gave.
        count: The function of the user that gives the weight of a batch.

    Raises:
        InputError: If the means have other weights, as those of a loss with class weights have.
    """
    if len(batches) < 2:
        return  # the mean of one batch is the risk, whatever its weight
    means = _Means(mean)
    for first in range(len(batches) - 1):
        pair = list(batches[first : first + 2])
        if means.of(pair) is not None:
            groups = [pair]
        else:
            groups = [parts for piece in pair if (parts := _parts(piece, count)) is not None]
        for group in groups:
            if means.add_up(group):
                continue
            is_weighted = _is_weighted(means, group, batches, count)
            if is_weighted is False:
                return  # it compares samples: its batches stay as they are, each with the weight given
            if is_weighted is None and means.spread(group) > _LEAST_SPREAD:
                raise _unknown_weight(means, group)
            if is_weighted:
                raise _other_weight(means, group)


class _Means:
    """Means of pieces together; the last ones are kept."""

    def __init__(self, mean: Mean) -> None:
        self._mean = mean
        self._known: dict[tuple[int, ...], tuple[Sequence[Piece], float | None]] = {}

    def of(self, pieces: Sequence[Piece]) -> float | None:
        """The mean of several pieces together; None where they cannot be joined or evaluated."""
        key = tuple(id(piece.batch) for piece in pieces)
        if key not in self._known:
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = pieces, self._evaluated(pieces)  # with its batches, so that no other has their ids
        return self._known[key][1]

    def _evaluated(self, pieces: Sequence[Piece]) -> float | None:
        counts = [piece.count for piece in pieces]
        if len(pieces) > 1 and None in counts:
            return None
        together = all_joined([piece.batch for piece in pieces], [count or 0 for count in counts])
        try:
            return None if together is None else self._mean(together)
        except Exception:  # noqa: BLE001 - a function of a user may refuse a batch of another size
            return None

    def spread(self, pieces: Sequence[Piece]) -> float:
        """How far the means of pieces lie apart, as a share of their size."""
        own = [value for piece in pieces if (value := self.of([piece])) is not None and math.isfinite(value)]
        size = max(map(abs, own), default=0.0)
        return (max(own) - min(own)) / size if size else 0.0

    def add_up(self, pieces: Sequence[Piece]) -> bool:
        """Whether the mean of all is that of the means with their weights; True where it cannot be told."""
        own, together = [self.of([piece]) for piece in pieces], self.of(pieces)
        weights = [piece.weight for piece in pieces]
        if together is None or None in own or None in weights or not all(math.isfinite(m or 0.0) for m in own):
            return True
        return abs(together - _mean_of(own, weights)) <= _RTOL * max(abs(m or 0.0) for m in own)


def _mean_of(means: Sequence[float | None], weights: Sequence[float | None]) -> float:
    total = sum(weight or 0.0 for weight in weights)
    return sum((mean or 0.0) * (weight or 0.0) for mean, weight in zip(means, weights, strict=True)) / total


def _is_weighted(
    means: _Means, group: Sequence[Piece], batches: Sequence[Piece], count: Callable[[Any], float] | None
) -> bool | None:
    """Whether the means are those of some weights of the samples; None where it cannot be told."""
    first, last = group[0], group[-1]
    others = [piece for piece in batches if piece is not first and piece is not last]
    triples = [[*parts, last] for parts in [_parts(first, count)] if parts]
    triples += [[first, *parts] for parts in [_parts(last, count)] if parts]
    triples += [[first, last, other] for other in others[:2]]
    for pieces in triples:
        verdict = _are_consistent(means, pieces)
        if verdict is not None:
            return verdict
    return None


def _are_consistent(means: _Means, pieces: Sequence[Piece]) -> bool | None:
    """Whether the weights that two pairs of three pieces give also give the other means."""
    own = [means.of([piece]) for piece in pieces]
    found = {key: means.of([pieces[place] for place in key]) for key in ((0, 1), (1, 2), (0, 2), (0, 1, 2))}
    if None in own or None in found.values() or not all(math.isfinite(m or 0.0) for m in (*own, *found.values())):
        return None
    known = [float(value or 0.0) for value in own]
    spread = max(known) - min(known)
    if spread <= _LEAST_SPREAD * max(map(abs, known)):
        return None
    middle = max(range(3), key=lambda place: min(abs(known[place] - known[other]) for other in {0, 1, 2} - {place}))
    one, other = sorted({0, 1, 2} - {middle})
    if min(abs(known[middle] - known[place]) for place in (one, other)) < 0.05 * spread:
        return None
    weights = [1.0, 1.0, 1.0]
    for place in (one, other):
        together = float(found[min(place, middle), max(place, middle)] or 0.0)
        # m_AB = (W_A m_A + W_B m_B) / (W_A + W_B), solved for W_B with W_A = 1
        below = known[place] - together
        weights[place] = (together - known[middle]) / below if below else math.inf
        if not 0 < weights[place] < math.inf:
            return False
    tolerance = 2e-3 * spread + 2e-6 * max(map(abs, known))
    return all(
        abs(_mean_of([known[place] for place in key], [weights[place] for place in key]) - float(found[key] or 0.0))
        <= tolerance
        for key in ((one, other), (0, 1, 2))
    )


def _parts(piece: Piece, count: Callable[[Any], float] | None) -> list[Piece] | None:
    """A batch in two parts with different labels, where there are labels; None if it cannot be cut."""
    if piece.count is None or piece.count < 2:
        return None
    try:
        if count is not None and float(count(piece.batch)) != piece.weight:
            return None  # the function of the user reads batches of another structure
        parts = cut_by_label(piece.batch, piece.count)
        weights = [None if count is None else float(count(part)) for part, _ in parts]
    except Exception:  # noqa: BLE001 - batches of a user, of any structure
        return None
    return [Piece(part, n, weight) for (part, n), weight in zip(parts, weights, strict=True)]


def cut_by_label(batch: Any, count: int) -> list[tuple[Any, int]]:
    """Two parts of a batch in the order of its labels, each with its number of samples.

    Class weights show where the parts hold different classes.

    Raises:
        ValueError: If it is not known what is one sample.
    """
    labels = [
        leaf for leaf in tree_leaves(batch)
        if isinstance(leaf, Tensor) and leaf.shape == (count,) and not leaf.is_floating_point()
    ]  # fmt: skip
    order = labels[-1].argsort(stable=True).cpu() if labels else torch.arange(count)
    cut = rows_of_pair if type(batch) is tuple and len(batch) == 2 else rows_of
    return [(cut(batch, count, rows), len(rows)) for rows in order.tensor_split(2)]


def _other_weight(means: _Means, group: Sequence[Piece]) -> InputError:
    shown = [f"{means.of([piece]):.4g} (count {piece.weight:g})" for piece in group if piece.weight is not None]
    return InputError(
        expected="count(batch) to give the weight of the mean of a batch",
        got=f"batches with means {' and '.join(shown)} whose samples together have a mean of {means.of(group):.4g}",
        hint="The loss is a mean with other weights, as with class weights or ignored targets. Leave count= out and "
        "return (sum, weight): with class weights w and labels y the sum of w[y] * loss, and w[y].sum().",
    )


def _unknown_weight(means: _Means, group: Sequence[Piece]) -> InputError:
    return InputError(
        expected="count(batch) to give the weight of the mean of a batch",
        got=f"a mean of {means.of(group):.4g} for samples together, which the counts do not give",
        hint="Leave count= out and return (sum, weight), or the loss of each sample.",
    )
