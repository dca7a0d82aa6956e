"""Section S2: the drift along the first mode, and what it does to loss, margin and test error."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="sec-S2",
    title="sec-S2: drift along the first mode",
    until="noise",
    claims=("logarithmic_drift", "margin", "persistence", "short_memory", "drift_share", "alignment"),
    plots=(
        "training_curves", "inverse_loss_over_training", "loss_along_drift", "path_along_first_modes", "active_modes",
    ),
)  # fmt: skip
