"""The density of the eigenvalues of a Hessian, with the eigenvalues that stand out of the bulk."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from landscope.landscape.spectral_density import SpectralDensity
from landscope.plots.style import FRESH, OWN, add_line, add_points, new_figure, numbers

__all__ = ["spectral_density"]

_BAND = "rgba(31, 95, 168, 0.2)"
_SIGMAS = 2.0


def spectral_density(found: SpectralDensity) -> go.Figure:
    """The smoothed density with a band of two standard errors, and marks at single eigenvalues.

    The axis of the density ends at a tenth of one eigenvalue, below which there is none.

    Args:
        found: The quadratures.

    Returns:
        A figure of phi(lambda), in inverse units of the eigenvalues (logarithmic), against the eigenvalues, loss over
        weights squared.

    Example:
        >>> import landscope as ls, torch
        >>> bowl = ls.synthetic.QuadraticBowl(torch.linspace(-1, 3, 50).double())
        >>> found = ls.landscape.spectral_density(bowl, torch.zeros(50).double(), n_probes=2, n_steps=9)
        >>> spectral_density(found).layout.xaxis.title.text
        'eigenvalue λ of the Hessian'
    """
    name = {"hessian": "Hessian", "gauss-newton": "Gauss-Newton matrix"}[found.matrix]
    figure = new_figure(f"eigenvalue λ of the {name}", "density φ(λ)", log_y=True)
    grid, mean, stderr = (numbers(values) for values in found.density())
    # One eigenvalue alone has a peak of the kernel's height divided by N.
    floor = 0.1 * float(mean.max()) / found.dim
    upper, lower = (np.maximum(mean + sign * _SIGMAS * stderr, floor) for sign in (1, -1))
    figure.add_scatter(
        x=np.concatenate([grid, grid[::-1]]), y=np.concatenate([upper, lower[::-1]]), fill="toself", fillcolor=_BAND,
        line={"width": 0}, mode="lines", hoverinfo="skip", name="two standard errors",
    )  # fmt: skip
    add_line(figure, grid, np.maximum(mean, floor), f"density of {found.dim:,} eigenvalues", OWN)
    resolved = numbers(found.resolved)
    add_points(figure, resolved, np.full(len(resolved), floor), "resolved eigenvalues", FRESH, 9)
    figure.update_traces(marker_symbol="line-ns-open", selector={"name": "resolved eigenvalues"})
    return figure
