"""Seconds of the three large jobs of the minibatch noise, at the sizes of the paper's network on MNIST."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

import landscope as ls

__all__ = ["noise_work"]


def noise_work(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], repeats: int) -> dict:
    """Seconds of each job: all repeats, so that the reader sees the spread."""
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    ensemble = risk.minibatches(50, seed=0)
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(space.dim, 100, generator=generator)).Q.T.contiguous()
    steps = torch.linspace(-0.5, 0.5, 41)
    path = ls.Trajectory.of(torch.randn(12_000, 2_500, generator=generator).cumsum(0))
    axes = ls.PrincipalModes(
        mean=torch.zeros(2_500).double(),
        directions=torch.eye(2_500).double(),
        variance=torch.zeros(2_500).double(),
        total_variance=0.0,
        n_steps=12_000,
    )
    jobs: dict[str, Callable[[], object]] = {
        "sweep of 100 modes x 41 points x 60,000 samples, with 120,000 spring fits (s)": lambda: ls.minibatch_ensemble(
            ensemble, risk.w0, directions, steps
        ),
        "derivatives of 1,200 minibatches in 100 directions, forward mode (s)": lambda: ls.active_temperature(
            ensemble, risk.w0, directions, torch.zeros(1), learning_rate=0.1
        ),
        "the same by one gradient a minibatch (s)": lambda: ls.gradient_noise(ensemble, risk.w0, directions),
        "velocity statistics of 12,000 x 2,500, lags to 1,200 (s)": lambda: ls.velocity_statistics(path, axes, 1200),
    }
    return {name: [_seconds(job) for _ in range(repeats)] for name, job in jobs.items()}


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started
