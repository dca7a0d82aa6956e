"""Which entries of the outputs of a model belong to which sample, found out and never assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.risk.outputs import Outputs, OutputSource
from landscope.risk.sample_axes import SampleAxes, SampleAxis, axis_of_samples, holds_slopes, probed
from landscope.risk.weighted_losses import loss_weights

__all__ = ["check_own_outputs", "known_samples", "n_losses", "own_slopes", "samples_of"]

_PROBES = 8
_SHIFT = 0.1
"""Change of the weights, in units of their mean size, at which outputs of parts of a batch are compared."""


def samples_of(source: OutputSource, parameters: dict[str, Tensor], block: int, outputs: Outputs) -> SampleAxes | None:
    """The axes of the samples in the output tensors of a block; None where they cannot be told.

    Where each sample has a loss of its own, its slope along the outputs shows which entries belong to the sample.
    Otherwise two samples are evaluated as a batch of their own, and their outputs are looked for in those of the block.
    """
    if block not in source.samples:
        source.samples[block] = _samples_of(source, parameters, block, outputs.detached())
    return source.samples[block]


def known_samples(
    source: OutputSource, parameters: dict[str, Tensor], block: int, outputs: Outputs, hint: str
) -> SampleAxes:
    """The same.

    Raises:
        InputError: If they cannot be told.
    """
    found = samples_of(source, parameters, block, outputs)
    if found is None:
        raise InputError(
            expected="outputs of which it can be told what belongs to which sample",
            got=f"outputs of shape {', '.join(str(list(tensor.shape)) for tensor in outputs.tensors)}", hint=hint,
        )  # fmt: skip
    return found


def _samples_of(source: OutputSource, parameters: dict[str, Tensor], block: int, outputs: Outputs) -> SampleAxes | None:
    points, counts = [tensor.clone().requires_grad_() for tensor in outputs.tensors], source.counts(block)
    with torch.enable_grad():
        losses, weight = source.losses(outputs, points, block)
    has_own = loss_weights(losses, weight) is not None and losses.requires_grad
    by_losses = _by_losses(losses, points) if has_own else None
    has_slopes = has_own and any(float(slope.abs().max()) > 0 for slope in _slopes_of(losses.sum(), points))
    if by_losses is not None and has_slopes and (len(losses) in counts or not counts):
        return by_losses
    by_values = (_by_values(source, parameters, block, n) for n in counts)
    return next((found for found in by_values if found is not None), by_losses)


def _slopes_of(loss: Tensor, points: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.autograd.grad(loss, points, retain_graph=True, materialize_grads=True)


def _by_losses(losses: Tensor, points: Sequence[Tensor]) -> SampleAxes | None:
    n, samples = len(losses), probed(len(losses), _PROBES)
    slopes = [_slopes_of(losses[k], points) for k in samples]

    def agrees(place: int) -> Callable[[SampleAxis], bool]:
        own = [slope[place] for slope in slopes]
        return lambda axis: holds_slopes(axis, own, samples, n)

    return _together([axis_of_samples(point, n, agrees(place)) for place, point in enumerate(points)], n)


def _by_values(source: OutputSource, parameters: dict[str, Tensor], block: int, n: int) -> SampleAxes | None:
    """The axes along which the outputs of the last and the first sample alone are found, in this order."""
    generator, places = torch.Generator().manual_seed(0), torch.tensor([n - 1, 0][:n])
    moved = {name: _moved(tensor.detach(), generator) for name, tensor in parameters.items()}
    with torch.no_grad():
        whole = source.outputs(moved, block).tensors
        try:
            some = source.some(moved, block, n, places)
        except Exception:  # noqa: BLE001 - of the model's own, which may know the size of its batches
            return None
    if len(some) != len(whole):
        return None

    def agrees(tensor: Tensor, few: Tensor) -> Callable[[SampleAxis], bool]:
        accuracy = min(0.05, 1e3 * torch.finfo(tensor.dtype).eps)

        def found(axis: SampleAxis) -> bool:
            if not axis.fits(few, len(places)):
                return False
            rows, alone = axis.first(tensor, n)[places.to(tensor.device)], axis.first(few, len(places))
            largest = float(rows.abs().max()) if rows.numel() else 0.0
            return rows.shape == alone.shape and torch.allclose(rows, alone, rtol=accuracy, atol=accuracy * largest)

        return found

    pairs = zip(whole, some, strict=True)
    return _together([axis_of_samples(tensor, n, agrees(tensor, few)) for tensor, few in pairs], n)


def _moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Other weights: at zero weights, for example, all samples have the same outputs."""
    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
    return tensor + _SHIFT * (tensor.abs().mean() + _SHIFT) * noise


def _together(axes: Sequence[SampleAxis | None], n: int) -> SampleAxes | None:
    found = tuple(axis for axis in axes if axis is not None)
    return SampleAxes(n, found, n) if len(found) == len(axes) else None


def own_slopes(source: OutputSource, outputs: Outputs, block: int) -> Iterator[list[Tensor]]:
    """The slope of the loss of each sample along all outputs, one sample after another.

    Raises:
        InputError: If the samples have no losses of their own, or an output belongs to several samples.
    """
    points = [tensor.detach().clone().requires_grad_() for tensor in outputs.tensors]
    taken = [torch.zeros_like(point, dtype=torch.bool) for point in points]
    with torch.enable_grad():
        losses, weight = source.losses(outputs, points, block)
        known = loss_weights(losses, weight) is not None
    for place in range(len(losses)):
        with torch.enable_grad():
            slopes = _slopes_of(losses[place], points)
        if not known or any(bool((before & (s != 0)).any()) for before, s in zip(taken, slopes, strict=True)):
            raise InputError(
                expected="losses that each depend on the outputs for their own sample",
                got="losses that compare the samples of a batch" if known else "one loss for a batch",
                hint='Gradients of single samples do not exist here. Use the method "ldc" or "l2".',
            )
        for before, slope in zip(taken, slopes, strict=True):
            before |= slope != 0
        yield list(slopes)


def check_own_outputs(source: OutputSource, parameters: dict[str, Tensor]) -> None:
    """Raise if a sample's loss depends on the outputs for other samples, by weights 1 and 2 of the losses.

    Raises:
        InputError: If the gradients along the outputs do not have the weights of their samples.
    """
    with torch.no_grad():
        outputs = source.outputs(parameters, 0).detached()
    axes = samples_of(source, parameters, 0, outputs)
    points = [tensor.clone().requires_grad_() for tensor in outputs.tensors]
    with torch.enable_grad():
        losses = source.losses(outputs, points, 0)[0]
    if axes is None or len(losses) != axes.n:
        return
    factors = (1 + torch.arange(len(losses)) % 2).to(losses)
    plain, weighted = _slopes_of(losses.sum(), points), _slopes_of((losses * factors).sum(), points)
    for one, other in zip(axes.first(plain), axes.first(weighted), strict=True):
        exact = one * factors.to(one).view(-1, *[1] * (one.ndim - 1))
        if float((other - exact).abs().max()) > 1e-3 * float(exact.abs().max()):
            raise InputError(
                expected="losses that each depend on the outputs for their own sample",
                got="losses that compare the samples of a batch",
                hint='Gradients of single samples do not exist here. Use the method "ldc", "mas" or "l2".',
            )


@torch.no_grad()
def n_losses(source: OutputSource, outputs: Outputs, block: int) -> int:
    """Number of losses of a block."""
    return len(source.losses(outputs, outputs.tensors, block)[0])
