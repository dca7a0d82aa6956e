"""A check that the number which a loss gives for a batch is the sum, or the mean, that it is taken for."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from landscope._checks import for_float64
from landscope.errors import InputError
from landscope.risk.samples import all_joined, count_of, counted_by, rows_of
from landscope.risk.weighted_losses import read_losses, total_weight

__all__ = ["check_sums_and_means"]

_ROWS = 32
_BATCHES = 2
_TRIALS = 8
_ROUNDING = 1e-5
_FAR = 6.0
"""Standard errors that the mean of eight differences exceeds by chance less than once in a thousand times."""


@torch.no_grad()
def check_sums_and_means(
    evaluate: Callable[[Any, int], Any],
    batches: Sequence[Any],
    count: Callable[[Any], Any] | None = None,
    *,
    draws: bool = False,
) -> None:
    """Raise if a loss returns a mean in place of a sum, or, with ``count``, a sum in place of a mean.

    Half of a batch has half of a sum, but the same mean, up to the differences between samples. At most two batches of
    32 samples are cut. Batches that cannot be cut, such as graphs, are not checked.

    Args:
        evaluate: ``batch, number -> what the function of the user returns``; each number has its own random numbers.
        batches: The batches.
        count: ``count(batch)`` of the user, for a loss that is one mean.
        draws: Whether the loss draws random numbers. The means of eight trials are then compared.

    Raises:
        InputError: If it does.
    """
    near, evaluate = [], _evaluated_once(evaluate)
    for number, parts in enumerate(_cuts(batches)):
        if number >= _BATCHES and not all(near):
            return
        trials = []
        for trial in range(_TRIALS if draws else 1):
            found = _numbers(evaluate, parts, 3 * trial, count, draws=draws)
            if found is None:
                return
            trials.append(found)
        values, weights = torch.tensor(trials, dtype=torch.float64).unbind(dim=2)
        cut = _Cut(*values.T, *weights[0].tolist())
        if not cut.is_comparable:
            return
        if count is not None and cut.is_sum and not cut.is_mean:
            raise InputError(
                expected="the mean over a batch, for a loss with count=", got=f"{cut}, as a sum gives",
                hint="Return reduction='mean', or leave count= out and return (losses.sum(), count).",
            )  # fmt: skip
        near.append(cut.is_near_mean)
        if count is None and not cut.is_sum and (cut.is_mean or (len(near) >= 2 * _BATCHES and all(near))):
            raise InputError(
                expected="the sum of the losses of a batch with their count, (losses.sum(), count)",
                got=f"{cut}, as a mean gives",
                hint="Return reduction='none' losses, or multiply the mean by its count. Or return the mean alone and "
                "pass count=f, with f(batch) giving the number of samples (ls.Study, ls.keep, consolidate: "
                "loss_options={'count': f}).",
            )


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Numbers of a batch and of its two parts, in some trials, and their weights."""

    both: Tensor
    first: Tensor
    second: Tensor
    weight: float
    first_weight: float
    second_weight: float

    def __str__(self) -> str:
        both, first, second = (float(part.mean()) for part in (self.both, self.first, self.second))
        return f"{both:.4g} for {self.weight:.4g} samples, and {first:.4g} and {second:.4g} for two parts of them"

    @property
    def size(self) -> float:
        return float((self.first.abs() + self.second.abs()).mean())

    @property
    def is_comparable(self) -> bool:
        """Whether the weights add up, and the numbers are no zeros."""
        adds_up = math.isclose(self.weight, self.first_weight + self.second_weight, rel_tol=_ROUNDING)
        return adds_up and self.weight > 0 and math.isfinite(self.size) and self.size > 0

    @property
    def is_sum(self) -> bool:
        """Whether both parts add up to the whole."""
        return self._is_zero(self.both - self.first - self.second)

    @property
    def is_mean(self) -> bool:
        """Whether the whole is the mean of both parts."""
        return self._is_zero(self.both - self._mean_of_parts)

    @property
    def is_near_mean(self) -> bool:
        """Whether the whole lies between both parts and near their mean, as one over tokens and not over samples."""
        apart = float((self.first - self.second).abs().mean())
        return float((self.both - self._mean_of_parts).abs().mean()) <= min(apart / 4, self.size / 8)

    @property
    def _mean_of_parts(self) -> Tensor:
        return (self.first_weight * self.first + self.second_weight * self.second) / self.weight

    def _is_zero(self, differences: Tensor) -> bool:
        """Whether the mean of some differences is zero up to rounding and to what chance explains."""
        by_chance = float(differences.std()) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
        return abs(float(differences.mean())) <= _ROUNDING * self.size + _FAR * by_chance


def _cuts(batches: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Some batches, each with two parts of it; where all are single samples, two with both together."""
    counts = [count_of(batch) or 0 for batch in batches]
    several = [place for place, count in enumerate(counts) if count > 1][:_BATCHES]
    wholes: dict[int, Any] = {}
    for share in (2, 3):
        for place in several:
            batch, count = batches[place], counts[place]
            end = min(count, _ROWS)
            middle = max(1, end // share)
            try:
                parts = [rows_of(batch, count, slice(*cut)) for cut in ((0, end), (0, middle), (middle, end))]
            except ValueError:
                continue
            yield wholes.setdefault(place, batch if end == count else parts[0]), parts[1], parts[2]
    for one, other in itertools.islice(itertools.pairwise(range(len(batches))), 0 if several else _BATCHES):
        both = all_joined([batches[one], batches[other]], [1, 1])
        if counts[one] == counts[other] == 1 and both is not None:
            yield both, batches[one], batches[other]


def _evaluated_once(evaluate: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """The same function, which knows what it returned: a batch is cut twice."""
    known: dict[tuple[int, int], tuple[Any, Any]] = {}

    def returned(batch: Any, number: int) -> Any:
        key = id(batch), number
        if key not in known:
            known[key] = batch, evaluate(batch, number)  # with its batch, so that no other has its id
        return known[key][1]

    return returned


def _numbers(
    evaluate: Callable[[Any, int], Any],
    parts: Sequence[Any],
    first: int,
    count: Callable[[Any], Any] | None,
    *,
    draws: bool,
) -> list[tuple[float, float]] | None:
    """The numbers that stand for the parts of a batch, and their weights; None where there are no such numbers."""
    found = []
    for place, part in enumerate(parts):
        try:
            returned = evaluate(part, first + place)
            weight = 0 if count is None else counted_by(count, part)
        except Exception:  # noqa: BLE001 - a model may know the size of its batches; an error of its own comes again
            return None
        if count is not None:
            losses = returned
        else:
            losses, weight = read_losses(returned)
        is_one = isinstance(losses, Tensor) and losses.numel() == 1
        if not is_one and (count is not None or draws):
            return None
        found.append((float(for_float64(losses).sum(dtype=torch.float64)), total_weight(weight)))
    return found
