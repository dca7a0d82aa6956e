"""What stands below each figure, on the page of a run and on that of a reproduction."""

from __future__ import annotations

__all__ = ["CAPTIONS", "WIDE"]

CAPTIONS = {
    "training": (
        "Training.",
        "Loss (left axis) and errors (right axis); the analysis uses the window, the controls fresh data.",
    ),
    "fig1a": (
        "A. Spectrum.",
        "Variance of the weights along each principal mode. Grey: the window's own steps in random order; "
        "dotted: an isotropic random walk of the same length and total variance. A finding must stand out "
        "from these.",
    ),
    "fig1b": (
        "B. How few modes.",
        "Share of the variance, without mode 1, in modes 2 to n; dashed: 90 %.",
    ),
    "fig1c": (
        "C. Drift.",
        "The path along modes 1 and 2, coloured by time. PCA turns even a driftless walk into half a cosine "
        "along mode 1 and a whole one along mode 2, an arc.",
    ),
    "fig1d": (
        "D. Diffusion.",
        "The path along modes 49 and 50.",
    ),
    "fig2a": (
        "A. Profiles.",
        "Loss along modes through the last iterate w₀ of the window.",
    ),
    "fig2b": (
        "B. Log-loss.",
        "Fits by an inverse Gaussian (quadratic ln L) and a quadratic L, residuals below; the bar is the flatness F.",
    ),
    "fig2c": (
        "C. Flatness against rank.",
        "Distance between the nearest points on both sides where the loss is e times that at w₀.",
    ),
    "fig2d": (
        "D. Variance against flatness.",
        "Blue: the paper's way, modes and variances from one window. Orange: the same modes and flatness, "
        "variances of the fresh data. Grey: shuffled increments through the same analysis. The law is an "
        "effect of the dynamics only as far as blue and orange agree and grey does not.",
    ),
    "fig3a": (
        "A. Minibatch losses.",
        "ln L of single minibatches along one mode, and of all data.",
    ),
    "fig3b-d": (
        "B. Noise strength.",
        "Velocity variance D against flatness. It holds no memory: the shuffled null keeps it.",
    ),
    "fig3b-tau": (
        "B. Correlation time.",
        "τ = σ²/D against flatness. Grey shows what PCA on a finite window makes of the same steps without memory.",
    ),
    "autocorrelation": (
        "Memory of velocities.",
        "One plus twice the summed autocorrelation of the velocity: it falls below one where successive "
        "minibatches undo one another, as they do within an epoch of sampling without replacement.",
    ),
    "msd": (
        "Mean squared displacement.",
        "Slope 1: diffusion; 2: drift; 0: confined.",
    ),
    "figs7": (
        "Fig. S7.",
        "Mean stiffness of the minibatch springs and spread of their minima, with fitted exponents (paper: −2 and 1).",
    ),
    "predictions": (
        "Eqs. 10 and 12.",
        "What the springs predict over what was measured; grey: how well the product of means stands for the "
        "joint moment.",
    ),
    "fig5a": (
        "A. Profiles.",
        "Active temperature (left) and loss (right) along modes.",
    ),
    "fig5b": (
        "B. By direction.",
        "Active temperature at w₀.",
    ),
    "fig5c": (
        "C. Over time.",
        "Profiles along one mode at checkpoints of the training.",
    ),
    "fig5d": (
        "D. Cooling.",
        "Loss and active temperatures along training; modes of the end of training.",
    ),
    "fig5d-inset": (
        "D, inset.",
        "Active temperature against loss.",
    ),
    "activity": (
        "Activity.",
        "Modes that hold 99 % of the variance of each epoch that was recorded.",
    ),
    "drift-line": (
        "Drift.",
        "1/L is linear in time where the loss falls by a drift along one direction; grey: the slope if "
        "nothing but that moved.",
    ),
    "along-drift": (
        "Along the drift.",
        "Margin and test error from w₀ on along the first mode.",
    ),
    "locality": (
        "Flatness and Hessian.",
        "Measured flatness over the one the local curvature gives.",
    ),
    "layers": (
        "Noise and curvature.",
        "Gradient noise against curvature in each layer; filled: Hessian eigenvectors, open: gradient-noise "
        "eigenvectors. Each basis favours what it was chosen by.",
    ),
    "exponents": (
        "All exponents.",
        "Every row of the table; dashed: the paper.",
    ),
    "equilibrium": (
        "Equilibrium.",
        "Variance along Hessian eigenvectors: the run, and isotropic Langevin noise around the same solution "
        "through the same code, which must rise (Einstein relation). Only directions that equilibrated.",
    ),
    "samplings": (
        "Sampling.",
        "The same modes after training on with four orders of the minibatches; lines: what the order alone "
        "does in a bowl.",
    ),
    "stationarity": (
        "Stationarity.",
        "Yaida's ratio after training on with replacement, as it needs independent minibatches: 1 where "
        "restoring force and noise balance.",
    ),
    "growth": (
        "Growth.",
        "Variance against the length of the window along Hessian eigenvectors.",
    ),
}
"""Figure -> label and text."""

WIDE = ("exponents",)
"""Figures that take the whole width."""
