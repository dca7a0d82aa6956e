"""The space of products with random vectors, and what is new in each: the base of XTrace and XDiag."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.directions.matrix_product import MatrixProduct, finite_product
from landscope.directions.orthonormal_rows import OrthonormalRows
from landscope.protocols import ProgressCallback

__all__ = ["Counted", "ProductSpace", "product_space"]

_ROUNDING = 16


@dataclasses.dataclass(frozen=True)
class ProductSpace:
    """An orthonormal basis Q of the space of all products A w_i.

    Args:
        rows: The r vectors of Q.
        products: Coefficients of A w_i along Q, columns of ``[r, s]``.
        new: Unit vectors s_i, columns of ``[r, s]``: the direction within Q that only the product with w_i has; zero
            where the others span the whole space without it. Without w_i the basis spans :math:`Q (1 - s_i s_i^T)`.
    """

    rows: OrthonormalRows
    products: Float[Tensor, "r s"]
    new: Float[Tensor, "r s"]


def product_space(
    product: MatrixProduct, probes: Iterator[Float[Tensor, " N"]], like: Tensor, progress: Callable[[], None]
) -> ProductSpace:
    """Multiply each probe once, by Gram-Schmidt one after another."""
    rows, columns, independent = OrthonormalRows(like), [], []
    largest = 0.0
    for number, probe in enumerate(probes):
        image, size = finite_product(product, probe)
        progress()
        largest = max(largest, size)
        along, rest, norm = rows.split(image)
        if norm > _ROUNDING * torch.finfo(like.dtype).eps * largest and len(rows) < len(like):
            rows.append(rest / norm)
            along = torch.cat([along, torch.tensor([norm], dtype=torch.float64)])
            independent.append(number)
        columns.append(along)
    table = torch.zeros(len(rows), len(columns), dtype=torch.float64)
    for number, column in enumerate(columns):
        table[: len(column), number] = column
    return ProductSpace(rows, table, _new(table, independent))


def _new(table: Float[Tensor, "r s"], independent: list[int]) -> Float[Tensor, "r s"]:
    """The direction that only column i has: column i of the transposed inverse, if no dependent column has it too."""
    new = torch.zeros_like(table)
    if not independent:
        return new
    square = table[:, independent]
    inverse = torch.linalg.solve_triangular(square, torch.eye(len(square), dtype=square.dtype), upper=True)
    directions = inverse.T / torch.linalg.vector_norm(inverse, dim=1)
    dependent = [number for number in range(table.shape[1]) if number not in independent]
    shares = inverse @ table[:, dependent]
    is_new = (shares.abs() <= torch.finfo(torch.float32).eps).all(dim=1)
    new[:, independent] = directions * is_new
    return new


class Counted:
    """Counts products and shows how many are done."""

    def __init__(self, total: int, progress: ProgressCallback) -> None:
        self._total, self._progress, self.done = total, progress, 0

    def __call__(self) -> None:
        """One more."""
        self.done += 1
        self._progress(self.done, self._total)
