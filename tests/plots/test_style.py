"""The common layout of figures: axes and legend reserve their own room, and a level stands at its value."""

import re
from pathlib import Path

import numpy as np
import plotly.io
import pytest

from landscope.plots import style


@pytest.mark.parametrize(
    "figure",
    [style.new_figure("x", "y", log_x=True), style.two_axes("x", "left", "right"), style.panels(1, 2)],
    ids=["one", "two axes", "panels"],
)
def test_every_axis_reserves_its_room_and_the_legend_lies_below(figure):
    usual = figure.layout.template.layout
    assert all(axis.automargin and axis.title.standoff for axis in (usual.xaxis, usual.yaxis))
    assert all(axis.automargin is None for axis in [*figure.select_xaxes(), *figure.select_yaxes()])
    assert (figure.layout.legend.yref, figure.layout.legend.y) == ("container", 0)
    assert figure.layout.margin.t > figure.layout.margin.b  # the mode bar


def test_axes_have_their_titles_and_scales():
    figure = style.new_figure("x", "y", log_x=True)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("x", "y")
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", None)
    figure = style.two_axes("x", "left", "right")
    assert [axis.title.text for axis in figure.select_yaxes()] == ["left", "right"]


def test_a_level_on_a_logarithmic_axis_stands_at_its_value_with_its_label():
    figure = style.new_figure("x", "y", log_x=True, log_y=True)
    style.add_points(figure, np.ones(2), np.ones(2), "points", style.OWN)
    style.add_level(figure, 1, "one")
    style.add_level(figure, 100, "hundred", upright=True, at="middle")
    level, upright = figure.layout.shapes
    assert (level.y0, level.y1, level.label.text) == (1, 1, "one")
    assert (upright.x0, upright.x1, upright.label.textposition) == (100, 100, "middle")
    assert level.opacity == upright.opacity == 1
    assert not figure.layout.annotations


@pytest.mark.parametrize(
    ("points", "ticks"), [([0.26, 1.7], "D2"), ([0.3, 0.6], None), ([1e-3, 1.0], None), ([np.nan, np.nan], None)]
)
def test_about_one_decade_has_few_ticks(points, ticks):
    figure = style.new_figure("x", "y", log_x=True)
    style.add_points(figure, np.array(points), np.ones(2), "points", style.OWN)
    style.few_ticks(figure)
    assert figure.layout.xaxis.dtick == ticks


def test_a_level_belongs_to_one_of_several_plots():
    figure = style.panels(1, 2)
    figure.add_scatter(x=[1], y=[1], row=1, col=2)
    style.add_level(figure, 3, upright=True, row=1, col=2)
    assert figure.layout.shapes[0].xref == "x2"


def test_the_mode_bar_sends_nothing_away():
    page = style.as_html(style.new_figure("x", "y"), "empty")
    assert 'id="empty"' in page
    assert "sendChartToCloud" in page.partition("modeBarButtonsToRemove")[2]


def test_the_template_has_the_defaults_of_every_kind_of_plot_that_is_drawn():
    files = Path(style.__file__).parents[1].rglob("*.py")
    drawn = {kind for file in files for kind in re.findall(r"\.add_([a-z]+)\(", file.read_text())}
    whole = plotly.io.templates["simple_white"].to_plotly_json()["data"]
    kept = style.new_figure("x", "y").layout.template.data.to_plotly_json()
    assert {kind: kept.get(kind) for kind in drawn & set(whole)} == {kind: whole[kind] for kind in drawn & set(whole)}
