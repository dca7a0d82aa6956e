"""The captions of the figures on the page of a run and on the page of a reproduction.

A caption says what is drawn, and what would be an artefact of the analysis where there is one.
"""

from __future__ import annotations

from landscope.report.limits import PROCESS_LIMIT, PROCESS_LIMIT_IS, RUN_LIMIT, RUN_LIMIT_IS

__all__ = ["CAPTIONS", "WIDE"]

CAPTIONS = {
    "training_curves": (
        "Training.",
        "Loss (blue, left axis) and errors (orange, right axis). Modes and flatness come from the blue span; the "
        "orange span holds fresh data, which check them.",
    ),
    "variance_spectrum": (
        "A. Spectrum.",
        "Variance of the weights along each principal mode (blue), and along the same modes in fresh data (orange). "
        "Grey: modes of the window's steps in random order; dotted: an isotropic random walk of the same length and "
        "total variance. PCA of any finite window gives a falling curve, so only a difference from grey and dotted "
        "tells something about the training.",
    ),
    "spectrum_exponents": (
        "A, exponents.",
        "Exponent of the spectrum over the ranks from i/1.5 to 1.5 i. A plateau, a power law and a faster decay are "
        "three levels; dashed: the ranks between which the exponent γ is fitted. Grey and green: modes of the steps in "
        "random order, and of a stationary process in a window of the same length. Where these curves bend "
        "too, the window is the reason.",
    ),
    "accumulated_variance": (
        "B. Number of modes.",
        "Share of modes 2 to n in the variance without mode 1. Dashed: 90 %, and the n that reaches it. A random walk "
        "(dotted) also needs few modes; fewer modes than grey and dotted are a finding.",
    ),
    "path_along_first_modes": (
        "C. Drift.",
        "Path of the weights along modes 1 and 2, coloured by the step. An arc alone shows no drift: PCA of a random "
        "walk gives half a cosine along mode 1 and a full cosine along mode 2.",
    ),
    "path_along_later_modes": (
        "D. Diffusion.",
        "Path of the weights along modes 49 and 50, coloured by the step. A cloud without order of the colours is "
        "motion without drift.",
    ),
    "loss_profiles": (
        "A. Profiles.",
        "Loss on all training samples along single modes through w₀, the last weights of the window. Dashed: the loss "
        "at which flatness is read.",
    ),
    "log_loss_profiles": (
        "B. Log-loss.",
        "The logarithm of the loss along one mode, with two fits: an inverse Gaussian (ln L is quadratic) and a "
        "quadratic L. Below: residuals; the better fit stays nearer zero. The bar shows the flatness F, "
        "if it was measured.",
    ),
    "flatness_against_rank": (
        "C. Flatness against rank.",
        "Flatness of each mode: the distance between the nearest points on both sides where the loss reaches the set "
        "multiple of the loss at w₀ (e times by default). Grey: flatness along modes of the steps in random order. If "
        "grey rises in the same way, the rise is an effect of PCA.",
    ),
    "variance_against_flatness": (
        "D. Variance against flatness.",
        "Blue: modes and variances from one window, as in the paper. Orange: the same modes and flatness, with "
        "variances of fresh data. Grey: the same analysis of the steps in random order. Green: a stationary process "
        "with the run's noise and curvature in a window of the same length. A law that green shows too comes from "
        "noise, curvature and the length of the window.",
    ),
    "loss_plane": (
        "Plane of modes 1 and 2.",
        "ln L on all training samples in the plane of modes 1 and 2 through w₀, and the projected path of the window; "
        "weights that were not recorded stay as at w₀. The path is not in the plane: the less of its motion the "
        "plane shows, the less its contours say of the loss on the path. These modes show the most variance of all "
        "planes, and a random walk draws an arc here too: near 1, the cosine content says that the shape of the path "
        "cannot be told from that of a random walk.",
    ),
    "variance_along_curvature": (
        "A window without end.",
        "Variance along eigenvectors of the curvature against flatness along them: measured (blue), expected of a "
        "stationary process in a window of the same length (grey), and of the same process in a window without end "
        "(green), both in the order of minibatches that the figure names, "
        f"whose exponent is {PROCESS_LIMIT}. {PROCESS_LIMIT_IS}",
    ),
    "minibatch_profiles": (
        "A. Minibatch losses.",
        "Log-loss of single minibatches (dashed) and of all data (red) along one mode. Parabolas with shifted minima "
        "are the springs of the paper.",
    ),
    "noise_against_flatness": (
        "B, first part. Noise strength.",
        "Variance D of a step against flatness. Along given directions, D does not depend on the order of the steps; "
        "grey differs from blue only because its modes are others.",
    ),
    "correlation_time_against_flatness": (
        "B, second part. Correlation time.",
        "Correlation time τ = σ²/D against flatness. Grey: the same steps in random order, which have no memory; PCA "
        "of a finite window makes their slope, so an equal slope in blue is an artefact. Dotted: τ of steps without "
        "memory along directions that were chosen without the window.",
    ),
    "correlation_times_from_velocities": (
        "Eq. 13.",
        "Correlation time of each mode, as variance over noise strength (blue) and from the measured correlations of "
        "the steps up to an epoch (orange). Grey: steps without memory, along the modes of their own window; dotted: "
        "along given directions. Where correlations cancel, orange is a small difference of large sums and scatters.",
    ),
    "velocity_autocorrelation": (
        "Memory of velocities.",
        "One plus twice the sum of the autocorrelation of the steps up to each lag. It is 1 without memory, and falls "
        "below 1 where successive minibatches compensate each other, as within an epoch without replacement.",
    ),
    "mean_squared_displacement": (
        "Mean squared displacement.",
        "Mean squared distance after each lag. Exponent 1: diffusion; 2: drift; 0: confined motion. Late lags have few "
        "independent pairs, so their ends scatter.",
    ),
    "spring_statistics": (
        "Fig. S7.",
        "Mean stiffness of the minibatch parabolas (blue) and spread of their minima (orange) against flatness, with "
        "fitted exponents. The paper gives −2 and 1.",
    ),
    "spring_predictions": (
        "Eqs. 10 and 12.",
        "Predictions of the spring model divided by measurements; 1 means agreement. Grey: the joint moment divided by "
        "the product of means, which the model takes as 1. Trimmed: without the tenth of the minibatch minima that are "
        "farthest from w₀, which may dominate the second moment. Ratios beyond the axis are not shown.",
    ),
    "temperature_profiles": (
        "A. Profiles.",
        "Active temperature (left: strength of the gradient noise) and loss (right) along modes.",
    ),
    "temperature_against_flatness": (
        "B. By direction.",
        "Active temperature at w₀ against rank and against flatness. In thermal equilibrium it would be the same in "
        "all directions.",
    ),
    "temperature_profiles_over_training": (
        "C. Over time.",
        "Active temperature along one mode at several steps of the training.",
    ),
    "temperature_over_training": (
        "D. Temperature over training.",
        "Loss (red) and active temperatures (blue) over the training, along the modes of its end. Early temperatures "
        "are thus along directions that were chosen later.",
    ),
    "temperature_against_loss": (
        "D, inset.",
        "Active temperature against loss at the saved steps of the training.",
    ),
    "cooling_rates_against_flatness": (
        "Freezing.",
        "Rate at which the active temperature of each mode falls after the first epoch. Flat directions that freeze "
        "faster than sharp ones make the points rise.",
    ),
    "active_modes": (
        "Active modes.",
        "Number of modes with 99 % of the variance in each recorded epoch, with and without the first mode. It cannot "
        "exceed the number of steps in an epoch.",
    ),
    "noise_scale_over_training": (
        "Noise scale.",
        "Samples that a gradient needs before its noise is as large as itself, with 95 % intervals, and the number of "
        "directions that hold 99 % of the noise. Minibatches beyond the noise scale hardly shorten a training. An "
        "interval without an upper end says that the gradient of new samples cannot be told from zero.",
    ),
    "modes_over_training": (
        "Turning of the modes.",
        "Overlap of the first modes of successive windows of the training, and of each window with the last. Grey: "
        "windows of the same length of a process whose modes do not turn; short windows alone lower the overlap that "
        "far. Dotted: directions at random.",
    ),
    "sharpness_over_training": (
        "Sharpness.",
        "Largest curvature of the whole loss and batch sharpness at saved steps of the training, and the edges of "
        "stability at the learning rate of each step: of gradient descent, and, with momentum, of noisy minibatches.",
    ),
    "inverse_loss_over_training": (
        "Drift.",
        "1/L over time, a straight line if the loss falls by a drift along one direction. Grey: the slope if the "
        "weights move along this direction alone.",
    ),
    "loss_forms_along_drift": (
        "Form of the loss.",
        "ln L along the first mode from w₀, with three fits. The paper's exponential is a straight line here. Over a "
        "short path every smooth curve is nearly straight, so it must be better than the others.",
    ),
    "loss_along_drift": (
        "Along the drift.",
        "Margin (blue) and test error (orange) along the first mode from w₀, where they were measured. Grey: margin "
        "divided by the norm of the weights; a margin that rises only because the weights grow leaves grey flat.",
    ),
    "flatness_and_curvature": (
        "Flatness and Hessian.",
        "Measured flatness divided by the flatness that the curvature at w₀ predicts, if ln L were quadratic. A ratio "
        "other than 1 means that the curvature at one point does not give the flatness.",
    ),
    "noise_against_curvature": (
        "Noise and curvature.",
        "Gradient noise against curvature in each layer, with fitted exponents. Filled: Hessian eigenvectors; open: "
        "gradient-noise eigenvectors. Each basis favours the quantity that defines it, so a law must hold in both.",
    ),
    "exponents": (
        "All exponents.",
        "Every row of the table with its 95 % interval. Dashed: values of the paper; solid line: zero. A surrogate "
        "near the row in-sample means that the analysis makes this exponent without the training.",
    ),
    "flatness_at_two_levels": (
        "Level of flatness.",
        "Flatness read at two multiples of the loss at w₀. If only the height of the points changes, exponents do not "
        "depend on the level.",
    ),
    "equilibrium": (
        "Equilibrium.",
        "Variance along Hessian eigenvectors, for the run (blue) and for isotropic noise (orange) in a bowl with the "
        "same curvature, at the same learning rate, in a window of the same length and along the same directions; its "
        "strength is scaled to that of the run. Line: its expectation. In a window without end its variance would rise "
        "as the square of flatness (Einstein relation); in this window it rises as the line.",
    ),
    "correlation_time_by_sampling": (
        "Sampling.",
        "Correlation time along the same modes after the training went on with several orders of the minibatches. "
        "Lines: effect of the order alone in a quadratic bowl. A time that changes with the order does not come from "
        "the landscape.",
    ),
    "oscillation_by_direction": (
        "Oscillation.",
        "Share of the variance at frequencies above 1/4 a step: near 0 the weights move slowly, at 1/2 they are white "
        "noise, near 1 they jump from side to side at each step. Blue: eigenvectors of the curvature, against learning "
        "rate times curvature; red: stationary SGD in a bowl of that curvature. Orange: principal modes. Bars: 95 %. "
        "A bowl alone explains points on the red line; the vertical line is the edge of stability.",
    ),
    "stationarity": (
        "Stationarity.",
        "Ratio of Yaida's relation after the training went on with replacement, because the relation needs independent "
        "minibatches. Where restoring force and noise balance it is kappa, which "
        "is 1 in a long window and smaller in this one; the claim names it.",
    ),
    "response_and_correlation": (
        "Response.",
        "Displacement after a kick along a mode, over the kick, from twin trainings on the same minibatches (solid), "
        "beside the autocorrelation of the training that was not kicked (dotted). In a bowl with independent noise "
        "both fall in the same way; a short training makes the autocorrelation fall too fast.",
    ),
    "response_temperature": (
        "Effective temperature.",
        "Mean squared displacement over twice the response to a constant force (blue, with standard errors), against "
        "flatness. In thermal equilibrium it is the same along every mode. Grey: the strength of the noise alone. "
        "Where blue and grey agree, the noise has no memory and the loss acts as a bowl. Along orange modes drift "
        "dominates.",
    ),
    "invariant_flatness": (
        "Flatness in the metric of the model.",
        "Flatness of each mode as a distance in the Gauss-Newton matrix, against plain flatness. For cross-entropy "
        "this matrix is the Fisher information; for a loss without such a matrix the Hessian is taken. Other units of "
        "the weights do not change this distance. If curvature is all there is to flatness, every point lies on the "
        "level of a bowl, or on that of a loss whose logarithm is quadratic.",
    ),
    "learning_coefficient": (
        "Learning coefficient.",
        "Loss above that at w₀ along Langevin chains of the recorded weights. The mean after the burn-in is the local "
        "learning coefficient λ, half the number of stiff directions in a bowl; half the sharp dimension D_s stands "
        "beside it. Chains that still rise give too small a number. A chain with a loss that hardly any draw of one "
        "coefficient has did not settle, and λ is not measured.",
    ),
    "variance_against_window": (
        "Growth.",
        "Variance along Hessian eigenvectors against the length of the window, relative to the shortest one. A "
        "variance that grows like free diffusion (dotted) is a property of the window, not of the landscape.",
    ),
    "psi_in_growing_windows": (
        "Exponent over the recording.",
        "Exponent of variance against flatness along Hessian eigenvectors, in windows of growing length from all that "
        "was recorded. Bars: 95 % intervals over the windows of one length; the longest have none. An exponent that "
        "changes with the window is a property of the window. Dashed: "
        f"{PROCESS_LIMIT}. {PROCESS_LIMIT_IS}",
    ),
    "variance_and_relaxation": (
        "Relaxation.",
        "Variance along eigenvectors of the curvature (blue) beside the variance that the step noise and a restoring "
        "force give in the same window: the force of the recorded weights alone (grey), and the force of all weights "
        "(orange). Red: the variance in a window without end, where it is known; its exponent is "
        f"{RUN_LIMIT}.",
    ),
    "psi_against_window": (
        "Exponent and window.",
        "Exponent of variance against flatness along eigenvectors of the curvature in windows of growing length, with "
        "95 % intervals. Dotted: the exponent that relaxation with the force of all weights gives. Dashed: "
        f"{RUN_LIMIT}. {RUN_LIMIT_IS} Points off the dotted line mean that it is not known.",
    ),
    "variance_after_correction": (
        "One window corrected.",
        "Variance along the principal modes in-sample (blue) and in fresh data (orange). Line: the variance in fresh "
        "data as the window alone predicts it, by holding out each of its frequencies in turn. Where the line meets "
        "orange, the difference from blue is the selection of the modes. A drift raises the whole line, and then there "
        "are no exponents of it. Dotted: the prediction of random-matrix theory, if all modes relax alike, and "
        "how far the modes are those of the population: the median part of the square of a mode that lies in modes of "
        "the population with half to twice its variance.",
    ),
}
"""Label and text of each figure."""

WIDE = ("exponents",)
"""Figures with the full width of the page."""
