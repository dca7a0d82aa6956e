"""Draw the pictures of the README and of the page on finite windows: ``make pictures``.

Writes PNG files beside itself, with a Chromium on the PATH: psi, curvature, amplitude and plateau from the tables in
docs/results; study and keeping from the runs of the gallery, which are made if they are not there.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from landscope.plots.style import FIT, NULL, OWN, PALETTE, PROCESS, add_level, add_line, logarithmic, new_figure, panels

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "_ext"))

from gallery_files import runs_of  # noqa: E402
from gallery_pages import figures_of  # noqa: E402
from pictures import camera  # noqa: E402

RESULTS = HERE.parent / "results"
GALLERY = HERE.parent / "gallery"
WIDTH, README_WIDTH = 900, 720
SHORT = {
    "alpha": "α",
    "CNN, 10,000 images of CIFAR-10, α = 0.03": "CNN, α = 0.03",
    "transformer, sums modulo 31, α = 0.01, momentum 0.9": "transformer, α = 0.01",
}


def table(page: str, heading: str) -> list[dict[str, str]]:
    """The rows of the first table after a heading, or another text, by column."""
    lines = (RESULTS / page).read_text().split(heading, 1)[1].split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    cells = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def interval(text: str) -> tuple[float, float, float]:
    """The mean and the ends of the interval of "0.51 [0.41, 0.61]"."""
    mean, low, high = (float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text))
    return mean, low, high


def ranges(rows: list[dict[str, str]], columns: dict[str, tuple[str, str, str]], x: str, *, log: bool) -> go.Figure:
    """One line of trainings after another, with a point and its interval for each column.

    Args:
        rows: The trainings.
        columns: Column -> its name in the legend, colour and symbol.
        x: Title of the axis.
        log: Whether it is logarithmic.
    """
    figure = new_figure(x, "", log_x=log)
    place = -np.arange(len(rows), dtype=float)
    for number, (column, (name, color, symbol)) in enumerate(columns.items()):
        mean, low, high = np.array([interval(row[column]) for row in rows]).T
        figure.add_scatter(
            x=mean, y=place - 0.14 * (number - (len(columns) - 1) / 2), name=name, mode="markers",
            marker={"color": color, "symbol": symbol, "size": 8, "line": {"width": 1.5, "color": color}},
            error_x={"type": "data", "symmetric": False, "array": high - mean, "arrayminus": mean - low, "width": 3},
        )  # fmt: skip
    names = [row["training"] for row in rows]
    for long, short in SHORT.items():
        names = [name.replace(long, short) for name in names]
    figure.update_yaxes(tickvals=place, ticktext=names, range=[place[-1] - 0.6, 0.6])
    return figure


def psi() -> go.Figure:
    """Psi of every training, in the window and in the next one, beside the process and shuffled increments."""
    columns = {
        "psi": ("run", OWN, "circle"),
        "psi, shuffled": ("shuffled increments", NULL, "diamond"),
        "psi, process": ("process", PROCESS, "square"),
        "psi, next window": ("run, next window", OWN, "circle-open"),
        "psi, process, its next window": ("process, next window", PROCESS, "square-open"),
    }
    figure = ranges(table("findings.md", "## Along principal modes"), columns, "ψ", log=False)
    add_level(figure, 0, upright=True)
    figure.update_layout(height=520)
    return figure


def curvature() -> go.Figure:
    """Psi along eigenvectors of the curvature: of the run, and of the process in the window and without end."""
    columns = {
        "psi": ("run", OWN, "circle"),
        "expected in the window, own order": ("process", PROCESS, "square"),
        "psi_infinity of the process, own order": ("process, window without end", PROCESS, "square-open"),
    }
    rows = table("findings.md", "## Along eigenvectors of the curvature")
    figure = ranges([row for row in rows if row["training"].startswith("perceptron")], columns, "ψ", log=False)
    add_level(figure, 0, upright=True)
    return figure


def amplitude() -> go.Figure:
    """Variance over that of four formulas along eigenvectors; the perceptrons, whose values are within a decade."""
    rows = table("findings.md", "## The size of the fluctuations")
    columns = {
        "white, H_ii, eigenvectors": ("independent, H<sub>ii</sub>", OWN, "circle-open"),
        "white, lambda_eff, eigenvectors": ("independent, λ<sub>eff</sub>", FIT, "square-open"),
        "own order, H_ii, eigenvectors": ("own order, H<sub>ii</sub>", OWN, "circle"),
        "own order, lambda_eff, eigenvectors": ("own order, λ<sub>eff</sub>", FIT, "square"),
    }
    rows = [row for row in rows if row["training"].startswith("perceptron")]
    figure = ranges(rows, columns, "variance / formula", log=True)
    figure.update_xaxes(tickvals=[0.2, 0.3, 0.5, 1, 1.5, 2], range=[math.log10(0.2), math.log10(2)])
    add_level(figure, 1, upright=True)
    return figure


def plateau() -> go.Figure:
    """Psi against the length of the window, with that of relaxation, for each way to bring the loss to rest."""
    rows = table("plateau.md", "below it the exponent of relaxation")
    figure = panels(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    lengths = [column for column in rows[0] if column != "T (steps)"]
    steps = np.array([float(length.replace(",", "")) for length in lengths])
    colors = {"with replacement": PALETTE[1], "reshuffled": OWN}
    for run, relaxation in zip(rows[::2], rows[1::2], strict=True):
        rest, order = run["T (steps)"].split(", ")
        column = ("weight decay", "label noise").index(rest) + 1
        for row, text, dash in ((run, order, "solid"), (relaxation, f"relaxation, {order}", "dot")):
            values = np.array([float(row[length]) for length in lengths])
            add_line(figure, steps, values, text, colors[order], dash=dash)
            figure.data[-1].update(xaxis=f"x{column}", yaxis=f"y{column}", showlegend=column == 1)
        figure.update_xaxes(title_text=f"length of the window (steps), {rest}", **logarithmic(narrow=True), col=column)
    figure.update_yaxes(title_text="ψ", col=1)
    add_level(figure, 0, row=1, col=1)
    add_level(figure, 0, row=1, col=2)
    return figure


def study() -> go.Figure:
    """Variance against flatness of the gallery's run, in fresh data, and of its nulls."""
    return of_gallery("law", "variance_against_flatness")


def keeping() -> go.Figure:
    """Error of the first of three tasks, with a memory and without one."""
    return of_gallery("tasks", "error_while_learning")


def of_gallery(page: str, name: str) -> go.Figure:
    """A figure of the gallery, from the code on its page; large enough to read beside text."""
    os.environ["GALLERY_RUNS"] = str(runs_of(GALLERY, HERE.parent / "_build" / "gallery"))
    figure = next(figure for shown, figure in figures_of(GALLERY / f"{page}.md") if shown == name)
    figure.update_layout(height=340, margin_t=12, font_size=15, legend_font_size=14)
    return figure.update_traces(marker_size=5, selector={"mode": "markers"})


PICTURES: dict[Callable[[], go.Figure], int] = {
    psi: WIDTH, curvature: WIDTH, amplitude: WIDTH, plateau: WIDTH, study: README_WIDTH, keeping: README_WIDTH,
}  # fmt: skip
"""Width of each picture in CSS pixels."""


def main() -> None:
    """Write every picture, with two pixels for each CSS pixel."""
    with camera() as lens:
        for draw, width in PICTURES.items():
            lens.write(draw(), HERE / f"{draw.__name__}.png", width)


if __name__ == "__main__":
    main()
