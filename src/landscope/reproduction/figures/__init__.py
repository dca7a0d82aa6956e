"""Figures and sections of the paper, one file each; a new one is listed here."""

from landscope.reproduction.figures.branches import Branches
from landscope.reproduction.figures.capacity import Capacity
from landscope.reproduction.figures.continual import Continual
from landscope.reproduction.figures.fig1 import FIG1
from landscope.reproduction.figures.fig2 import FIG2
from landscope.reproduction.figures.fig3 import FIG3
from landscope.reproduction.figures.fig4 import Fig4
from landscope.reproduction.figures.fig5 import FIG5
from landscope.reproduction.figures.fig6 import Fig6
from landscope.reproduction.figures.fig_s7 import FIG_S7
from landscope.reproduction.figures.figure import Figure
from landscope.reproduction.figures.language import Language
from landscope.reproduction.figures.sec_s2 import SEC_S2
from landscope.reproduction.figures.sec_s3 import SEC_S3
from landscope.reproduction.figures.sec_s6 import SecS6
from landscope.reproduction.figures.sec_s7 import SecS7
from landscope.reproduction.figures.sec_s8 import SecS8
from landscope.reproduction.figures.sec_s9 import SecS9
from landscope.reproduction.figures.split_digits import SplitDigits

__all__ = ["FIGURES", "OF_THE_PAPER", "QUICK"]

QUICK = {
    "data": "digits", "window_epochs": 40, "fit_modes": (2, 150), "flatness_modes": 150, "spectrum_ranks": (10, 100),
    "n_nulls": 1, "noise_modes": 30, "basis_modes": 40, "langevin_steps": 2000,
}  # fmt: skip
"""Settings of a quick reproduction."""

OF_THE_PAPER: tuple[Figure, ...] = (
    FIG1,
    FIG2,
    FIG3,
    FIG5,
    SEC_S2,
    SEC_S3,
    FIG_S7,
    SecS6(),
    Fig6(),
    SecS9(),
    Branches(),
    Fig4(),
    SecS7(),
    SecS8(),
    SplitDigits(),
    Capacity(),
)
"""The figures of ``reproduce all``, in this order."""
BEYOND: tuple[Figure, ...] = (Continual(), Language())
"""Figures that the paper does not have."""
FIGURES = {figure.key: figure for figure in (*OF_THE_PAPER, *BEYOND)}
"""All figures by key."""
