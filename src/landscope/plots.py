"""Interactive figures of results; nothing is computed here but lines through given numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from landscope.landscape import Flatness, LossProfiles, ProfileFits
from landscope.paper.spectrum import Spectrum
from landscope.paper.variance_flatness import Laws, SurrogateLaw
from landscope.run.reproduce import Pooled
from landscope.run.train import TrainingHistory
from landscope.synthetic import random_walk_shares

__all__ = [
    "accumulated_variance",
    "flatness_by_rank",
    "log_profiles",
    "motion",
    "pooled_exponents",
    "profiles",
    "training_curves",
    "variance_by_flatness",
    "variance_spectrum",
]

_OWN, _FRESH, _NULL, _WALK, _FIT = "#1f5fa8", "#d9760b", "#9aa0a6", "#4a4a4a", "#b3261e"
_PALETTE = ("#1f5fa8", "#d9760b", "#2e7d32", "#7b3fa0")
_HEIGHT = 420


def _figure(x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    figure = go.Figure()
    _style(figure)
    # A tick a decade: the labels between them only clutter.
    figure.update_xaxes(title=x, **({"type": "log", "dtick": 1} if log_x else {}))
    figure.update_yaxes(title=y, **({"type": "log", "dtick": 1} if log_y else {}))
    return figure


def _style(figure: go.Figure) -> None:
    figure.update_layout(
        template="simple_white",
        height=_HEIGHT,
        margin={"l": 70, "r": 15, "t": 30, "b": 95},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "font": {"size": 11}},
        font={"size": 13},
    )
    # Powers of ten on logarithmic axes: "10^-6", not "1u".
    figure.update_xaxes(exponentformat="power")
    figure.update_yaxes(exponentformat="power")


def _numbers(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _ranks(count: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + count)


def _line(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str, **line: object) -> None:
    figure.add_scatter(x=x, y=y, name=name, mode="lines", line={"color": color, **line})


def _points(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, color: str, size: float = 4) -> None:
    figure.add_scatter(x=x, y=y, name=name, mode="markers", marker={"color": color, "size": size})


def training_curves(history: TrainingHistory) -> go.Figure:
    """Loss and errors over epochs, with the two windows."""
    figure = make_subplots(specs=[[{"secondary_y": True}]])
    _style(figure)
    epochs = _ranks(len(history.train_loss))
    for values, name, color, dash, second in (
        (history.train_loss, "training loss", _OWN, "solid", False),
        (history.test_loss, "test loss", _OWN, "dot", False),
        (100 * history.train_error, "training error", _FRESH, "solid", True),
        (100 * history.test_error, "test error", _FRESH, "dot", True),
    ):
        line = {"color": color, "dash": dash}
        figure.add_trace(
            go.Scatter(x=epochs, y=_numbers(values), name=name, mode="lines", line=line), secondary_y=second
        )
    start, width = history.start_epoch, history.window_epochs
    for first, text, color in ((start, "window", _OWN), (start + width, "next window", _FRESH)):
        figure.add_vrect(
            x0=first, x1=first + width, fillcolor=color, opacity=0.08, line_width=0,
            annotation_text=text, annotation_position="top left",
        )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title="loss", type="log", secondary_y=False)
    figure.update_yaxes(title="error (%)", rangemode="tozero", tickmode="auto", nticks=6, secondary_y=True)
    return figure


def variance_spectrum(found: Spectrum, surrogates: Sequence[SurrogateLaw]) -> go.Figure:
    """Fig. 1A: variance against rank, with the nulls."""
    figure = _figure("rank i", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    count = len(found.variance)
    for number, law in enumerate(surrogates):
        figure.add_scatter(
            x=_ranks(len(law.variance)), y=_numbers(law.variance), name="shuffled increments", mode="lines",
            line={"color": _NULL, "width": 2}, legendgroup="null", showlegend=number == 0,
        )  # fmt: skip
    walk = random_walk_shares(found.n_steps, min(count, found.n_steps - 1)) * found.total_variance
    _line(figure, _ranks(len(walk)), _numbers(walk), "random walk (expected for N ≫ T)", _WALK, dash="dot", width=1.5)
    _points(figure, _ranks(count), _numbers(found.cross_variance), "same modes, next window", _FRESH, 3)
    _points(figure, _ranks(count), _numbers(found.variance), "in-sample", _OWN, 3.5)
    first, last = found.gamma_ranks
    if found.gamma == found.gamma:
        ranks = np.array([first, last], dtype=float)
        middle = _numbers(found.variance[first - 1 : last])
        scale = np.exp(
            np.mean(np.log(middle[middle > 0]) + found.gamma * np.log(_ranks(len(middle), first)[middle > 0]))
        )
        _line(figure, ranks, scale * ranks**-found.gamma, f"γ = {found.gamma:.2f}", _FIT, width=2)
    top = float(found.variance[0])
    figure.update_yaxes(range=[np.log10(top) - 11, np.log10(top) + 0.5])
    return figure


def accumulated_variance(found: Spectrum, surrogates: Sequence[SurrogateLaw]) -> go.Figure:
    """Fig. 1B: share of the variance without mode 1 that modes 2 to n hold."""
    figure = _figure("number of modes n", "share of the variance without mode 1", log_x=True)
    spectra = [(law.variance, law.total_variance, "shuffled increments", _NULL) for law in surrogates]
    walk = random_walk_shares(found.n_steps, min(len(found.variance), found.n_steps - 1))
    spectra += [(walk, 1.0, "random walk (expected for N ≫ T)", _WALK)]
    spectra += [(found.variance, found.total_variance, "in-sample", _OWN)]
    shown: set[str] = set()
    for variance, total, name, color in spectra:
        share = _numbers(variance[1:].cumsum(0)) / (total - float(variance[0]))
        figure.add_scatter(
            x=_ranks(len(share), 2), y=share, name=name, mode="lines", legendgroup=name, showlegend=name not in shown,
            line={"color": color, "dash": "dot" if color == _WALK else "solid"},
        )  # fmt: skip
        shown.add(name)
    figure.add_hline(y=0.9, line={"color": _FIT, "dash": "dash", "width": 1})
    figure.add_vline(x=found.modes_for_90_percent, line={"color": _FIT, "dash": "dash", "width": 1})
    figure.update_yaxes(range=[0, 1.03])
    return figure


def motion(found: Spectrum, first: int, second: int) -> go.Figure | None:
    """Fig. 1C and D: the path in the plane of two modes; None where one of them does not exist."""
    if not {first, second} <= set(found.drawn):
        return None
    columns = [found.drawn.index(rank) for rank in (first, second)]
    figure = _figure(f"θ<sub>{first}</sub>", f"θ<sub>{second}</sub>")
    x, y = (_numbers(found.path[:, column]) for column in columns)
    steps = _numbers(found.path_steps)
    figure.add_scatter(
        x=x, y=y, mode="lines+markers", line={"color": "rgba(120,120,120,0.35)", "width": 1}, showlegend=False,
        marker={"color": steps, "colorscale": "Viridis", "size": 4, "colorbar": {"title": "step", "thickness": 12}},
        text=[f"step {step}" for step in steps],
    )  # fmt: skip
    return figure


def profiles(drawn: LossProfiles, ranks: Sequence[int]) -> go.Figure:
    """Fig. 2A: the loss along a few modes."""
    figure = _figure("displacement δθ", "loss L<sub>i</sub>")
    for row, (rank, color) in enumerate(zip(ranks, _PALETTE, strict=False)):
        x, y = _numbers(drawn.displacements[row]), _numbers(drawn.loss[row])
        figure.add_scatter(x=x, y=y, name=f"i = {rank}", mode="lines+markers", marker={"size": 4, "color": color})
    figure.add_hline(y=np.e * drawn.loss0, line={"color": _WALK, "dash": "dash", "width": 1}, annotation_text="e L₀")
    return figure


def log_profiles(drawn: LossProfiles, fits: ProfileFits, ranks: Sequence[int], found: Flatness) -> go.Figure:
    """Fig. 2B: the log-loss along one mode with both fits, their residuals below, and the flatness marked."""
    row = len(ranks) // 2 if len(ranks) > 2 else 0
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.05)
    _style(figure)
    x, loss = _numbers(drawn.displacements[row]), _numbers(drawn.loss[row])
    log_fit = float(fits.log_offset[row]) + float(fits.log_slope[row]) * x + float(fits.log_curvature[row]) * x**2 / 2
    quadratic = float(fits.offset[row]) + float(fits.slope[row]) * x + float(fits.curvature[row]) * x**2 / 2
    quadratic = np.log(np.maximum(quadratic, drawn.loss0 / 100))
    figure.add_scatter(
        x=x, y=np.log(loss), name=f"ln L, i = {ranks[row]}", mode="markers", marker={"color": _OWN, "size": 6}
    )
    for values, name, color in ((log_fit, "inverse Gaussian", _FIT), (quadratic, "quadratic", "#2e7d32")):
        line = {"color": color, "dash": "dash"}
        figure.add_scatter(x=x, y=values, name=name, mode="lines", line=line, legendgroup=name)
        figure.add_scatter(
            x=x, y=np.log(loss) - values, mode="lines+markers", line=line, marker={"size": 4}, legendgroup=name,
            showlegend=False, row=2, col=1,
        )  # fmt: skip
    left, right = float(found.left[ranks[row] - 1]), float(found.right[ranks[row] - 1])
    level = np.log(drawn.loss0) + np.log(found.ratio)
    figure.add_scatter(
        x=[left, right], y=[level, level], name=f"F = {right - left:.3g}", mode="lines+markers",
        line={"color": _WALK}, marker={"symbol": "line-ns-open", "size": 12},
    )  # fmt: skip
    figure.update_yaxes(title="ln L", row=1, col=1)
    figure.update_yaxes(title="residual", row=2, col=1)
    figure.update_xaxes(title="displacement δθ", row=2, col=1)
    return figure


def flatness_by_rank(found: Flatness, surrogates: Sequence[SurrogateLaw]) -> go.Figure:
    """Fig. 2C: flatness against rank."""
    figure = _figure("rank i", "flatness F<sub>i</sub>", log_x=True, log_y=True)
    for number, law in enumerate(surrogates):
        kept = _numbers(law.bracketed)
        figure.add_scatter(
            x=_ranks(len(kept))[kept], y=_numbers(law.width)[kept], name="shuffled increments", mode="markers",
            marker={"color": _NULL, "size": 3}, legendgroup="null", showlegend=number == 0,
        )  # fmt: skip
    kept = _numbers(found.bracketed)
    _points(figure, _ranks(len(kept))[kept], _numbers(found.width)[kept], "in-sample modes", _OWN)
    return figure


def variance_by_flatness(
    found: Spectrum, widths: Flatness, fitted: Laws, surrogates: Sequence[SurrogateLaw]
) -> go.Figure:
    """Fig. 2D: variance against flatness, in-sample, in fresh data, and under the null."""
    figure = _figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    figure.update_xaxes(dtick="D2")  # often less than a decade
    first, last = fitted.mode_range
    for number, law in enumerate(surrogates):
        kept = _numbers(law.bracketed[first - 1 : last])
        figure.add_scatter(
            x=_numbers(law.width[first - 1 : last])[kept], y=_numbers(law.variance[first - 1 : last])[kept],
            name="shuffled increments", mode="markers", marker={"color": _NULL, "size": 3}, legendgroup="null",
            showlegend=number == 0,
        )  # fmt: skip
    used = _numbers(fitted.used)
    width = _numbers(widths.width)[used]
    count = len(used)
    _points(figure, width, _numbers(found.cross_variance[:count])[used], "same modes, next window", _FRESH)
    _points(figure, width, _numbers(found.variance[:count])[used], "in-sample", _OWN)
    ends = np.array(fitted.flatness_range)
    for psi, scale, name, color in (
        (fitted.psi, fitted.prefactor, "in-sample", _OWN),
        (fitted.psi_cross, fitted.prefactor_cross, "next window", _FRESH),
    ):
        _line(figure, ends, scale * ends**-psi, f"ψ = {psi:.2f} ({name})", color, width=2)
    return figure


def pooled_exponents(pooled: Sequence[Pooled]) -> go.Figure:
    """Exponents psi of every run, in-sample, in fresh data and under the null, for each (B, alpha)."""
    figure = _figure("", "ψ")
    for name, color, offset in (("psi", _OWN, -0.2), ("psi_cross", _FRESH, 0.0), ("null", _NULL, 0.2)):
        label = {"psi": "in-sample", "psi_cross": "same modes, next window", "null": "shuffled increments"}[name]
        values = [entry.null["psi"] if name == "null" else entry.values[name] for entry in pooled]
        x = [number + offset for number, part in enumerate(values) for _ in part]
        _points(figure, np.array(x), np.array([value for part in values for value in part]), label, color, 8)
    names = [f"B = {entry.batch_size}, α = {entry.learning_rate:g}" for entry in pooled]
    figure.add_hline(y=4, line={"color": _FIT, "dash": "dash", "width": 1}, annotation_text="paper: about 4")
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names)
    figure.update_yaxes(rangemode="tozero")
    return figure


def pooled_variance_by_flatness(
    names: Sequence[str], runs: Sequence[Sequence[tuple[Spectrum, Flatness, Laws]]]
) -> go.Figure:
    """Fig. 2D over settings: variance against flatness of every seed, one colour a (B, alpha)."""
    figure = _figure("flatness F<sub>i</sub>", "variance σ<sub>i</sub>²", log_x=True, log_y=True)
    figure.update_xaxes(dtick="D2")  # often less than a decade
    for name, color, group in zip(names, _PALETTE, runs, strict=False):
        kept = [_numbers(fitted.used) for _, _, fitted in group]
        pairs = list(zip(group, kept, strict=True))
        x = np.concatenate([_numbers(widths.width)[used] for (_, widths, _), used in pairs])
        y = np.concatenate([_numbers(found.variance[: len(used)])[used] for (found, _, _), used in pairs])
        _points(figure, x, y, name, color, 3)
    return figure


def as_html(figure: go.Figure, name: str) -> str:
    """A figure as a piece of a page that already holds plotly.js."""
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"filename": name, "scale": 2}}
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)
