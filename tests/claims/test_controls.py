"""Every verdict of the controls can come out both ways."""

import math

import pytest
import torch

from landscope.claims.controls import (
    equilibrium_measurements,
    hessian_basis_measurements,
    sampling_measurements,
)
from landscope.claims.exponents import PROCESS_NAME, exponent_measurement
from landscope.claims.fig2 import CLAIMS
from landscope.claims.verdict import Control, Measurement, judge
from landscope.law.equilibrium import Equilibrium
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity
from landscope.law.window_limit import WindowLimit
from landscope.noise import window_factor
from landscope.reproduction.seed_summary import pooled_control
from verdicts import verdicts

FIG2 = {claim.key: claim for claim in CLAIMS}
NOTHING = (math.nan, math.nan)
EMPTY = torch.zeros(0)


def row(psi, psi_tau=0.0, half=0.05):
    around = {key: (value - half, value + half) for key, value in (("psi", psi), ("psi_tau", psi_tau))}
    return Exponents(
        name="", psi=psi, psi_interval=around["psi"], psi_D=2.0, psi_D_interval=(1.9, 2.1), psi_tau=psi_tau,
        psi_tau_interval=around["psi_tau"], gamma=1.0, gamma_interval=NOTHING, modes_for_90_percent=3, variance=EMPTY,
        velocity_variance=EMPTY, moves=EMPTY.bool(), width=EMPTY, bracketed=EMPTY.bool(), used=EMPTY.bool(),
        total_variance=1.0, prefactor=1.0, residual=0.1, rank_correlation=1.0, mode_range=(1, 2),
        interval_reason="", reach=(half, 0.1, half, 0.1), flatness_range=NOTHING, n_used=2, n_censored=0, n_still=0,
    )  # fmt: skip


def thermal_noise(psi, proportional):
    """Draws about known exponents, with a band of a tenth."""
    draws = torch.linspace(-0.03, 0.03, 5).double()
    return Equilibrium(
        curvature=EMPTY, expected=EMPTY, width=EMPTY, used=EMPTY.bool(), psi_expected=psi, psi=psi + draws,
        psi_proportional_expected=proportional, psi_proportional=proportional + draws, anharmonic=0.0, n_walked=100,
        n_steps=1000,
    )  # fmt: skip


def without_end(psi, half=0.05, relaxations=1e3, order_unknown=""):
    """psi_infinity with its interval, in a window that shows so many relaxation times of each direction."""
    ones, shown = torch.ones(3).double(), float(window_factor(torch.tensor(relaxations)))
    return WindowLimit(
        name="", curvature=ones, variance=ones, predicted=shown * ones, limit=ones, time=ones,
        relaxations=relaxations * ones, width=ones.cumsum(0), used=ones.bool(), psi=psi, psi_interval=NOTHING,
        psi_predicted=psi, psi_infinity=psi, psi_infinity_interval=(psi - half, psi + half), psi_infinity_reach=half,
        interval_reason="", n_used=3, steps_per_epoch=None, order_unknown=order_unknown,
    )  # fmt: skip


def controls(*, hessian=1.0, thermal=-2.0, proportional=0.5, replaced=-1.0, reshuffled=-1.0, limit=(1.0, 0.05)):
    limit = limit and without_end(*limit)
    sensitivity = Sensitivity(choices=("as reported",), exponents=torch.full((1, 3), 4.0))
    return {
        **hessian_basis_measurements(row(hessian), row(hessian), sensitivity, limit),
        **equilibrium_measurements(row(hessian), thermal_noise(thermal, proportional), limit),
        **sampling_measurements(row(0, replaced), row(0, reshuffled)),
    }


@pytest.mark.parametrize(
    ("key", "world", "expected"),
    [
        ("inverse_einstein", {"hessian": 1.0}, "reproduced"),
        ("inverse_einstein", {"hessian": -1.0}, "not reproduced"),
        ("inverse_einstein", {"hessian": 0.9, "thermal": 0.9}, "contested"),
        ("inverse_einstein", {"hessian": 0.9, "proportional": 0.9}, "contested"),
        ("inverse_einstein", {"hessian": 0.9, "proportional": 2.0}, "contested"),  # the sign is claimed
        ("inverse_einstein", {"thermal": math.nan}, "not measured"),
        ("inverse_einstein", {"limit": (0.0, 0.05)}, "contested"),  # the window makes the sign
        ("inverse_einstein", {"limit": (0.15, 0.05)}, "contested"),
        ("inverse_einstein", {"limit": (0.15, 0.5)}, "undecided"),
        ("inverse_einstein", {"limit": (1.0, 0.05, 1.0)}, "undecided"),  # half a relaxation time
        ("inverse_einstein", {"limit": (1.0, 0.05, 1e3, "no epoch")}, "undecided"),
        ("inverse_einstein", {"limit": None}, "undecided"),
        ("tau_by_sampling", {}, "reproduced"),
        ("tau_by_sampling", {"replaced": -0.1, "reshuffled": -0.1}, "contested"),  # nothing relaxes in either
        ("tau_by_sampling", {"replaced": -2.0}, "not reproduced"),
        ("tau_by_sampling", {"replaced": -1.3}, "undecided"),
        ("psi_hessian", {"hessian": 4.0, "limit": (4.0, 0.05)}, "reproduced"),
        ("psi_hessian", {"hessian": 4.0, "limit": (4.0, 0.05, 1e3, "no epoch")}, "undecided"),
        ("psi_hessian", {"hessian": 4.0, "limit": (0.1, 0.05)}, "contested"),
        ("psi_hessian", {"hessian": 4.0, "limit": None}, "undecided"),
        ("psi_hessian", {"hessian": 1.0}, "not reproduced"),
    ],
)
def test_the_controls_decide(key, world, expected):
    assert verdicts(controls(**world))[key] == expected


def test_one_draw_of_the_finite_window_process_decides_nothing():
    run, process, nulls = row(4.0), row(4.1, half=0.01), [row(2.0 + number / 50) for number in range(5)]
    for made, said in (([process], "gives 4.1 in one draw"), ([], "was not measured")):
        judgement = judge(FIG2["psi"], exponent_measurement("psi", run, row(3.9), nulls, made))
        assert judgement.verdict == "undecided"
        assert said in judgement.why
    strength = exponent_measurement("psi_D", run, run, nulls, [process])
    assert all("stationary process" not in control.name for control in strength.controls)


def test_draws_of_the_finite_window_process_decide_as_a_null_with_a_band():
    run, nulls = row(4.0), [row(2.0 + number / 50) for number in range(5)]
    for draws, verdict in (((4.05, 4.0, 3.95), "contested"), ((1.0, 1.05, 0.95), "undecided")):  # no limit
        measured = exponent_measurement("psi", run, row(3.9), nulls, [row(value) for value in draws])
        assert judge(FIG2["psi"], measured).verdict == verdict


def test_the_finite_window_process_of_several_runs_is_a_null_with_a_band():
    single = Control(PROCESS_NAME, NOTHING, "differ", "gives 4 in one draw, which is no band")
    pooled = pooled_control([single] * 3, [4.0, 4.1, 4.2])
    assert pooled.was_measured
    assert judge(FIG2["psi"], Measurement(4.1, controls=(pooled,))).verdict == "contested"
