"""The variance-flatness law: its exponents in-sample, in fresh data and under nulls, with intervals."""

from landscope.law.equilibrium import Equilibrium, equilibrium
from landscope.law.exponents import Exponents, fit_exponents, measure_exponents, variance_flatness
from landscope.law.inverse_relation import InverseRelation
from landscope.law.one_window import OneWindow, one_window_correction
from landscope.law.run_limit import RunLimit, run_limit
from landscope.law.window_limit import WindowLimit, window_limit
from landscope.power_law import PowerLaw, errors_in_variables_exponent, fit_power_law

__all__ = [
    "Equilibrium",
    "Exponents",
    "InverseRelation",
    "OneWindow",
    "PowerLaw",
    "RunLimit",
    "WindowLimit",
    "equilibrium",
    "errors_in_variables_exponent",
    "fit_exponents",
    "fit_power_law",
    "measure_exponents",
    "run_limit",
    "one_window_correction",
    "variance_flatness",
    "window_limit",
]
