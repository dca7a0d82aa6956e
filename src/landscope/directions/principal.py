"""Principal modes of a trajectory (paper, Eq. 5): the directions in which the weights fluctuate, and how far."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_trajectory
from landscope.directions.directions import Directions
from landscope.directions.moving import ROUNDING
from landscope.directions.one_pass import best_in_span, check_same_rows, lengths_in
from landscope.directions.room import check_file, check_room, room_for
from landscope.errors import InputError
from landscope.processes import check_same_call, joined, share
from landscope.protocols import ProgressCallback, silent
from landscope.results import stamp
from landscope.trajectory import Trajectory

__all__ = ["principal_modes", "principal_variances"]

_ACCURATE = 1e-6
"""Share of the largest eigenvalue down to which one decomposition counts: relative errors stay near 1e-9."""


_MORE = 10
"""Combinations of rows beyond the modes that are asked for, where these are found by a sketch."""


_PANEL = 256
"""Fewest columns of a product that are formed at once."""


_PART = 2**16
"""Columns of long rows that are orthonormalised at once."""


def principal_modes(
    trajectory: Trajectory,
    n_modes: int | None = None,
    *,
    sketch: Trajectory | None = None,
    path: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: ProgressCallback | None = None,
) -> Directions:
    r"""Principal component analysis of the rows of a trajectory (paper, Eq. 5 and Methods).

    .. math:: C = \frac1T \sum_t (w_t - \bar w)(w_t - \bar w)^\top, \qquad C p_i = \sigma_i^2 p_i

    The covariance is used where T > N and the Gram matrix where N >= T; all sums are float64. An eigenvalue carries
    an absolute error near 1e-16 of the first. So modes below 1e-6 of the first variance come from a second pass, in
    which the known modes are projected out of the rows: small modes are as accurate as in a float64 singular value
    decomposition of the rows. The trajectory is read a piece at a time and may lie on disk.

    Rows that are sketches of m numbers (``TrajectoryRecorder(..., sketch=m)``) have the same Gram matrix up to small
    errors. So :attr:`Directions.variance` is that of the weights, and :meth:`Directions.project_trajectory` gives the
    coordinates :math:`\theta_i(t)` up to their sign; modes of nearly the same variance are mixed. The standard error of
    a variance is :math:`\sqrt{2/m}` of it (2.2 % at m = 4096), and its bias
    :math:`\frac1m \sum_{j \ne i} \sigma_j^2 / (\sigma_i^2 - \sigma_j^2)`, where modes lie apart. Of k moving modes none
    is off by more than about :math:`2 \sqrt{k/m} + k/m`.

    ``sketch=`` finds the modes of rows of weights in a single pass over them: the modes of their sketches say which
    combinations of rows span the modes, and the pass forms ten more of these than are asked for (Halko, Martinsson and
    Tropp, SIAM Review 53, 2011, algorithms 4.1 and 5.1). Within their span modes and variances are exact; a mode leaves
    it by :math:`\sin^2 \approx \frac1m \sum_j (\sigma_j^2 / (\sigma_i^2 - \sigma_j^2))^2` over the modes j beyond it.
    ``residuals`` say how far each is from an eigenvector: their lengths are estimated from the sketches.

    Args:
        trajectory: Rows w_t, any floating dtype.
        n_modes: Number of modes; all min(T - 1, N) by default.
        sketch: The sketches of the same rows; ``trajectory`` then holds the weights.
        path: A new ``.npy`` file for the directions, where they would not fit into memory; ``directions`` then reads
            from it. For windows of more weights than rows, without ``sketch``.
        device: Where the products of rows are formed, in float64, such as ``"cuda"``.
        progress: Callback for the number of completed parts: the mean, the modes, their signs.

    Returns:
        The modes, in float64.

    Raises:
        InputError: If the trajectory has fewer than two rows, or fewer than ``n_modes + 1``, or if the modes, eight
            bytes a weight each, would not fit into memory or on the disk; if ``sketch`` is of other rows, or moves
            along fewer modes; if ``path`` is given where it is not used.
        StorageError: If the file is there already.
        NonFiniteError: If a weight is NaN or infinite.

    Example:
        A straight walk varies only along its own direction; the variance is (T^2 - 1)/12 squared steps.

        >>> import torch
        >>> way = torch.tensor([0.6, 0.8])
        >>> modes = principal_modes(Trajectory.of(torch.arange(5.0)[:, None] * way), n_modes=1)
        >>> [round(x, 6) for x in modes.directions[0].tolist()], round(float(modes.variance[0]), 6)
        ([0.6, 0.8], 2.0)

        Of sketches; and of weights, with their help.

        >>> from landscope import TrajectoryRecorder
        >>> model = torch.nn.Linear(100, 20)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> rows, sketches = TrajectoryRecorder(model, optimizer), TrajectoryRecorder(model, optimizer, sketch=500)
        >>> with rows, sketches:
        ...     for _ in range(9):
        ...         optimizer.zero_grad()
        ...         model(torch.randn(50, 100)).square().mean().backward()
        ...         optimizer.step()
        >>> modes = principal_modes(sketches.trajectory(), 3)
        >>> modes.project_trajectory(sketches.trajectory()).shape
        torch.Size([9, 3])
        >>> principal_modes(rows.trajectory(), 3, sketch=sketches.trajectory()).directions.shape
        torch.Size([3, 2020])
    """
    check_trajectory(trajectory)
    count, dim = len(trajectory), trajectory.dim
    file = None if path is None else check_file(path)
    if file is not None and (sketch is not None or count > dim):
        raise InputError(
            expected="a path for modes of more weights than rows, without sketch=",
            got=f"{count} rows of {dim} weights" if sketch is None else "sketch=", hint="Leave path= out.",
        )  # fmt: skip
    if sketch is None:
        _check_length(trajectory)
    else:
        check_trajectory(sketch).check()
        check_same_rows(trajectory, sketch)
    available = min(count - 1, dim)
    wanted = available if n_modes is None else check_count("n_modes", n_modes, minimum=1)
    if wanted > available:
        raise InputError(
            expected=f"n_modes of at most min(T - 1, N) = {available} for a window of T = {count} rows, N = {dim}",
            got=f"{wanted}",
            hint="Record longer or ask for fewer modes.",
        )
    if sketch is not None:
        return _by_sketch(trajectory, sketch, wanted, progress or silent)
    check_room(wanted, dim, _products_bytes(count, dim), file)
    check_same_call("principal_modes", lambda: {
        "number_of_rows": count, "number_of_weights": dim, "number_of_modes": wanted,
        "size_of_the_last_row": float(trajectory.row(-1).double().abs().sum()),
    })  # fmt: skip
    report = progress or silent
    mean = _mean(trajectory)
    report(1, 3)
    if count > dim:
        squares, directions = _by_covariance(trajectory, mean, wanted)
    else:
        squares, directions = _by_gram(trajectory, mean, room_for(wanted, dim, file), device)
    report(2, 3)
    first, last = (trajectory.row(row).double() - mean for row in (0, -1))
    sign = torch.where(directions @ (last - first) < 0, -1.0, 1.0).double()
    report(3, 3)
    return Directions(
        name="principal modes",
        directions=directions.mul_(sign[:, None]),
        values=squares.values / count,
        residuals=torch.full((wanted,), torch.nan, dtype=torch.float64),
        mean=mean,
        total=squares.total / count,
        n_steps=count,
        parameters=trajectory.space.names if trajectory.space is not None else (),
        provenance=stamp(n_modes=wanted, source=dict(trajectory.provenance)),
    )


def _check_length(trajectory: Trajectory) -> None:
    if len(trajectory) < 2:
        trajectory.check()


def _products_bytes(count: int, dim: int) -> int:
    """Bytes of the eigenvalue problem."""
    return 3 * 8 * min(count, dim) ** 2


def principal_variances(trajectory: Trajectory) -> Float[Tensor, " k"]:
    """The variances of all principal modes of a trajectory, falling, without the modes: T^2 or N^2 numbers of memory.

    Args:
        trajectory: Rows w_t.

    Returns:
        sigma_i^2, divided by T, in float64; as many as :func:`principal_modes` finds.

    Raises:
        InputError: If the trajectory has fewer than two rows.

    Example:
        >>> import torch
        >>> principal_variances(Trajectory.of(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))).tolist()
        [1.0]
    """
    check_trajectory(trajectory)
    count, dim = len(trajectory), trajectory.dim
    _check_length(trajectory)
    products = (_covariance if count > dim else _gram)(trajectory, _mean(trajectory))
    return _largest(products, min(count, dim), min(count - 1, dim)).values / count


def _own_panels(trajectory: Trajectory) -> Iterator[tuple[slice, Tensor]]:
    """The columns that this process reads, all of them unless processes share the work."""
    number, count = share()
    width = -(-trajectory.dim // count)
    columns = slice(min(number * width, trajectory.dim), min((number + 1) * width, trajectory.dim))
    return trajectory.panels(columns=columns)


def _mean(trajectory: Trajectory) -> Tensor:
    """The mean row, in the order in which the products read the rows."""
    total = torch.zeros(trajectory.dim, dtype=torch.float64)
    if len(trajectory) > trajectory.dim:
        for block in trajectory.blocks():
            total += block.sum(dim=0, dtype=torch.float64)
    else:
        for columns, panel in _own_panels(trajectory):
            total[columns] = panel.sum(dim=0, dtype=torch.float64)
        joined(total)
    mean = total / len(trajectory)
    if not torch.isfinite(mean).all():
        trajectory.check()  # says which weight is not finite; no further pass over the rows where all are
    return mean


def _covariance(trajectory: Trajectory, mean: Tensor) -> Callable[[Tensor], Tensor]:
    """Sums over rows, ``[N, N]``, with some directions taken out."""

    def products(known: Tensor) -> Tensor:
        total = torch.zeros(trajectory.dim, trajectory.dim, dtype=torch.float64)
        for block in trajectory.blocks():
            rows = block - mean
            if known.shape[1]:
                rows.addmm_(rows @ known, known.T, alpha=-1)
            _add_products(total, rows)
        return total

    return products


def _by_covariance(trajectory: Trajectory, mean: Tensor, wanted: int) -> tuple[_Squares, Tensor]:
    """The eigenvectors are the directions."""
    squares = _largest(_covariance(trajectory, mean), trajectory.dim, wanted)
    return squares, squares.vectors.T.contiguous()


def _gram(trajectory: Trajectory, mean: Tensor, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Sums over columns, ``[T, T]``, with some combinations of rows taken out."""

    def products(known: Tensor) -> Tensor:
        total = torch.zeros(len(trajectory), len(trajectory), dtype=torch.float64, device=device)
        known = known.to(device)
        for columns, panel in _own_panels(trajectory):
            rows = panel.to(device) - mean[columns].to(device)
            if known.shape[1]:
                rows.addmm_(known, known.T @ rows, alpha=-1)
            _add_products(total, rows.T)
        return joined(total.cpu())

    return products


def _by_gram(
    trajectory: Trajectory, mean: Tensor, room: Float[Tensor, "k N"], device: torch.device | str
) -> tuple[_Squares, Tensor]:
    """Combine the rows, with the eigenvectors as coefficients, into directions."""
    squares = _largest(_gram(trajectory, mean, device), len(trajectory), len(room))
    combinations = squares.vectors.T.to(device)
    for columns, panel in _own_panels(trajectory):
        room[:, columns] = (combinations @ (panel.to(device) - mean[columns].to(device))).cpu()
    directions = _orthonormalised(joined(room))
    return squares, directions if directions is room else room.copy_(directions)


def _by_sketch(trajectory: Trajectory, sketch: Trajectory, wanted: int, report: ProgressCallback) -> Directions:
    """One pass over the rows: the modes of their sketches tell which combinations of rows span the modes."""
    number = min(wanted + _MORE, len(sketch) - 1, sketch.dim)
    check_room(number, trajectory.dim, _products_bytes(len(sketch), sketch.dim), None)
    sketched = principal_modes(sketch, number)
    _check_moving(sketched.n_moving, wanted)
    report(1, 3)
    coordinates = sketched.part(slice(0, sketched.n_moving)).project_trajectory(sketch)
    found = best_in_span(trajectory, coordinates / torch.linalg.vector_norm(coordinates, dim=0))
    _check_moving(len(found.values), wanted)
    report(2, 3)
    # C p - value p is a combination of the centred rows, too.
    rest = found.coordinates / len(sketch) - found.values * found.combinations
    residuals = lengths_in(sketch, rest) / found.values[0]
    sign = torch.where(found.coordinates[-1] < found.coordinates[0], -1.0, 1.0).double()[:wanted]
    report(3, 3)
    return Directions(
        name="principal modes",
        directions=found.directions[:wanted].mul_(sign[:, None]),
        values=found.values[:wanted],
        residuals=residuals[:wanted],
        mean=found.mean,
        total=found.total,
        n_steps=len(trajectory),
        parameters=trajectory.space.names if trajectory.space is not None else (),
        provenance=stamp(n_modes=wanted, source=dict(trajectory.provenance), sketch=str(sketch.sketch)),
    )


def _check_moving(n_moving: int, wanted: int) -> None:
    if n_moving < wanted:
        raise InputError(
            expected=f"n_modes of at most {n_moving}, along which the sketches move", got=f"{wanted}",
            hint="Ask for fewer modes, or find them without sketch=.",
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Squares:
    """Largest eigenvalues of a matrix of products, falling; their eigenvectors as columns; the trace."""

    values: Tensor
    vectors: Tensor
    total: float


def _largest(products: Callable[[Tensor], Tensor], size: int, wanted: int) -> _Squares:
    """Eigenvalues with a small *relative* error, however far they fall.

    An eigenvalue carries an absolute error near 1e-16 of the largest. So each pass keeps only those within
    ``_ACCURATE`` of it; then the products are formed again without the known directions, and the next pass finds
    the rest.

    Args:
        products: Function of known orthonormal columns; it returns the products with these projected out.
        size: Rows of the matrix.
        wanted: Number of eigenvalues.
    """
    found = torch.empty(size, 0, dtype=torch.float64)
    values = torch.empty(0, dtype=torch.float64)
    rest: Tensor | None = None
    total = 0.0
    while len(values) < wanted:
        matrix = products(found)
        if rest is None:
            total = float(matrix.trace())
        else:
            matrix = rest.T @ _mirrored(matrix) @ rest
        rising, vectors = torch.linalg.eigh(matrix, UPLO="U")
        falling = rising.flip(0).clamp(min=0)
        vectors = vectors.flip(1) if rest is None else rest @ vectors.flip(1)
        n_accurate = int((falling >= _ACCURATE * falling[0]).sum())
        # Below the rounding of the rows themselves, eigenvalues cannot be distinguished.
        if float(falling[0]) <= ROUNDING**2 * total:
            n_accurate = len(falling)
        count = min(n_accurate, wanted - len(values))
        found = torch.cat([found, vectors[:, :count]], dim=1)
        values = torch.cat([values, falling[:count]])
        rest = vectors[:, count:]
    # Each pass is in order, and the next one begins below it up to rounding.
    order = torch.argsort(values, descending=True, stable=True)
    return _Squares(values[order], found[:, order], total)


def _add_products(total: Tensor, rows: Tensor) -> None:
    """``total += rows.T @ rows``, on and above the diagonal: half the work."""
    width = max(_PANEL, -(-len(total) // 8))
    for first in range(0, len(total), width):
        total[first : first + width, first:].addmm_(rows[:, first : first + width].T, rows[:, first:])


def _mirrored(upper: Tensor) -> Tensor:
    return upper.triu() + upper.triu(1).T


def _orthonormalised(rows: Tensor) -> Tensor:
    """Nearly orthogonal rows made orthonormal in their order, in place where that is safe."""
    lengths = torch.linalg.vector_norm(rows, dim=1)
    if float(lengths.min()) <= ROUNDING * float(lengths.max()):
        # The window has fewer directions. Householder completes them, Gram and Schmidt would not.
        q, r = torch.linalg.qr(rows.T)
        return (q * torch.where(r.diagonal() < 0, -1.0, 1.0).double()).T.contiguous()
    rows.div_(lengths[:, None])
    products = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in rows.split(_PART, dim=1):
        _add_products(products, part.T)
    factor = torch.linalg.cholesky(_mirrored(products))
    for part in rows.split(_PART, dim=1):
        part.copy_(torch.linalg.solve_triangular(factor, part, upper=False))
    return rows
