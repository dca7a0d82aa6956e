"""How the principal modes turn during a training: the overlap of successive windows, beside modes that do not turn."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_seed, check_trajectory
from landscope.directions.overlap import subspace_overlap
from landscope.directions.principal import principal_modes
from landscope.errors import InputError
from landscope.protocols import ProgressCallback, silent
from landscope.results import Result, stamp
from landscope.synthetic import autoregressive
from landscope.trajectory import Trajectory

__all__ = ["ModesOverTraining", "modes_over_training"]

_MIN_ROWS = 20
_NULL_MODES = 50
_DRAWS = 20
_LARGEST_MEMORY = 1 - 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModesOverTraining(
    Result,
    kind="modes_over_training",
    dims={
        "steps": ("window",), "with_last": ("window",), "variance": ("window",),
        "with_next": ("pair",), "unturned": ("pair",), "unturned_range": ("pair", "end"),
    },
):  # fmt: skip
    """Overlap of the first modes of successive windows.

    Args:
        steps: Last optimiser step of each window, ``[W]``.
        with_next: Overlap of the modes of each window with those of the next one, ``[W - 1]``.
        with_last: Overlap of the modes of each window with those of the last one, ``[W]``.
        unturned: Overlap with the next window if the modes did not turn: mean over simulated pairs, ``[W - 1]``.
        unturned_range: Its smallest and largest value over the simulated pairs, ``[W - 1, 2]``.
        variance: Variance of all weights in each window, ``[W]``.
        chance: Overlap k/N of directions at random.
        n_modes: Number k of modes.
        rows: Rows of a window.
    """

    steps: Float[Tensor, " W"]
    with_next: Float[Tensor, " pairs"]
    with_last: Float[Tensor, " W"]
    unturned: Float[Tensor, " pairs"]
    unturned_range: Float[Tensor, "pairs 2"]
    variance: Float[Tensor, " W"]
    chance: float
    n_modes: int
    rows: int


def modes_over_training(
    trajectory: Trajectory,
    n_modes: int = 5,
    *,
    n_windows: int = 10,
    most_rows: int = 200,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> ModesOverTraining:
    r"""How much the first k modes of successive windows of a training span the same directions.

    .. math:: O(a, b) = \frac1k \sum_{i,j \le k} (p_i^a \cdot p_j^b)^2

    Two windows of a process whose modes never turn overlap by less than 1: a short window cannot tell modes of nearly
    the same variance from each other. So each pair has its null: independent AR(1) processes along the first modes of
    the earlier window, with its memory and innovations, give two successive windows of the same length; their overlap
    is what would be seen without any turning.

    The cost is that of the principal modes of ``n_windows`` windows of ``most_rows`` rows.

    Args:
        trajectory: A recording, such as that of a whole training.
        n_modes: Number k of modes.
        n_windows: Number of windows, of equal length, at even distances; the last ends with the recording.
        most_rows: Largest number of rows of a window.
        seed: Seed of the simulated windows.
        progress: Callback for the number of completed windows.

    Returns:
        The overlaps.

    Raises:
        InputError: If the recording has fewer than 20 rows for each of two windows, or fewer weights than modes.

    Example:
        >>> from landscope.synthetic import sgd_in_bowl
        >>> curvature = torch.tensor([1.0, 1.0, 20.0, 20.0])
        >>> rows = sgd_in_bowl(curvature, 400, learning_rate=0.05, noise_variance=1.0, seed=0)
        >>> found = modes_over_training(Trajectory.of(rows), 2, n_windows=4)
        >>> found.steps.tolist(), bool((found.with_next > 0.7).all()), found.chance
        ([100.0, 200.0, 300.0, 400.0], True, 0.5)
    """
    check_trajectory(trajectory)
    check_count("n_modes", n_modes, maximum=trajectory.dim)
    check_count("n_windows", n_windows, minimum=2)
    check_count("most_rows", most_rows, minimum=max(_MIN_ROWS, n_modes + 1))
    check_seed(seed)
    windows = _windows(trajectory, n_windows, most_rows, max(_MIN_ROWS, n_modes + 1))
    found, variance, nulls = [], [], []
    for number, window in enumerate(windows):
        modes = principal_modes(window, min(_NULL_MODES, len(window) - 1, window.dim))
        found.append(modes.directions[:n_modes].clone())
        variance.append(modes.total)
        if number + 1 < len(windows):
            nulls.append(_unturned(modes.project_trajectory(window), n_modes, seed + number))
        progress(number + 1, len(windows))
    overlaps = torch.tensor(nulls, dtype=torch.float64)
    return ModesOverTraining(
        steps=torch.tensor([int(window.steps[-1]) for window in windows], dtype=torch.float64),
        with_next=torch.tensor([subspace_overlap(a, b) for a, b in itertools.pairwise(found)]).double(),
        with_last=torch.tensor([subspace_overlap(a, found[-1]) for a in found]).double(),
        unturned=overlaps.mean(dim=1),
        unturned_range=torch.stack([overlaps.amin(dim=1), overlaps.amax(dim=1)], dim=1),
        variance=torch.tensor(variance, dtype=torch.float64),
        chance=n_modes / trajectory.dim,
        n_modes=n_modes,
        rows=len(windows[0]),
        provenance=stamp(n_modes=n_modes, n_windows=len(windows), seed=seed),
    )


def _windows(trajectory: Trajectory, count: int, most_rows: int, fewest_rows: int) -> list[Trajectory]:
    """Windows of equal length, the last at the end; fewer than asked for where the recording is short."""
    total = len(trajectory)
    count = min(count, total // fewest_rows)
    if count < 2:
        raise InputError(
            expected=f"at least {2 * fewest_rows} recorded rows, for two windows of {fewest_rows}",
            got=f"{total}", hint="Record more steps, or ask for fewer modes.",
        )  # fmt: skip
    apart = total // count
    rows = min(apart, most_rows)
    ends = [total - apart * back for back in reversed(range(count))]
    return [trajectory.part(slice(end - rows, end)) for end in ends]


def _unturned(coordinates: Float[Tensor, "T k"], n_modes: int, seed: int) -> list[float]:
    """Overlaps of two successive windows of AR(1) processes with the memory and innovations of each coordinate."""
    x = coordinates.double()
    before, after = x[:-1], x[1:]
    memory = (before * after).sum(dim=0) / before.square().sum(dim=0).clamp(min=torch.finfo(x.dtype).tiny)
    memory = memory.clamp(-_LARGEST_MEMORY, _LARGEST_MEMORY)
    innovations = (after - memory * before).square().mean(dim=0)
    rows = len(x)
    paths = autoregressive(
        memory.repeat(_DRAWS), 2 * rows, seed=seed, noise_variance=innovations.repeat(_DRAWS)
    ).unflatten(1, (_DRAWS, len(memory)))
    windows = paths.unflatten(0, (2, rows)).transpose(1, 2)  # [2, draws, rows, k]
    modes = torch.linalg.svd(windows - windows.mean(dim=2, keepdim=True), full_matrices=False).Vh[:, :, :n_modes]
    return [subspace_overlap(first, second) for first, second in zip(*modes, strict=True)]
