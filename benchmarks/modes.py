"""Principal modes against scikit-learn: time, memory, and how right the smallest variance is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.decomposition import PCA, IncrementalPCA
from torch import Tensor

import landscope as ls
from benchmarks.measure import Row, peak

__all__ = ["modes"]

_TALL, _WIDE = (12_000, 2_500), (500, 1_000_000)


def modes(subject: object) -> list[Row]:  # noqa: ARG001 - groups share a form
    """Rows of both shapes, each beside the solvers that fit into memory."""
    return [*_rows(*_TALL), *_rows(*_WIDE)]


def _walk(count: int, dim: int) -> Tensor:
    """A random walk whose steps fall over three decades, in float32, as a recorder stores it."""
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(count, dim, generator=generator) * torch.logspace(0, -3, dim)).cumsum(0)


def _rows(count: int, dim: int) -> list[Row]:
    rows, rank = _walk(count, dim), min(count - 1, dim)
    taken, memory, found = peak(lambda: ls.principal_modes(ls.Trajectory.of(rows)).variance.numpy())
    assert isinstance(found, np.ndarray)
    wide = dim > count
    batch = max(count // 2, 1) if wide else None
    solvers: dict[str, Callable[[], PCA | IncrementalPCA]] = {
        "scikit-learn PCA(full), float64": lambda: PCA(svd_solver="full").fit(rows.double().numpy()),
        "scikit-learn IncrementalPCA": lambda: IncrementalPCA(
            n_components=batch - 1 if batch else None, batch_size=batch
        ).fit(rows.numpy()),
    }
    if not wide:
        solvers["scikit-learn PCA(covariance_eigh), float64"] = lambda: PCA(svd_solver="covariance_eigh").fit(
            rows.double().numpy()
        )
    answers = {"landscope": (taken, memory, found)}
    for name, fit in solvers.items():
        taken, memory, fitted = peak(lambda fit=fit: fit().explained_variance_ * (count - 1) / count)
        assert isinstance(fitted, np.ndarray)
        answers[name] = taken, memory, fitted
    exact = answers["scikit-learn PCA(full), float64"][2][:rank]
    shape = f"modes of {count:,} x {dim:,}"
    out = []
    for name, (taken, memory, variance) in answers.items():
        worst = float(np.abs(variance[:rank] / exact[: len(variance[:rank])] - 1).max())
        note = f"largest relative difference of a variance from the float64 SVD {worst:.0e}"
        if len(variance) < rank:
            note += f"; the first {len(variance)} only"
        out += [Row.of(f"{shape}: {name}", "s", taken, note), Row.of(f"{shape}: {name}, peak memory", "GiB", memory)]
    spread = float(exact[-1] / exact[0])
    out.append(Row.of(f"{shape}: smallest variance / first", "", spread))
    return out
