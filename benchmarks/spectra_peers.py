"""Hessian products of other packages, each on its own copy of the model and each counted."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.metadata
import io
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor, nn

__all__ = ["Counter", "Pairs", "curvlinops_matrix", "curvlinops_pairs", "eigenthings_matrix", "eigenthings_pairs",
           "pyhessian_pairs", "pyhessian_matrix", "versions"]  # fmt: skip

_MOST_RESTARTS = 200

Pairs = tuple[Tensor, Tensor]
"""Eigenvalues ``[k]`` and rows of eigenvectors ``[k, N]``."""


@dataclasses.dataclass
class Counter:
    """Number of products with a vector."""

    count: int = 0


def versions() -> dict[str, str]:
    """Versions of the packages, where they are installed (``make bench`` installs them)."""
    found = {}
    for name in ("PyHessian", "curvlinops-for-pytorch", "hessian-eigenthings"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _copy(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy in which only the parameters with these names are trained."""
    own = copy.deepcopy(model)
    for name, parameter in own.named_parameters():
        parameter.requires_grad_(name in names)
    return own


def curvlinops_matrix(model: nn.Module, data: tuple[Tensor, Tensor], names: list[str]) -> tuple:
    """The linear operator of curvlinops and its counter."""
    from curvlinops import HessianLinearOperator

    own, counter = _copy(model, names), Counter()
    parameters = [parameter for parameter in own.parameters() if parameter.requires_grad]
    operator = HessianLinearOperator(own, nn.CrossEntropyLoss(), parameters, [data], check_deterministic=False)
    plain = operator._matmat

    def counted(columns: list[Tensor]) -> list[Tensor]:
        counter.count += columns[0].shape[-1]
        return plain(columns)

    operator._matmat = counted
    return operator, counter


def curvlinops_pairs(operator: object, n_pairs: int, which: str, rtol: float) -> Pairs:
    """Eigenpairs as the documentation of curvlinops finds them: by scipy's eigsh."""
    scipy = operator.to_scipy(dtype=np.float32)
    start = np.random.default_rng(0).standard_normal(scipy.shape[0])
    ends = {"largest": "LA", "smallest": "SA"}
    try:
        values, vectors = eigsh(scipy, n_pairs, which=ends[which], tol=rtol, v0=start, maxiter=_MOST_RESTARTS)
    except ArpackNoConvergence as error:
        values, vectors = error.eigenvalues, error.eigenvectors
    if len(values) < n_pairs:
        return torch.full((1,), torch.nan), torch.ones(1, scipy.shape[0])
    return torch.from_numpy(values.copy()), torch.from_numpy(np.ascontiguousarray(vectors.T))


def eigenthings_matrix(model: nn.Module, data: tuple[Tensor, Tensor], names: list[str]) -> tuple:
    """The operator of hessian-eigenthings and its counter."""
    import hessian_eigenthings as he

    own, counter = _copy(model, names), Counter()
    operator = he.HessianOperator(
        own, [data], he.supervised_loss(nn.CrossEntropyLoss()), param_filter=he.match_names(*names)
    )
    plain = operator.matvec

    def counted(vector: Tensor) -> Tensor:
        counter.count += 1
        return plain(vector)

    operator.matvec = counted
    return operator, counter


def eigenthings_pairs(operator: object, n_pairs: int, which: str, n_steps: int) -> Pairs:
    """Eigenpairs after a number of steps: this package has no iteration until they converge."""
    import hessian_eigenthings as he

    ends = {"largest": "LA", "smallest": "SA"}
    found = he.lanczos(
        operator,
        k=n_pairs,
        max_iter=n_steps,
        which=ends[which],
        seed=0,
        reorthogonalize=True,
    )
    return found.eigenvalues, found.eigenvectors


@contextlib.contextmanager
def pyhessian_matrix(
    model: nn.Module, data: tuple[Tensor, Tensor], names: list[str]
) -> Iterator[tuple[object, Counter]]:
    """The Hessian of PyHessian and its counter."""
    import pyhessian

    module = importlib.import_module("pyhessian.hessian")
    own, counter, plain = _copy(model, names), Counter(), module.hessian_vector_product

    def counted(*arguments: object) -> object:
        counter.count += 1
        return plain(*arguments)

    module.hessian_vector_product = counted
    try:
        with _silent():
            found = pyhessian.hessian(own, nn.CrossEntropyLoss(), data=data, cuda=False)
        yield found, counter
    finally:
        module.hessian_vector_product = plain


def pyhessian_pairs(found: object, n_pairs: int, tol: float, most: int) -> Pairs:
    """Leading eigenpairs by power iterations, one after another."""
    torch.manual_seed(0)
    with _silent():
        values, vectors = found.eigenvalues(maxIter=most, tol=tol, top_n=n_pairs)
    return torch.tensor(values), torch.stack([torch.cat([part.flatten() for part in row]) for row in vectors])


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
