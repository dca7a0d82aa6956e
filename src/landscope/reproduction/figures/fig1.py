"""Fig. 1: the spectrum of the window, the drift along the first mode, and the diffusion along the others."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="fig1",
    title="Fig. 1: spectrum, drift and diffusion",
    until="law",
    claims=("gamma", "modes_for_90_percent", "drift_share", "alignment", "diffusion_share"),
    plots=("variance_spectrum", "accumulated_variance", "path_along_first_modes", "path_along_later_modes"),
    table="law",
)
