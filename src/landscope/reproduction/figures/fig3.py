"""Fig. 3: noise strength and memory against flatness, minibatches as springs, and the controls of the exponents."""

from landscope.reproduction.figures.single_runs import SingleRuns

__all__ = ["FIGURE"]

FIGURE = SingleRuns(
    key="fig3",
    title="Fig. 3: noise strength, memory, and their controls",
    until="controls",
    claims=(
        "psi", "psi_D", "psi_tau", "minibatch_springs", "spring_flatness", "spring_noise", "mean_field",
        "tau_counts_minibatches", "psi_hessian", "inverse_einstein", "stationary", "tau_by_sampling",
        "flat_modes_stationary",
    ),
    plots=(
        "minibatch_profiles", "noise_against_flatness", "correlation_time_against_flatness", "spring_predictions",
        "correlation_time_by_sampling", "equilibrium", "variance_against_window", "exponents",
    ),
    table="all",
)  # fmt: skip
