"""Claims that the controls decide: other directions, thermal equilibrium, orders of minibatches."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from landscope.claims.exponents import exponent_of, fresh_exponent, limit_control
from landscope.claims.one_sided import one_sided
from landscope.claims.tolerance import SAME_EXPONENT, exponent_range, exponent_tolerance
from landscope.claims.verdict import Claim, Control, Measurement, joined
from landscope.law.equilibrium import Equilibrium
from landscope.law.exponents import Exponents
from landscope.law.intervals import prediction_band
from landscope.law.sensitivity import Sensitivity, exponents_over
from landscope.law.time_blocks import FEWEST_BLOCKS
from landscope.law.window_limit import WindowLimit

__all__ = [
    "CLAIMS",
    "equilibrium_measurements",
    "hessian_basis_measurements",
    "sampling_measurements",
]

CLAIMS = (
    Claim(
        "psi_hessian",
        "Fig. 2D, Eq. 8",
        "The variance falls with flatness along directions that were not chosen by variance"
        " (psi along Hessian eigenvectors).",
        "about 4",
        exponent_range(4.0),
        SAME_EXPONENT,
        "Hessian eigenvectors at w0, fresh data, and psi in a window without end",
    ),
    Claim(
        "inverse_einstein",
        "abstract, Eq. 8",
        "Fluctuations fall with flatness, against the Einstein relation (psi along Hessian eigenvectors, fresh data).",
        "the opposite sign",
        (exponent_tolerance(2.0), math.inf),
        "above 0 by more than the tolerance of an exponent of 2: the Einstein relation has -2, noise of independent"
        " minibatches that is proportional to curvature 0",
        "psi in a window without end; isotropic noise, and noise proportional to curvature, at the same learning rate"
        " in a window as long",
    ),
    Claim(
        "tau_by_sampling",
        "Fig. 3B",
        "How tau goes with flatness depends on the order of the minibatches by less than the tolerance (psi_tau with"
        " replacement minus reshuffled, same modes).",
        "not considered",
        (-exponent_tolerance(1.8), exponent_tolerance(1.8)),
        "differences within the tolerance of the printed 1.8",
        "the same modes under four orders of the minibatches; reshuffled epochs have a plateau of tau in flat"
        " directions (Kühn & Rosenow, arXiv 2306.05300), so that a difference below 0 is expected",
    ),
)


def hessian_basis_measurements(
    hessian: Exponents, fresh: Exponents | None, sensitivity: Sensitivity, limit: WindowLimit | None = None
) -> dict[str, Measurement]:
    """Measure psi along Hessian eigenvectors, which are not chosen by variance, beside what a window without end has.

    Args:
        hessian: Exponents of the window along Hessian eigenvectors.
        fresh: The same of the fresh data; None where there are none.
        sensitivity: The in-sample exponents under other choices.
        limit: psi_infinity of a process with the run's own noise; None if it was not measured.
    """
    others = ["fresh data" in choice or "shuffled" in choice for choice in sensitivity.choices]
    psi = sensitivity.exponents[~torch.tensor(others), 0]
    spread = psi[torch.isfinite(psi)]
    between = ""
    if len(spread):
        between = f"along principal modes psi is {float(spread.min()):.2f} to {float(spread.max()):.2f} "
        between += f"over {len(spread)} choices"
    firsts = [count for count in (20, 50, 100, 200, 500) if count < len(hessian.variance)]
    sizes = ", ".join(f"{exponents_over(hessian, 1, count)[0]:.2f} over the first {count}" for count in firsts)
    note = joined(sizes and f"the basis decides too: {sizes}", between)
    decide = (limit_control("psi", limit), fresh_exponent("psi", fresh, "fresh data"))
    return {"psi_hessian": exponent_of("psi", hessian, decide, note)}


def equilibrium_measurements(
    fresh: Exponents, equilibrium: Equilibrium, limit: WindowLimit | None = None
) -> dict[str, Measurement]:
    """Measure whether fluctuations fall with flatness, beyond what the length of the window makes.

    In any window that ends, flat directions have not reached their variance, so that psi is positive for noise
    proportional to curvature too, and for noise near it more so; with reshuffled epochs also in a window without end.
    The limit of a window without end must agree: without it nothing is decided.

    Args:
        fresh: Exponents of the fresh data along Hessian eigenvectors.
        equilibrium: Exponents of isotropic noise, and of noise proportional to curvature, along the same directions in
            a window as long.
        limit: psi_infinity of a process with the run's own noise; None if it was not measured.
    """
    # Without its equilibrium the sign decides nothing.
    settled = not math.isnan(equilibrium.psi_expected)
    controls = (
        ("isotropic noise", equilibrium.psi),
        ("relaxation with noise proportional to curvature", equilibrium.psi_proportional),
    )
    # The sign is claimed, so that a null of a larger exponent explains it as well.
    bands = tuple(
        one_sided(
            "inverse_einstein", Control(f"{name}, at the same learning rate in a window as long,", band, "differ")
        )
        for name, band in ((name, _band_of(psi, equilibrium)) for name, psi in controls)
    )
    controlled = (limit_control("psi", limit), *bands)
    note = joined(
        f"along {int(equilibrium.used.sum())} directions {equilibrium.psi_expected:.2f} is expected of isotropic noise "
        f"in this window (-2 without end) and {equilibrium.psi_proportional_expected:.2f} of noise proportional to "
        "curvature, in the order of the run's minibatches",
        f"a walk of {equilibrium.n_walked} steps in the loss itself differs from its bowl by "
        f"{equilibrium.anharmonic:.2f}",
    )
    if not settled:
        few = (
            f"needs three directions with a flatness within reach and a stable step; {int(equilibrium.used.sum())} of "
            f"{len(equilibrium.used)} have both"
        )
        return {"inverse_einstein": Measurement(math.nan, note=few)}
    return {"inverse_einstein": exponent_of("psi", fresh, controlled, note)}


def _band_of(draws: Float[Tensor, " draws"], equilibrium: Equilibrium) -> tuple[float, float]:
    """Where one further draw falls with 95 %, and as much further as the loss differs from a bowl."""
    low, high = prediction_band(draws.tolist())
    beyond = abs(equilibrium.anharmonic)
    return low - beyond, high + beyond


def sampling_measurements(replaced: Exponents, reshuffled: Exponents) -> dict[str, Measurement]:
    """Measure the effect of the order of the minibatches on the correlation time, in two trainings that went on.

    Kühn & Rosenow (arXiv 2306.05300) find that the order matters: in reshuffled epochs tau ends on a plateau in flat
    directions, so that it rises less with flatness and the difference is negative. The claim is that this is less than
    the tolerance of the exponent, not that there is none. In a window in which nothing relaxes psi_tau is 0 under every
    order, and the difference too: where one of the two is no further from 0 than the tolerance, the window explains it.
    """
    edge = CLAIMS[2].accepted[1]
    shows = min(abs(replaced.psi_tau), abs(reshuffled.psi_tau)) > edge
    relaxed = f"is excluded, as psi_tau is further than {edge:.2g} from 0 in both" if shows else "has no difference"
    # An empty band where both have the relation whose change is asked for: no value is that of the null.
    still = Control(
        "a window in which nothing relaxes", (-math.inf, -math.inf if shows else math.inf), "differ", relaxed
    )
    return {
        "tau_by_sampling": Measurement(
            replaced.psi_tau - reshuffled.psi_tau,
            _difference_interval(replaced, reshuffled),
            (still,),
            note=f"{replaced.psi_tau:.2f} with replacement, {reshuffled.psi_tau:.2f} reshuffled",
            no_interval=replaced.reason_of("psi_tau") or reshuffled.reason_of("psi_tau"),
            reach=math.hypot(replaced.reach_of("psi_tau"), reshuffled.reach_of("psi_tau")),
            freedom=FEWEST_BLOCKS - 1,
        )
    }


def _difference_interval(first: Exponents, second: Exponents) -> tuple[float, float]:
    """Interval of the difference of psi_tau in two independent runs; the squares of the half widths add."""
    reach = math.hypot(*(row.psi_tau_interval[1] - row.psi_tau for row in (first, second)))
    middle = first.psi_tau - second.psi_tau
    return middle - reach, middle + reach
