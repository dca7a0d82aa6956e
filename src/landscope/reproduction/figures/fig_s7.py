"""Fig. S7: stiffness and centres of the minibatch springs against flatness."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="fig-S7",
    title="Fig. S7: springs against flatness",
    until="noise",
    claims=("stiffness_exponent", "centre_exponent", "mean_field"),
    plots=("spring_statistics", "spring_predictions"),
)
