"""The flatness along directions at w0 of a study, in this process or shared by workers: the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from landscope._checks import check_start
from landscope.directions.directions import Directions
from landscope.directions.principal import principal_modes
from landscope.landscape import Flatness, flatness
from landscope.landscape.flatness import joined
from landscope.law.exponents import Exponents, ranks_to_measure, variance_flatness
from landscope.protocols import ProgressCallback
from landscope.study.analysis import Analysis
from landscope.trajectory import Trajectory

__all__ = ["flatness_along", "flatness_of_pieces", "measured_exponents"]

_BLOCK = 32
"""The most directions of one call of a worker. A call begins with a loss at w0, which takes as long as one of them."""


def flatness_along(analysis: Analysis, directions: Tensor, *, ratio: float | None = None) -> Flatness:
    """Flatness along directions at w0, see :func:`landscope.flatness`.

    Args:
        analysis: The analysis.
        directions: Directions, ``[k, N]``.
        ratio: Factor of the loss at the crossings; that of the settings by default.
    """
    (found,) = flatness_of_pieces(analysis, directions, [slice(0, len(directions))], ratio=ratio)
    return found


def flatness_of_pieces(
    analysis: Analysis, directions: Tensor, pieces: Sequence[slice], *, ratio: float | None = None
) -> Iterator[Flatness]:
    """The flatness of some pieces of the directions, each as soon as it and those before it are measured."""
    ratio, total = ratio or analysis.settings.ratio, len(directions)
    if analysis.workers is not None and total:
        yield from _by_workers(analysis, directions, pieces, ratio)
        return
    for piece in pieces:
        yield _measured(
            analysis, directions[piece], ratio,
            lambda done, _, first=piece.start: analysis.progress(first + done, total),
        )  # fmt: skip


def _measured(analysis: Analysis, rows: Tensor, ratio: float, progress: ProgressCallback | None = None) -> Flatness:
    return flatness(
        analysis.risk, analysis.risk.w0, rows, ratio=ratio, rtol=analysis.settings.rtol, progress=progress
    )  # fmt: skip


def _by_workers(
    analysis: Analysis, directions: Tensor, pieces: Sequence[slice], ratio: float
) -> Iterator[Flatness]:  # fmt: skip
    workers = analysis.workers
    assert workers is not None  # noqa: S101 - asked before
    for piece in pieces:
        check_start(analysis.risk.w0, directions[piece], same_dtype=False)  # parallel ones may be in two blocks
    sizes = [piece.stop - piece.start for piece in pieces]
    most = max(1, min(_BLOCK, math.ceil(sum(sizes) / workers.count)))
    blocks = [
        (number, slice(first, min(first + most, piece.stop)))
        for number, piece in enumerate(pieces)
        for first in range(piece.start, piece.stop, most)
    ]
    waiting, given, done = [dict[int, Flatness]() for _ in pieces], 0, len(directions) - sum(sizes)
    for number, widths in workers.results(analysis, _block, [(block, ratio) for _, block in blocks], directions):
        piece, block = blocks[number]
        waiting[piece][block.start] = widths
        done += len(widths.width)
        analysis.progress(done, len(directions))
        while given < len(pieces) and sum(len(found.width) for found in waiting[given].values()) == sizes[given]:
            yield joined([found for _, found in sorted(waiting[given].items())])
            given += 1


def _block(analysis: Analysis, directions: Tensor, block: slice, ratio: float) -> Flatness:
    return _measured(analysis, directions[block], ratio)


def measured_exponents(
    name: str, analysis: Analysis, window: Trajectory, *, directions: Directions | None = None,
    fit_modes: tuple[int, int],
) -> Exponents:  # fmt: skip
    """The exponents of a surrogate of the window, with the flatness at w0 along its modes.

    Args:
        name: Name of the row in a table.
        analysis: The analysis.
        window: The surrogate.
        directions: Directions; its principal modes by default.
        fit_modes: First and last mode to fit; the flatness is measured as far as they reach.
    """
    directions = directions or principal_modes(window)
    ranks = ranks_to_measure(len(directions), fit_modes, None)
    widths = flatness_along(analysis, directions.directions[ranks - 1].to(analysis.risk.w0))
    return variance_flatness(
        directions, window, widths, fit_modes, name=name, ranks=ranks, spectrum_ranks=analysis.spectrum_ranks
    )
