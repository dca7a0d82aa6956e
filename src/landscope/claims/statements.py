"""The paper's numbers as data, each with what decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from landscope.claims.statements_across import ACROSS
from landscope.claims.verdict import Claim, Judgement, Measurement, judge

__all__ = ["CLAIMS", "CONTROLS", "LAW", "NOISE", "judged"]

LAW = (
    Claim(
        "gamma",
        "Fig. 1A",
        "The variance falls with rank as a power law over the ranks fitted, 20 to 200 in the paper.",
        "about 2.6 (2 to 3)",
        (2.0, 3.0),
        "the caption's range",
        "in-sample against fresh data and shuffled increments",
    ),
    Claim(
        "modes_for_90_percent",
        "Fig. 1B",
        "Without the first mode, 90 % of the variance lies in few modes.",
        "35 of 2,500",
        (17.5, 70.0),
        "a factor of two either way; the paper gives one run without a spread",
        "variance shares against shuffled-increment surrogates and the random walk",
    ),
    Claim(
        "drift_share",
        "Fig. 1C",
        "The run drifts steadily along the first mode, for much longer than an epoch (share of one-way motion).",
        "persistent",
        (0.5, 1.0),
        "half of the squared epoch displacements in one direction",
        possible=(0.0, 1.0),
    ),
    Claim(
        "alignment",
        "Fig. 1C, text",
        "The first mode points along the weights themselves (cosine).",
        "highly aligned",
        (0.7, 1.0),
        "an angle below 45 degrees",
        possible=(0.0, 1.0),
    ),
    Claim(
        "diffusion_share",
        "Fig. 1D",
        "Along the other modes the run wanders without drift (median share of one-way motion).",
        "diffusive",
        (0.0, 0.25),
        "a quarter of the squared epoch displacements in one direction, at most",
        possible=(0.0, 1.0),
    ),
    Claim(
        "inverse_gaussian",
        "Fig. 2B",
        "Near the minimum ln L is closer to a quadratic than L is (ratio of residuals, median of modes).",
        "better",
        (0.0, 1.0),
        "below one is better",
        possible=(0.0, math.inf),
    ),
    Claim(
        "flatness_rises",
        "Fig. 2C",
        "Flatness rises with rank (Spearman correlation).",
        "increases",
        (0.5, 1.0),
        "a clear monotone trend",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "psi",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness as a power law.",
        "about 4",
        (3.4, 4.6),
        "15 % about the printed 4, which also holds the 3.8 from its two parts",
        "in-sample against fresh data and shuffled increments",
    ),
    Claim(
        "psi_D",
        "Fig. 3B",
        "The noise strength D falls with flatness as a power law.",
        "about 2",
        (1.5, 2.5),
        "what rounds to the printed 2",
        "the same modes in fresh data, and isotropic noise",
    ),
    Claim(
        "psi_tau",
        "Fig. 3B",
        "The correlation time falls with flatness as a power law.",
        "about 1.8",
        (1.5, 2.1),
        "15 % about the printed value, as for psi",
        "in-sample against fresh data and shuffled increments",
    ),
)
"""The claims of Figs. 1 and 2, and the exponents of Fig. 3B."""

NOISE = (
    Claim(
        "minibatch_springs",
        "Fig. 3A, Eq. 9",
        "ln L of single minibatches is quadratic along the modes (median R^2).",
        "well approximated",
        (0.9, 1.0),
        "nine tenths of the variance along the line",
        "the fit quality of every one",
        stage="noise",
        possible=(-math.inf, 1.0),
    ),
    Claim(
        "spring_flatness",
        "Eq. 10",
        "The averaged springs have the flatness that is measured (median ratio).",
        "F = sqrt(8/M)",
        (0.5, 2.0),
        "a factor of two",
        "the exact log-curvature of the ensemble",
        stage="noise",
    ),
    Claim(
        "spring_noise",
        "Eq. 12",
        "Stiffness and spread of the minibatch minima give D (median ratio to D at w0).",
        "approximately",
        (0.5, 2.0),
        "a factor of two",
        "the exact D at w0",
        stage="noise",
    ),
    Claim(
        "mean_field",
        "Eqs. 10 and 12",
        "The parameters of the springs are independent (<(L M theta)^2> over the product).",
        "first-order approximation",
        (0.5, 2.0),
        "a factor of two",
        "the joint moments of all minibatches",
        stage="noise",
    ),
    Claim(
        "stiffness_exponent",
        "Fig. S7",
        "The mean stiffness of the springs falls as F^-2 (exponent of M on 1/F).",
        "2",
        (1.7, 2.3),
        "15 %",
        "springs of all minibatches along log-spaced modes",
        stage="noise",
    ),
    Claim(
        "centre_exponent",
        "Fig. S7",
        "The spread of their minima grows as F (exponent of sigma~ on F).",
        "1",
        (0.85, 1.15),
        "15 %",
        "springs of all minibatches along log-spaced modes",
        stage="noise",
    ),
    Claim(
        "tau_counts_minibatches",
        "text below Eq. 13",
        "tau is the number of minibatches it takes to estimate the gradient (rank correlation of the two).",
        "can be interpreted",
        (0.5, 1.0),
        "a clear monotone relation",
        "C_ii over the squared mean gradient, directly, at w0",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "short_memory",
        "Fig. 1D, text",
        "Along the other modes velocities forget within an epoch (median correlation of the"
        " displacements of successive epochs).",
        "shorter than one epoch",
        (-0.6, 0.25),
        "0 for free diffusion, -1/2 where every epoch ends at an independent place: both forget",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "persistence",
        "Fig. 1C, text",
        "Along the first mode the velocity persists for much longer than an epoch (the same correlation).",
        "much longer than one epoch",
        (0.5, 1.0),
        "half at least",
        "the same direction in fresh data",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "temperature_profile",
        "Fig. 5A",
        "The active temperature has the profile of the loss, higher away from w0 (median rank"
        " correlation along modes).",
        "similar",
        (0.8, 1.0),
        "a clear monotone relation",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "temperature_by_flatness",
        "Fig. 5B",
        "The active temperature at w0 falls with flatness (rank correlation).",
        "inverse",
        (-1.0, -0.5),
        "a clear monotone relation",
        "T against F at one L",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "cooling",
        "Fig. 5D",
        "The active temperature falls with the loss along training (correlation of logarithms).",
        "highly correlated",
        (0.8, 1.0),
        "a clear relation",
        stage="noise",
        possible=(-1.0, 1.0),
    ),
    Claim(
        "frozen",
        "text on Fig. 6",
        "The search narrows (directions that hold 99 % of the gradient noise, end of training over its first epoch).",
        "quickly frozen",
        (0.0, 0.9),
        "a tenth fewer at least",
        "the spectrum of the gradient noise at each checkpoint, in its own basis",
        stage="noise",
        possible=(0.0, math.inf),
    ),
    Claim(
        "logarithmic_drift",
        "S2",
        "1/L grows linearly with time (R^2 over both windows).",
        "a speed proportional to L",
        (0.95, 1.0),
        "a twentieth of the variance unexplained at most",
        "1/L against ln L: which is the straighter line",
        stage="noise",
        possible=(0.0, 1.0),
    ),
    Claim(
        "margin",
        "text below Fig. 1",
        "Along the drift the margin of the answers grows (relative growth over the window's way).",
        "increasing",
        (0.0, 10.0),
        "the sign",
        stage="noise",
    ),
    Claim(
        "flatness_and_hessian",
        "S3",
        "Flatness follows the local curvature (median of F over sqrt(8 L0/H)).",
        "related",
        (0.5, 2.0),
        "a factor of two",
        "F sqrt(H/8 L0), mode by mode",
        stage="noise",
    ),
    Claim(
        "noise_by_curvature",
        "Zhang et al., arXiv 2602.05600",
        "Gradient noise goes with curvature, C ~ H^g (exponent of the recorded layer, Hessian eigenvectors).",
        "1 to 2, by layer",
        (1.0, 2.0),
        "the authors' range",
        "every layer, in two bases",
        stage="noise",
    ),
)
"""The claims on the minibatch noise: Figs. 3 and 5, and sections S2 to S5."""

CONTROLS = (
    Claim(
        "psi_hessian",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness along directions that were not chosen by variance"
        " (psi along Hessian eigenvectors).",
        "about 4",
        (3.4, 4.6),
        "as for psi",
        "Hessian eigenvectors at w0",
        stage="controls",
    ),
    Claim(
        "inverse_einstein",
        "abstract, Eq. 8",
        "Fluctuations fall with flatness, against the Einstein relation (psi along Hessian eigenvectors, fresh data).",
        "the opposite sign",
        (0.0, 100.0),
        "the sign",
        "isotropic Langevin noise around the same solution, along the same directions, through the same code",
        stage="controls",
    ),
    Claim(
        "stationary",
        "text, Eq. 5",
        "The run is stationary along its modes (Yaida's ratio, median of modes 2 on, trained on with replacement).",
        "assumed",
        (0.5, 1.5),
        "half either way",
        "Yaida's relation and the Lyapunov residual, with independent minibatches as both need",
        stage="controls",
    ),
    Claim(
        "tau_by_sampling",
        "Fig. 3B; Kühn & Rosenow, arXiv 2306.05300",
        "How tau goes with flatness does not depend on the order of the minibatches (psi_tau with replacement minus"
        " reshuffled, same modes).",
        "not considered",
        (-0.3, 0.3),
        "a sixth of the paper's 1.8",
        "the same modes under four orders of the minibatches",
        stage="controls",
    ),
    Claim(
        "flat_modes_stationary",
        "Eq. 5",
        "The variance along flat modes does not grow with the window (exponent of sigma^2 on the"
        " window's length, flattest quarter).",
        "a property of the window",
        (-0.25, 0.25),
        "a quarter of diffusion",
        "window lengths of one epoch to all that was recorded",
        stage="controls",
    ),
)
"""The claims that controls decide."""

CLAIMS = (*LAW, *NOISE, *CONTROLS, *ACROSS)
"""All claims, in the order of the stages that measure them."""


def judged(measured: Mapping[str, Measurement]) -> list[Judgement]:
    """The claims that something was measured on, in their own order.

    Args:
        measured: Measurements by key of the claim.
    """
    return [judge(claim, measured[claim.key]) for claim in CLAIMS if claim.key in measured]
