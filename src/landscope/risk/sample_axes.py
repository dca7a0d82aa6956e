"""Where the samples of a batch lie in a tensor: on an axis of their own, or folded with positions in one axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["SampleAxes", "SampleAxis", "axis_of_samples", "holds_slopes", "probed"]

_NOTHING = 1e-6
"""Share of the largest slope of a sample that counts as no slope."""
_PROBED = 3


def probed(count: int, n_probes: int = _PROBED) -> list[int]:
    """A few samples from the first to the last."""
    return sorted(set(torch.linspace(0, count - 1, min(n_probes, count)).long().tolist()))


@dataclasses.dataclass(frozen=True)
class SampleAxis:
    """The axis of the samples of a tensor, which may hold several positions of each sample.

    Args:
        axis: The axis.
        outer: Whether all positions of a sample follow each other (index k t_max + t); otherwise all samples of a
            position do (index t n + k). Without meaning where the axis holds the samples alone.
        folded: Whether the axis may hold positions too.
    """

    axis: int = 0
    outer: bool = True
    folded: bool = False

    def fits(self, tensor: Tensor, n: int) -> bool:
        """Whether a tensor of n samples may have this axis."""
        size = tensor.shape[self.axis] if tensor.ndim > self.axis else 0
        return size > 0 and (size % n == 0 if self.folded else size == n)

    def first(self, tensor: Tensor, n: int) -> Tensor:
        """A view with the samples first, ``[n, ...]``; positions come where the axis was."""
        if not self.folded:
            return tensor.movedim(self.axis, 0)
        positions = tensor.shape[self.axis] // n
        if self.outer:
            return tensor.unflatten(self.axis, (n, positions)).movedim(self.axis, 0)
        return tensor.unflatten(self.axis, (positions, n)).movedim(self.axis + 1, 0)

    def back(self, view: Tensor) -> Tensor:
        """The tensor that has this view."""
        if not self.folded:
            return view.movedim(0, self.axis)
        return view.movedim(0, self.axis + (not self.outer)).flatten(self.axis, self.axis + 1)

    def calls(self, tensor: Tensor, n: int) -> list[Tensor]:
        """Tensors with the samples first: one for each position of a folded axis, with all other axes in place."""
        view = self.first(tensor, n)
        return list(view.unbind(self.axis + 1)) if self.folded else [view]


def _candidates(ndim: int) -> Iterator[SampleAxis]:
    for axis in range(ndim):
        yield SampleAxis(axis)
    for axis in range(min(2, ndim)):
        yield SampleAxis(axis, outer=True, folded=True)
        yield SampleAxis(axis, outer=False, folded=True)


def axis_of_samples(tensor: Tensor, n: int, agrees: Callable[[SampleAxis], bool]) -> SampleAxis | None:
    """The first axis of a tensor that may be that of n samples and agrees with what is known of them, or None."""
    fitting = (axis for axis in _candidates(tensor.ndim) if axis.fits(tensor, n))
    return next((axis for axis in fitting if agrees(axis)), None)


def holds_slopes(axis: SampleAxis, slopes: Sequence[Tensor | None], samples: Sequence[int], n: int) -> bool:
    """Whether each sample has slopes at its own places only."""
    for slope, sample in zip(slopes, samples, strict=True):
        if slope is None:
            continue
        view = axis.first(slope.abs(), n)
        largest, own = view.max(), view[sample].max()
        others = torch.cat([view[:sample], view[sample + 1 :]])
        if not bool(largest == 0) and not (bool(own == largest) and bool((others <= _NOTHING * largest).all())):
            return False
    return True


@dataclasses.dataclass(frozen=True)
class SampleAxes:
    """The axes of the samples of several tensors of one batch.

    Args:
        n: Number of samples.
        axes: The axis of each tensor.
        count: Number of samples that the slopes of this batch belong to, where they come one sample at a time.
    """

    n: int
    axes: tuple[SampleAxis, ...]
    count: int

    @classmethod
    def rows(cls, tensors: Sequence[Tensor]) -> SampleAxes:
        """Every row of the first axis is a sample."""
        return cls(len(tensors[0]), (SampleAxis(),) * len(tensors), len(tensors[0]))

    @classmethod
    def whole(cls, tensors: Sequence[Tensor], count: int) -> SampleAxes:
        """All entries belong to one sample, as for slopes of one of ``count`` samples that are zero for all others."""
        return cls(1, (SampleAxis(folded=True),) * len(tensors), count)

    def first(self, tensors: Sequence[Tensor], n: int | None = None) -> list[Tensor]:
        """Views with the samples first."""
        return [axis.first(tensor, n or self.n) for axis, tensor in zip(self.axes, tensors, strict=True)]

    def back(self, views: Sequence[Tensor]) -> list[Tensor]:
        """The tensors that have these views."""
        return [axis.back(view) for axis, view in zip(self.axes, views, strict=True)]
