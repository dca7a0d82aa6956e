"""A run that is nothing but noise proportional to curvature in a window that ends: no claim passes for reproduced."""

import dataclasses

import pytest
import torch

import landscope as ls
from landscope.claims.controls import equilibrium_measurements, hessian_basis_measurements
from landscope.claims.fig1 import spectrum_measurements
from landscope.claims.fig2 import law_measurements
from landscope.claims.regimes import regime_measurements
from landscope.claims.verdict import Measurement
from landscope.law.equilibrium import equilibrium
from landscope.law.sensitivity import Sensitivity
from landscope.law.spectrum import spectrum
from relaxing_runs import RATE, RelaxingRun
from verdicts import verdicts


def measured(run):
    """Every claim that the variances of a window decide."""
    own, fresh, nulls, processes = run.measured_rows
    window, following = run.window, run.path.window(run.rows + 1)
    modes = ls.principal_modes(window)
    along, later = (ls.noise.mode_statistics(modes, rows) for rows in (window, following))
    shape = spectrum(modes, window, along, later, spectrum_ranks=(10, 30))
    origin = torch.zeros(run.dim).double()
    widths = ls.flatness(run.landscape, origin, run.axes.directions)
    hessian, hessian_fresh = (
        ls.variance_flatness(run.axes, rows, widths, (1, run.dim)) for rows in (window, following)
    )
    thermal = equilibrium(run.axes.values, widths, len(window), learning_rate=RATE, n_draws=5, seed=0)
    thermal = dataclasses.replace(thermal, anharmonic=0.0)  # a bowl
    return {
        **spectrum_measurements(shape, own, fresh, nulls, processes, later),
        **law_measurements(own, fresh, nulls, processes, run.limit, 0.5),
        **regime_measurements(shape, own, fresh, nulls, processes, run.dim, (along, later)),
        **hessian_basis_measurements(
            hessian, hessian_fresh, Sensitivity(choices=("",), exponents=torch.full((1, 3), 4.0)), run.limit
        ),
        **equilibrium_measurements(hessian_fresh, thermal, run.limit),
    }


OF_THE_WINDOW = ("psi", "gamma", "psi_hessian", "inverse_einstein", "flatness_rises", "modes_for_90_percent",
                 "first_mode", "plateau", "faster_decay")  # fmt: skip


@pytest.mark.parametrize("slowest", [1000.0, 1e5])
def test_noise_proportional_to_curvature_reproduces_nothing(slowest):
    found = measured(RelaxingRun(psi=0.0, dim=80, rows=800, slowest=slowest))
    seen = verdicts({key: found[key] for key in OF_THE_WINDOW})
    assert "reproduced" not in seen.values(), seen
    assert found["inverse_einstein"].value > 0.5  # in fresh data too: the window alone makes the sign
    assert seen["inverse_einstein"] == "contested"


def test_over_seeds_as_sharp_a_value_is_contested_too():
    """The value of many seeds has a narrow interval, and the same controls."""
    found = measured(RelaxingRun(psi=0.0, dim=80, rows=800, slowest=1e5))
    for key in ("flatness_rises", "inverse_einstein"):
        one = found[key]
        sharp = Measurement(one.value, (one.value - 0.01, one.value + 0.01), one.controls)
        assert verdicts({key: sharp})[key] == "contested"


def test_a_true_law_has_its_sign_and_its_order():
    found = measured(RelaxingRun())
    assert verdicts(found)["inverse_einstein"] == "reproduced"
    assert verdicts(found)["flatness_rises"] == "reproduced"
