"""The variance-flatness law: its exponents in-sample, in fresh data and under nulls, with intervals."""

from landscope.law.exponents import Exponents, fit_exponents
from landscope.law.inverse_relation import InverseRelation
from landscope.law.variance_flatness import VarianceFlatnessLaw, variance_flatness_law
from landscope.power_law import PowerLaw, errors_in_variables_exponent, fit_power_law

__all__ = [
    "Exponents",
    "InverseRelation",
    "PowerLaw",
    "VarianceFlatnessLaw",
    "errors_in_variables_exponent",
    "fit_exponents",
    "fit_power_law",
    "variance_flatness_law",
]
