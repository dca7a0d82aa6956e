"""The captions of the figures on the page of a run and on the page of a reproduction."""

from __future__ import annotations

__all__ = ["CAPTIONS", "WIDE"]

CAPTIONS = {
    "training_curves": (
        "Training.",
        "Loss (left axis) and errors (right axis). The analysis uses the window, and the controls use fresh data.",
    ),
    "variance_spectrum": (
        "A. Spectrum.",
        "Variance of the weights along each principal mode. Grey: the steps of the window in random order; "
        "dotted: an isotropic random walk of the same length and total variance. A result is meaningful only if "
        "it differs from both.",
    ),
    "accumulated_variance": (
        "B. Number of modes.",
        "Share of modes 2 to n in the variance without mode 1; dashed: 90 %.",
    ),
    "path_along_first_modes": (
        "C. Drift.",
        "The path along modes 1 and 2, coloured by time. PCA of a random walk without drift also gives an arc: "
        "half a cosine along mode 1 and a full cosine along mode 2.",
    ),
    "path_along_later_modes": (
        "D. Diffusion.",
        "The path along modes 49 and 50.",
    ),
    "loss_profiles": (
        "A. Profiles.",
        "Loss along modes through the last iterate w₀ of the window.",
    ),
    "log_loss_profiles": (
        "B. Log-loss.",
        "Fits by an inverse Gaussian (quadratic ln L) and by a quadratic L, with residuals below. The bar shows the "
        "flatness F.",
    ),
    "flatness_against_rank": (
        "C. Flatness against rank.",
        "Distance between the nearest points on both sides where the loss is e times the loss at w₀.",
    ),
    "variance_against_flatness": (
        "D. Variance against flatness.",
        "Blue: modes and variances from one window, as in the paper. Orange: the same modes and flatness with the "
        "variances of fresh data. Grey: the same analysis of shuffled increments. The law is an effect of the "
        "dynamics only if blue and orange agree and grey differs.",
    ),
    "minibatch_profiles": (
        "A. Minibatch losses.",
        "Log-loss of single minibatches and of all data along one mode.",
    ),
    "noise_against_flatness": (
        "B, first part. Noise strength.",
        "Velocity variance D against flatness. Along fixed directions it does not depend on the order of the steps; "
        "the null has other modes, so its D is another.",
    ),
    "correlation_time_against_flatness": (
        "B, second part. Correlation time.",
        "τ = σ²/D against flatness. Grey: the same steps in random order, without memory; only PCA of a finite window "
        "causes their τ.",
    ),
    "velocity_autocorrelation": (
        "Memory of velocities.",
        "One plus twice the summed autocorrelation of the velocity. It falls below one if successive minibatches "
        "compensate each other, as within an epoch without replacement.",
    ),
    "mean_squared_displacement": (
        "Mean squared displacement.",
        "Slope 1: diffusion; 2: drift; 0: confined.",
    ),
    "spring_statistics": (
        "Fig. S7.",
        "Mean stiffness of the minibatch springs and spread of their minima, with fitted exponents (paper: −2 and 1).",
    ),
    "spring_predictions": (
        "Eqs. 10 and 12.",
        "Predictions of the springs divided by the measurements; grey: the joint moment divided by the product of "
        "means.",
    ),
    "temperature_profiles": (
        "A. Profiles.",
        "Active temperature (left) and loss (right) along modes.",
    ),
    "temperature_against_flatness": (
        "B. By direction.",
        "Active temperature at w₀.",
    ),
    "temperature_profiles_over_training": (
        "C. Over time.",
        "Profiles along one mode at several checkpoints.",
    ),
    "temperature_over_training": (
        "D. Temperature over training.",
        "Loss and active temperatures over training, along the modes of the end of training.",
    ),
    "temperature_against_loss": (
        "D, inset.",
        "Active temperature against loss.",
    ),
    "active_modes": (
        "Active modes.",
        "Number of modes with 99 % of the variance in each recorded epoch.",
    ),
    "inverse_loss_over_training": (
        "Drift.",
        "1/L is linear in time if the loss falls by a drift along one direction; grey: the slope if the weights "
        "move only along this direction.",
    ),
    "loss_along_drift": (
        "Along the drift.",
        "Margin and test error along the first mode, from w₀ on.",
    ),
    "flatness_and_curvature": (
        "Flatness and Hessian.",
        "Measured flatness divided by the flatness from the local curvature.",
    ),
    "noise_against_curvature": (
        "Noise and curvature.",
        "Gradient noise against curvature in each layer; filled: Hessian eigenvectors, open: gradient-noise "
        "eigenvectors. Each basis favours the quantity that defines it.",
    ),
    "exponents": (
        "All exponents.",
        "Every row of the table; dashed: values of the paper.",
    ),
    "equilibrium": (
        "Equilibrium.",
        "Variance along Hessian eigenvectors, for the run and for isotropic Langevin noise at the same solution. "
        "The variance of the Langevin noise must rise with flatness (Einstein relation). Only directions in "
        "equilibrium are shown.",
    ),
    "correlation_time_by_sampling": (
        "Sampling.",
        "The same modes after continued training with four orders of the minibatches; lines: effect of the order "
        "alone in a quadratic bowl.",
    ),
    "stationarity": (
        "Stationarity.",
        "Ratio of Yaida's relation after continued training with replacement, because the relation needs "
        "independent minibatches. It is 1 if restoring force and noise balance.",
    ),
    "variance_against_window": (
        "Growth.",
        "Variance against the length of the window along Hessian eigenvectors.",
    ),
}
"""Label and text of each figure."""

WIDE = ("exponents",)
"""Figures with the full width of the page."""
