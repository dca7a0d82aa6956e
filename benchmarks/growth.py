"""How the cost of every quantity grows: the exponent of a power law fitted to times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

import landscope as ls
from benchmarks.measure import Row, seconds
from benchmarks.subject import Subject
from landscope.reproduction.experiment.networks import mlp

__all__ = ["growth"]

_REPEATS = 2


def growth(subject: Subject) -> list[Row]:
    """Exponents against samples M, weights N, directions k, points S and rows T; everything else fixed."""
    risk, full = subject.risk(), subject.modes(64)
    risks = {n: subject.risk(n) for n in (15_000, 30_000, 60_000)}
    some, steps = full[:8], torch.linspace(-0.5, 0.5, 16)
    generator = torch.Generator().manual_seed(0)

    def wide(width: int) -> tuple[ls.EmpiricalRisk, torch.Tensor]:
        space = ls.ParameterSpace.of(model := mlp([784, width, width, 10], seed=0), "2.weight")
        part = (subject.data[0][:15_000], subject.data[1][:15_000])
        wider = ls.EmpiricalRisk(model, nn.functional.cross_entropy, part, space=space)
        return wider, torch.randn(8, space.dim, generator=generator)

    def walk(count: int, dim: int) -> ls.Trajectory:
        return ls.Trajectory.of(torch.randn(count, dim, generator=generator).cumsum(0))

    axes = ls.directions.Directions.of(torch.eye(500), name="axes")
    widths = {width**2: wide(width) for width in (50, 100, 200, 400)}
    tall = {count: walk(count, 500) for count in (4_000, 8_000, 16_000, 32_000)}
    broad = {dim: walk(4_000, dim) for dim in (250, 500, 1_000, 2_000)}
    low = {dim: walk(200, dim) for dim in (50_000, 100_000, 200_000, 400_000)}
    measured: list[tuple[str, str, dict[int, Callable[[], object]]]] = [
        ("losses along lines", "M", {n: _line(r, some, steps) for n, r in risks.items()}),
        ("losses along lines", "N (at M = 15,000)", {n: _line(*pair, steps) for n, pair in widths.items()}),
        ("losses along lines", "k", {k: _line(risk, full[:k], steps) for k in (8, 16, 32)}),
        ("losses along lines", "S", {n: _line(risk, some, torch.linspace(-0.5, 0.5, n)) for n in (8, 16, 32)}),
        ("flatness", "M", {n: _call(ls.flatness, r, r.w0, some) for n, r in risks.items()}),
        ("flatness", "k", {k: _call(ls.flatness, risk, risk.w0, full[:k]) for k in (8, 16, 32)}),
        ("minibatch sweep and springs", "M", {n: _springs(r, some, 16) for n, r in risks.items()}),
        ("minibatch sweep and springs", "k", {k: _springs(risk, full[:k], 16) for k in (8, 16, 32)}),
        ("minibatch sweep and springs", "S", {n: _springs(risk, some, n) for n in (8, 16, 32)}),
        ("directional derivatives", "M", {n: _temperatures(r, some) for n, r in risks.items()}),
        ("directional derivatives", "k", {k: _temperatures(risk, full[:k]) for k in (8, 16, 32)}),
        ("gradient noise", "M", {n: _noise(r, some) for n, r in risks.items()}),
        ("gradient", "M", {n: _call(r.gradient, r.w0) for n, r in risks.items()}),
        ("Hessian product", "M", {n: _call(r.hessian_vector_product, r.w0, some[0]) for n, r in risks.items()}),
        ("modes, T > N", "T (N = 500)", {n: _call(ls.principal_modes, t) for n, t in tall.items()}),
        ("modes, T > N", "N (T = 4,000)", {n: _call(ls.principal_modes, t) for n, t in broad.items()}),
        ("modes, T < N", "N (T = 200)", {n: _call(ls.principal_modes, t) for n, t in low.items()}),
        (
            "velocity statistics",
            "T (k = 500)",
            {n: _call(ls.noise.velocity_statistics, t, axes, 100) for n, t in tall.items()},
        ),
    ]
    measured += [
        ("proximal step", "N (N_c = 50)", {n: _proximal(n, 50) for n in (20_000, 40_000, 80_000, 160_000)}),
        ("proximal step", "N_c (N = 40,000)", {k: _proximal(40_000, k) for k in (25, 50, 100, 200)}),
    ]
    return [_row(name, variable, calls) for name, variable, calls in measured]


def _call(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _line(risk: ls.EmpiricalRisk, directions: torch.Tensor, steps: torch.Tensor) -> Callable[[], object]:
    return lambda: ls.loss_profiles(risk, risk.w0, directions, steps)


def _springs(risk: ls.EmpiricalRisk, directions: torch.Tensor, points: int) -> Callable[[], object]:
    ensemble = risk.minibatches(50, seed=0)
    return lambda: ls.noise.minibatch_ensemble(ensemble, risk.w0, directions, torch.linspace(-0.5, 0.5, points))


def _temperatures(risk: ls.EmpiricalRisk, directions: torch.Tensor) -> Callable[[], object]:
    ensemble = risk.minibatches(50, seed=0)
    return lambda: ls.noise.active_temperature(ensemble, risk.w0, directions, torch.zeros(1), learning_rate=0.1)


def _noise(risk: ls.EmpiricalRisk, directions: torch.Tensor) -> Callable[[], object]:
    ensemble = risk.minibatches(50, seed=0)
    return lambda: ls.noise.gradient_noise(ensemble, risk.w0, directions)


def _proximal(dim: int, n_constrained: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(dim, n_constrained, generator=generator)).Q.T.contiguous()
    penalty = ls.penalties.QuadraticPenalty(
        anchor=torch.zeros(dim), directions=directions, stiffness=torch.ones(n_constrained), floor=0.1
    )
    weights = torch.randn(dim, generator=generator)

    def steps() -> None:
        for _ in range(10):
            penalty.proximal_step(weights, 0.1)

    return steps


def _row(name: str, variable: str, calls: dict[int, Callable[[], object]]) -> Row:
    sizes, times = [], []
    for size, call in calls.items():
        call()
        sizes.append(float(size))
        times.append(min(seconds(call) for _ in range(_REPEATS)))
    fit = ls.law.fit_power_law(torch.tensor(sizes), torch.tensor(times))
    last = f"{times[-1]:.3g} s at {variable.split()[0]} = {int(sizes[-1]):,}"
    return Row.of(f"{name}: cost ~ {variable}^a", "a", fit.exponent, f"standard error {fit.stderr:.2f}; {last}")
