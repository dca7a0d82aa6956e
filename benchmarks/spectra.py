"""Eigenpairs, trace, diagonal and density of a Hessian beside other packages, at equal residual or products."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

import landscope as ls
from benchmarks import spectra_peers as peers
from benchmarks.measure import Row
from benchmarks.subject import LAYER, Subject
from landscope.landscape import diagonal, spectral_density, trace

__all__ = ["spectra"]

_SAMPLES = 2000
_PART, _LAYER = f"{_SAMPLES:,} samples", "2,500 weights"
_RTOL = 1e-3
"""Largest residual |Hp - value p|, over the value or a hundredth of the largest of all, measured by landscope."""

_TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

_MOST_STEPS = 600
_SEEDS = 50
_PROBES = 16
_STEPS = 100

T = TypeVar("T", int, float)
Answer = tuple[float, float, float, str]
"""Products, seconds, residual and a note."""


def spectra(subject: Subject) -> list[Row]:
    """Rows of the paper's network: all weights, and the layer of which the dense Hessian is known."""
    inputs, targets = subject.data
    data = inputs[:_SAMPLES], targets[:_SAMPLES]
    rows: list[Row] = []
    for name, select in ((f"all {_count(subject.model):,} weights", None), (_LAYER, LAYER)):
        case = _Case(subject.model, data, select)
        # The Hessian of the layer alone has no negative eigenvalue, and many that are zero.
        ends = [("largest", 1), ("largest", 10)] + ([("smallest", 1)] if select is None else [])
        for which, n_pairs in ends:
            rows += case.pairs_rows(name, which, n_pairs)
    dense = case.dense()
    return [*rows, *case.trace_rows(dense), *case.diagonal_rows(dense), *case.density_rows(dense)]


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


class _Case:
    """The risk of some weights, and the same Hessian in every package."""

    def __init__(self, model: nn.Module, data: tuple[Tensor, Tensor], select: str | None) -> None:
        self.space = ls.ParameterSpace.of(model, *([select] if select else []))
        self.risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=self.space)
        self.given = model, data, list(self.space.names)
        self.found = peers.versions()

    def dense(self) -> Tensor:
        """The Hessian in float64, one product for each weight."""
        rows = [self.risk.hessian_vector_product(self.risk.w0, row) for row in torch.eye(self.space.dim)]
        matrix = torch.stack(rows).double()
        return (matrix + matrix.T) / 2

    @functools.cached_property
    def largest(self) -> float:
        """The largest eigenvalue."""
        return float(ls.directions.hessian(self.risk, self.risk.w0, 1).values[0])

    def residual(self, pairs: peers.Pairs) -> float:
        """The largest residual over its eigenvalue, or over a hundredth of the largest of all."""
        worst = 0.0
        for value, vector in zip(*pairs, strict=True):
            unit = vector.double() / vector.double().norm()
            image = self.risk.hessian_vector_product(self.risk.w0, unit.float()).double()
            size = max(abs(float(value)), 0.01 * self.largest)
            worst = max(worst, float((image - float(value) * unit).norm()) / size)
        return worst

    def pairs_rows(self, name: str, which: str, n_pairs: int) -> list[Row]:
        """Products and seconds until the residual is small enough, of every package that has such a solver."""
        label = f"{name}, {_PART}, {n_pairs} {which}"
        answers = {"landscope": self._ours(which, n_pairs)}
        if "curvlinops-for-pytorch" in self.found:
            answers["curvlinops with scipy's eigsh"] = self._curvlinops(which, n_pairs)
        if "hessian-eigenthings" in self.found:
            answers["hessian-eigenthings"] = self._eigenthings(which, n_pairs)
        if "PyHessian" in self.found and which == "largest":
            answers["PyHessian"] = self._pyhessian(n_pairs)
        own, rows = answers["landscope"], []
        for package, (count, taken, residual, note) in answers.items():
            said = f"largest residual {residual:.0e}; {note}"
            rows += [
                Row.of(f"{label}: {package}, products", "", count, said),
                Row.of(f"{label}: {package}", "s", taken),
            ]
            if package != "landscope":
                rows += [
                    Row.of(f"{label}: products of {package} / landscope", "x", count / own[0]),
                    Row.of(f"{label}: time of {package} / landscope", "x", taken / own[1]),
                ]
        return rows

    def _first(self, tries: Iterable[T], solve: Callable[[T], tuple[peers.Pairs, int]], note: str) -> Answer:
        """Products, seconds, residual and note of the first try that is accurate enough, and else of the last."""
        for setting in tries:
            started = time.perf_counter()
            pairs, count = solve(setting)
            taken = time.perf_counter() - started
            residual = self.residual(pairs)
            if residual <= _RTOL:
                return count, taken, residual, f"{note}={setting:g}"
        return count, taken, residual, f"{note}={setting:g}, not reached"

    def _ours(self, which: str, n_pairs: int) -> Answer:
        def solve(rtol: float) -> tuple[peers.Pairs, int]:
            found = ls.directions.hessian(self.risk, self.risk.w0, n_pairs, which=which, rtol=rtol)
            return (found.values, found.directions), found.provenance["settings"]["n_products"]

        return self._first(_TOLERANCES, solve, "rtol")

    def _curvlinops(self, which: str, n_pairs: int) -> Answer:
        def solve(tol: float) -> tuple[peers.Pairs, int]:
            operator, counter = peers.curvlinops_matrix(*self.given)
            return peers.curvlinops_pairs(operator, n_pairs, which, tol), counter.count

        return self._first(_TOLERANCES, solve, "tol")

    def _eigenthings(self, which: str, n_pairs: int) -> Answer:
        def solve(n_steps: int) -> tuple[peers.Pairs, int]:
            operator, counter = peers.eigenthings_matrix(*self.given)
            return peers.eigenthings_pairs(operator, n_pairs, which, n_steps), counter.count

        tries, steps = [], n_pairs + 1
        while steps < _MOST_STEPS:
            tries.append(steps)
            steps = max(steps + 1, round(1.15 * steps))
        return self._first(tries, solve, "the smallest of its fixed numbers of steps that suffices, max_iter")

    def _pyhessian(self, n_pairs: int) -> Answer:
        def solve(tol: float) -> tuple[peers.Pairs, int]:
            with peers.pyhessian_matrix(*self.given) as (found, counter):
                return peers.pyhessian_pairs(found, n_pairs, tol, 500), counter.count

        return self._first((1e-3, 1e-5, 1e-7), solve, "maxIter=500, tol")

    def trace_rows(self, dense: Tensor) -> list[Row]:
        """Errors of the trace over seeds, at an equal number of products."""
        exact, n_products = float(dense.trace()), 2 * _PROBES
        estimates: dict[str, Callable[[int], float]] = {
            "landscope": lambda seed: trace(self.risk, self.risk.w0, n_probes=_PROBES, seed=seed).value
        }
        if "curvlinops-for-pytorch" in self.found:
            import curvlinops

            operator, _ = peers.curvlinops_matrix(*self.given)
            estimates |= {
                "curvlinops xtrace": lambda _: float(curvlinops.xtrace(operator, n_products)),
                "curvlinops hutchpp_trace": lambda _: float(curvlinops.hutchpp_trace(operator, 33)),
                "curvlinops hutchinson_trace": lambda _: float(curvlinops.hutchinson_trace(operator, n_products)),
            }
        if "hessian-eigenthings" in self.found:
            import hessian_eigenthings as he

            theirs, _ = peers.eigenthings_matrix(*self.given)
            estimates["hessian-eigenthings trace (Hutch++)"] = lambda seed: float(
                he.trace(theirs, num_matvecs=33, seed=seed).estimate
            )
        if "PyHessian" in self.found:
            estimates["PyHessian trace"] = self._pyhessian_trace
        rows, errors = [], {}
        for name, estimate in estimates.items():
            torch.manual_seed(0)
            values = torch.tensor([estimate(seed) for seed in range(_SEEDS)], dtype=torch.float64)
            errors[name] = float((values / exact - 1).square().mean().sqrt())
            note = (
                f"root mean square over {_SEEDS} seeds; {33 if '++' in name or 'pp' in name else n_products} products"
            )
            rows.append(Row.of(f"{_LAYER}, {_PART}, error of the trace: {name}", "", errors[name], note))
        return [*rows, *_ratios("error of the trace", errors)]

    def _pyhessian_trace(self, seed: int) -> float:
        torch.manual_seed(seed)
        with peers.pyhessian_matrix(*self.given) as (found, _):
            values = found.trace(maxIter=2 * _PROBES, tol=0.0)
        return sum(values) / len(values)

    def diagonal_rows(self, dense: Tensor) -> list[Row]:
        """Errors of the diagonal over seeds, at an equal number of products."""
        exact, n_products = dense.diagonal(), 2 * _PROBES
        estimates: dict[str, Callable[[int], Tensor]] = {
            "landscope": lambda seed: diagonal(self.risk, self.risk.w0, n_probes=_PROBES, seed=seed).values
        }
        if "curvlinops-for-pytorch" in self.found:
            from curvlinops.diagonal.epperly2024xtrace import xdiag
            from curvlinops.diagonal.hutchinson import hutchinson_diag

            operator, _ = peers.curvlinops_matrix(*self.given)
            estimates |= {
                "curvlinops xdiag": lambda _: xdiag(operator, n_products),
                "curvlinops hutchinson_diag": lambda _: hutchinson_diag(operator, n_products),
            }
        rows, errors = [], {}
        for name, estimate in estimates.items():
            torch.manual_seed(0)
            square = [(estimate(seed).double() - exact).square().mean() for seed in range(_SEEDS)]
            errors[name] = float(torch.stack(square).mean().sqrt() / exact.square().mean().sqrt())
            note = f"root mean square over weights and {_SEEDS} seeds, over that of the diagonal; {n_products} products"
            rows.append(Row.of(f"{_LAYER}, {_PART}, error of the diagonal: {name}", "", errors[name], note))
        return [*rows, *_ratios("error of the diagonal", errors)]

    def density_rows(self, dense: Tensor) -> list[Row]:
        """One quadrature of each package: its seconds, and how often it has the largest eigenvalue."""
        largest = float(torch.linalg.eigvalsh(dense)[-1])
        rows = []

        def add(name: str, taken: float, nodes: Tensor) -> None:
            copies = int(((nodes - largest).abs() < 1e-3 * largest).sum())
            rows.append(Row.of(f"{_LAYER}, {_PART}, quadrature of {_STEPS} steps: {name}", "s", taken,
                               f"the largest eigenvalue occurs {copies} time{'s' * (copies != 1)}"))  # fmt: skip

        started = time.perf_counter()
        found = spectral_density(self.risk, self.risk.w0, n_probes=2, n_steps=_STEPS)
        add("landscope", (time.perf_counter() - started) / 2, found.nodes[0])
        if "hessian-eigenthings" in self.found:
            import hessian_eigenthings as he

            operator, _ = peers.eigenthings_matrix(*self.given)
            started = time.perf_counter()
            theirs = he.spectral_density(operator, num_runs=1, lanczos_steps=_STEPS, seed=0)
            add("hessian-eigenthings", time.perf_counter() - started, theirs.raw_eigenvalues[0])
        if "PyHessian" in self.found:
            torch.manual_seed(0)
            with peers.pyhessian_matrix(*self.given) as (hessian, _):
                try:
                    started = time.perf_counter()
                    nodes, _ = hessian.density(iter=_STEPS, n_v=1)
                    add("PyHessian", time.perf_counter() - started, torch.tensor(nodes[0]))
                except RuntimeError:  # torch.eig was removed
                    name = f"{_LAYER}, {_PART}, quadrature of {_STEPS} steps: PyHessian"
                    rows.append(Row.of(name, "s", math.nan, f"fails with torch {torch.__version__.split('+')[0]}"))
        return rows


def _ratios(quantity: str, errors: dict[str, float]) -> list[Row]:
    return [
        Row.of(f"{_LAYER}, {_PART}, {quantity}: {name} / landscope", "x", error / errors["landscope"])
        for name, error in errors.items()
        if name != "landscope" and math.isfinite(error)
    ]
