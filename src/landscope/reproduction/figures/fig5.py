"""Fig. 5: the active temperature along modes and over training."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="fig5",
    title="Fig. 5: active temperature",
    until="noise",
    claims=("temperature_profile", "temperature_by_flatness", "cooling", "frozen"),
    plots=(
        "temperature_profiles", "temperature_against_flatness", "temperature_profiles_over_training",
        "temperature_over_training", "temperature_against_loss",
    ),
)  # fmt: skip
