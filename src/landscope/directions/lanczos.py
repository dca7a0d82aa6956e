"""Lanczos iterations with full reorthogonalisation, for eigenvectors at both ends of a spectrum and its density."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count
from landscope._names import End
from landscope.directions.matrix_product import MatrixProduct, finite_product
from landscope.directions.orthonormal_rows import OrthonormalRows
from landscope.errors import InputError
from landscope.protocols import ProgressCallback

__all__ = ["Lanczos", "OuterPairs", "RitzPairs", "basis_size", "extreme_pairs"]

_ROUNDING = 16
"""A remainder of as many units of rounding of the matrix is none."""

_MOST_PRODUCTS = 10_000

_SMALLEST = 0.01
"""Share of the largest value to which residuals of the smallest ones are relative, where those are nearer to zero."""


@dataclasses.dataclass(frozen=True)
class RitzPairs:
    """Eigenpairs of the matrix within the space of the iterations, smallest value first.

    Args:
        values: Ritz values, ``[m]``.
        vectors: Coefficients of the Ritz vectors along the basis, columns of ``[m, m]``.
        residuals: Norm of A p - value p for each Ritz vector p, from products that were already made.
        leftover: The part of the residuals outside of the space, which more iterations make smaller.
    """

    values: Float[Tensor, " m"]
    vectors: Float[Tensor, "m m"]
    residuals: Float[Tensor, " m"]
    leftover: Float[Tensor, " m"]


class Lanczos:
    r"""A basis V of a Krylov space, with :math:`A V_m = V_{m+1} H` for H of m + 1 rows.

    Every product is made orthogonal to the whole basis. All its coefficients are kept in H, and not only the three
    that are there without rounding: the residual of a Ritz pair is the norm of (H - value) s and needs no product.

    Args:
        product: ``product(v[N])``: the symmetric matrix times a vector.
        start: The first vector; it sets the dtype and the device.
        generator: Source of the vectors with which the iterations go on where the space is invariant.

    Example:
        >>> matrix = torch.diag(torch.tensor([1.0, 5.0, 3.0]).double())
        >>> space = Lanczos(lambda v: matrix @ v, torch.ones(3).double())
        >>> [space.extend() for _ in range(3)]
        [True, True, False]
        >>> [round(x, 6) for x in space.ritz().values.tolist()], space.n_products
        ([1.0, 3.0, 5.0], 3)
    """

    def __init__(
        self, product: MatrixProduct, start: Float[Tensor, " N"], generator: torch.Generator | None = None
    ) -> None:
        self._product, self._like, self._generator = product, start.detach(), generator
        self._columns: list[Tensor] = []
        self.rows = OrthonormalRows(start)
        self.rows.append(start / torch.linalg.vector_norm(start))
        self.n_products = 0
        self.norm = 0.0
        """Largest norm of a product with a unit vector seen so far: that of the matrix, from below."""

    def __len__(self) -> int:
        return len(self._columns)

    def extend(self) -> bool:
        """Multiply the last vector; False where the space is invariant, and the iterations have come to an end."""
        self.n_products += 1
        image, size = finite_product(self._product, self.rows.last, f" at step {self.n_products}")
        self.norm = max(self.norm, size)
        along, rest, beyond = self.rows.split(image)
        is_open = beyond > self.rounding and len(self.rows) < len(self._like)
        self._columns.append(torch.cat([along, torch.tensor([beyond if is_open else 0.0], dtype=torch.float64)]))
        if is_open:
            self.rows.append(rest / beyond)
        return is_open

    @property
    def rounding(self) -> float:
        """What rounding leaves of a product that lies in the space."""
        return _ROUNDING * self.unit

    @property
    def unit(self) -> float:
        """One unit of rounding of the matrix."""
        return torch.finfo(self._like.dtype).eps * self.norm

    def go_on(self) -> None:
        """Add a random vector to an invariant space."""
        drawn = torch.randn(len(self._like), dtype=torch.float64, generator=self._generator)
        _, rest, norm = self.rows.split(drawn.to(self._like))
        self.rows.append(rest / norm)

    def ritz(self) -> RitzPairs:
        """The eigenpairs of the matrix within the space."""
        count = len(self)
        table = torch.zeros(count + 1, count, dtype=torch.float64)
        for number, column in enumerate(self._columns):
            table[: len(column), number] = column
        square = table[:count]
        values, vectors = torch.linalg.eigh((square + square.T) / 2)
        self.norm = max(self.norm, float(values.abs().max()))
        off = table @ vectors
        leftover = off[count].abs().clone()
        off[:count] -= vectors * values
        return RitzPairs(values, vectors, torch.linalg.vector_norm(off, dim=0), leftover)

    def restart(self, pairs: RitzPairs, kept: Tensor) -> None:
        """Reduce the space to some Ritz vectors and the next vector (thick restart, Wu & Simon 2000)."""
        following = [self.rows.last] if len(self.rows) > len(self) else []
        arrow = (self._last_row() @ pairs.vectors)[kept]
        rows = OrthonormalRows(self._like)
        for row in [*self.rows_of(pairs, kept), *following]:
            _, rest, norm = rows.split(row)
            rows.append(rest / norm)
        self.rows, self._columns = rows, []
        for number, (value, tip) in enumerate(zip(pairs.values[kept], arrow, strict=True)):
            column = torch.zeros(len(kept) + 1, dtype=torch.float64)
            column[number], column[-1] = value, tip
            self._columns.append(column)

    def _last_row(self) -> Tensor:
        count = len(self)
        return torch.stack([
            column[count] if len(column) > count else torch.zeros((), dtype=torch.float64) for column in self._columns
        ])  # fmt: skip

    def rows_of(self, pairs: RitzPairs, chosen: Tensor) -> Float[Tensor, "k N"]:
        """Some Ritz vectors, as rows."""
        weights = torch.zeros(len(self.rows), len(chosen), dtype=torch.float64)
        weights[: len(self)] = pairs.vectors[:, chosen]
        return self.rows.combined(weights)


def basis_size(n_pairs: int, dim: int, which: End, n_vectors: int | None = None) -> int:
    """Number of vectors that the iterations for some eigenpairs hold at most.

    The smallest values of a loss lie in a dense bulk, where each restart of a small basis costs many products.

    Raises:
        InputError: If ``n_vectors`` is given and below n_pairs + 2.
    """
    if n_vectors is not None:
        fewest = min(dim, n_pairs + 2)
        check_count("n_vectors", n_vectors, minimum=fewest, hint=f"Take {fewest} or more; more need fewer products.")
    usual = max(4 * n_pairs, 40) if which == "largest" else max(8 * n_pairs, 120)
    return min(dim, usual if n_vectors is None else n_vectors)


def extreme_pairs(
    space: Lanczos, n_pairs: int, which: End, rtol: float, most: int, progress: ProgressCallback
) -> OuterPairs:
    """Iterate until the pairs at one end of the spectrum have converged, with as few products as a basis allows.

    Args:
        space: The iterations.
        n_pairs: Number k of pairs.
        which: The end.
        rtol: Largest residual relative to each value; of the smallest values, which may be zero, relative to a
            hundredth of the largest absolute value of all where they are nearer to zero.
        most: Most vectors in the basis.
        progress: Called with the number of products done, and a rough guess of the total.

    Returns:
        All Ritz pairs, and which of them are the k outermost.

    Raises:
        InputError: If the iterations do not converge.
    """
    dim = len(space.rows.last)
    guess = 2 * n_pairs + 10
    closed: Tensor | None = None
    while True:
        is_open = space.extend()
        count = len(space)
        progress(space.n_products, max(guess, space.n_products))
        if count in (dim, most) or not is_open or count % max(1, count // 16) == 0:
            found = OuterPairs(space.ritz(), n_pairs, which, rtol, space)
            if count == dim or found.is_done(is_open, closed):
                return found
            if space.n_products >= max(_MOST_PRODUCTS, 100 * most):
                raise found.not_converged()
            if not is_open:
                closed = found.pairs.values[found.chosen]
            if count >= most:
                space.restart(found.pairs, found.outer[: n_pairs + (most - n_pairs) // 2])
        if not is_open:
            space.go_on()


class OuterPairs:
    """The pairs at one end of the spectrum, and whether they have converged.

    Args:
        pairs: All Ritz pairs.
        n_pairs: Number k of pairs at the end.
        which: The end.
        rtol: Largest residual, see :func:`extreme_pairs`.
        space: The iterations.
    """

    def __init__(self, pairs: RitzPairs, n_pairs: int, which: End, rtol: float, space: Lanczos) -> None:
        self.pairs, self._n_pairs, self._space = pairs, n_pairs, space
        numbers = torch.arange(len(pairs.values))
        self.outer = numbers.flip(0) if which == "largest" else numbers
        self.chosen = self.outer[:n_pairs]
        floor = _SMALLEST * space.norm if which == "smallest" else 0.0
        self._is_near = pairs.leftover <= (rtol * pairs.values.abs().clamp(min=floor)).clamp(min=2 * space.unit)

    def is_done(self, is_open: bool, closed: Tensor | None) -> bool:
        """Whether the chosen pairs have converged, and none may be missing.

        A space that closed has each value once. Copies of it are outside, and in the space of the next random vector.

        Args:
            is_open: Whether more iterations go on within the same space.
            closed: The chosen values when the space closed last.
        """
        if len(self.chosen) < self._n_pairs or not bool(self._is_near[self.chosen].all()):
            return False
        if not is_open:
            values = self.pairs.values[self.chosen]
            return closed is not None and len(closed) == len(values) and self._same(closed, values)
        if closed is None:
            return True
        new = self.outer[self.pairs.leftover[self.outer] > self._space.rounding]
        return not len(new) or bool(self._is_near[new[0]])

    def _same(self, before: Tensor, now: Tensor) -> bool:
        return bool((before - now).abs().max() <= self._space.rounding)

    def not_converged(self) -> InputError:
        """The error where the iterations have taken too long."""
        return InputError(
            expected=f"{self._n_pairs} eigenvectors to converge",
            got=f"{int(self._is_near[self.chosen].sum())} after {self._space.n_products} products",
            hint="Ask for fewer, or a larger rtol.",
        )
