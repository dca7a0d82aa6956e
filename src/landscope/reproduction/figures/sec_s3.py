"""Section S3: flatness against curvature, and gradient noise against curvature, layer by layer."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="sec-S3",
    title="sec-S3: flatness and curvature",
    until="noise",
    claims=("flatness_and_hessian", "noise_by_curvature"),
    plots=("flatness_and_curvature", "noise_against_curvature"),
)
