"""Simulated runs in which the law is known: directions that relax at given rates under noise of given strength."""

from __future__ import annotations

import dataclasses
import functools
import math

import torch

import landscope as ls
from landscope.claims.exponents import exponent_measurement
from landscope.claims.fig1 import CLAIMS as FIG1
from landscope.claims.fig2 import CLAIMS as FIG2
from landscope.claims.fig3 import CLAIMS as FIG3
from landscope.claims.verdict import Control, judge
from landscope.directions import Directions
from landscope.law.exponents import measure_exponents
from landscope.noise import StepRule
from landscope.surrogates.finite_window import finite_window_process
from landscope.surrogates.shuffled import shuffled_increments
from landscope.synthetic import InverseGaussian

CLAIMS = {claim.key: claim for claim in (*FIG1, *FIG2, *FIG3)}
ISOTROPIC = Control("isotropic noise", (0.0, 0.0), "differ")
RATE = 0.1


@dataclasses.dataclass(frozen=True)
class RelaxingRun:
    """A stationary run with sigma^2(infinity) ~ F^-psi, D ~ F^-2 and so tau ~ F^-(psi - 2), over a decade of F.

    Args:
        psi: The true exponent; 0 where noise is proportional to curvature.
        dim: Number of directions.
        rows: Rows of the window; as many fresh ones follow.
        slowest: Longest relaxation time, in steps.
        momentum: Heavy-ball momentum.
        batches: Number of minibatches, drawn with replacement; normal noise by default.
        seed: Seed of the noise.
    """

    psi: float = 3.8
    dim: int = 30
    rows: int = 2000
    slowest: float = 60.0
    momentum: float = 0.0
    batches: int | None = None
    seed: int = 0

    @property
    def width(self):
        return torch.logspace(0, 1, self.dim).double()

    @property
    def curvature(self):
        """lambda = (1 - beta)/(alpha times the relaxation time), and the time goes as sigma^2/D."""
        time = self.width ** (2 - self.psi)
        return (1 - self.momentum) / (RATE * self.slowest * time / time.max())

    @functools.cached_property
    def path(self):
        """v' = beta v - alpha lambda theta + zeta with <v^2> = D, from the stationary distribution on."""
        generator, n_rows, beta = torch.Generator().manual_seed(self.seed), 2 * self.rows, self.momentum
        strength, pull = self.width**-2, RATE * self.curvature
        noise = self._noise(n_rows, generator) * (strength * (1 - beta) * (1 + beta - pull / 2)).sqrt()
        start = torch.randn(2, self.dim, generator=generator).double() * strength.sqrt()
        velocity = start[0]
        theta = start[0] / 2 + ((1 + beta) / (2 * pull) - 0.25).sqrt() * start[1]
        rows = torch.empty(n_rows, self.dim, dtype=torch.float64)
        for step in range(n_rows):
            rows[step] = theta
            velocity = beta * velocity - pull * theta + noise[step]
            theta = theta + velocity
        return ls.Trajectory.of(rows, learning_rate=torch.full((n_rows,), RATE).double())

    def _noise(self, count, generator):
        if self.batches is None:
            return torch.randn(count, self.dim, generator=generator).double()
        # Orthogonal columns about a mean of zero: the gradients of the minibatches have the unit covariance exactly.
        columns = torch.randn(self.batches, self.dim, generator=generator).double()
        basis, _ = torch.linalg.qr(torch.cat([torch.ones(self.batches, 1).double(), columns], dim=1))
        return math.sqrt(self.batches) * basis[torch.randint(self.batches, (count,), generator=generator), 1:]

    @property
    def window(self):
        return self.path.window(1, self.rows + 1)

    @property
    def landscape(self):
        return InverseGaussian(8 / self.width**2)

    @property
    def axes(self):
        order = torch.argsort(self.curvature, descending=True)
        return Directions.of(torch.eye(self.dim).double()[order], values=self.curvature[order])

    @functools.cached_property
    def limit(self):
        widths = ls.flatness(self.landscape, torch.zeros(self.dim).double(), self.axes.directions)
        return ls.law.window_limit(
            self.axes, self.window, widths, learning_rate=RATE, rule=StepRule(momentum=self.momentum)
        )

    @functools.cached_property
    def measured_rows(self):
        """Exponents in-sample, in fresh data, of shuffled increments and of the process, as a study measures them."""
        window, w0, fitted = self.window, torch.zeros(self.dim).double(), (1, self.dim)
        modes = ls.principal_modes(window)
        widths = ls.flatness(self.landscape, w0, modes.directions)
        own, fresh = (
            ls.variance_flatness(modes, rows, widths, fitted, spectrum_ranks=fitted)
            for rows in (window, self.path.window(self.rows + 1))
        )
        made = {
            "null": [shuffled_increments(window, seed=seed) for seed in range(3)],
            "process": [
                finite_window_process(
                    window, self.axes, rest=0.0, learning_rate=RATE, rule=StepRule(momentum=self.momentum), seed=seed
                )
                for seed in range(2)
            ],
        }  # fmt: skip
        nulls, processes = (
            [
                measure_exponents(name, self.landscape, w0, rows, fit_modes=fitted, spectrum_ranks=fitted)
                for rows in made[name]
            ]
            for name in ("null", "process")
        )
        return own, fresh, nulls, processes

    @functools.cached_property
    def measurements(self):
        """Every exponent as a study judges it, beside its controls."""
        own, fresh, nulls, processes = self.measured_rows
        return {
            key: exponent_measurement(
                key, own, fresh, nulls, processes, self.limit, ISOTROPIC if key == "psi_D" else None
            )
            for key in ("psi", "psi_D", "psi_tau", "gamma")
        }

    def verdicts(self, *keys):
        """Verdicts by claim; of all exponents of the law by default."""
        return {key: judge(CLAIMS[key], self.measurements[key]).verdict for key in keys or ("psi", "psi_D", "psi_tau")}
