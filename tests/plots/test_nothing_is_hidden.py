"""No picture hides what a logarithmic axis cannot show, or an interval that has no end."""

import math

import numpy as np
import plotly.graph_objects as go
import torch

import landscope as ls
from landscope import plots
from landscope.directions import Directions
from landscope.monitoring import MonitorHistory
from landscope.noise import NoiseScale
from landscope.plots import style

NAN, INF = math.nan, math.inf


def of_values(*values):
    return Directions.of(torch.eye(len(values)), name="eigenvectors", values=torch.tensor(values)).plot()


def test_negative_and_zero_values_of_directions_are_drawn():
    for values in ((-6.0, -4.5), (3.0, -0.5), (0.0, 0.0)):
        figure = of_values(*values)
        assert figure.data[0].y.tolist() == list(values)
        assert figure.layout.yaxis.type != "log"
    assert of_values(3.0, 2.0).layout.yaxis.type == "log"
    assert of_values(3.0, 2.0).layout.xaxis.tickvals.tolist() == [1, 2]
    assert of_values(3.0, -1e-9).layout.yaxis.type == "log"  # zero up to rounding
    assert "no values" in of_values(NAN, NAN).layout.xaxis.title.text


def scale_of(value, low, high, along=(), along_interval=()):
    return NoiseScale(
        value=value, confidence_interval=(low, high), trace=1.0, gradient_square=1.0, data_gradient_square=1.0,
        along=torch.tensor(along).double(), along_interval=torch.tensor(along_interval).double().reshape(-1, 2),
        matrix="identity", batch_size=20, n_batches=3, n_left_out=0, confidence_level=0.95,
    )  # fmt: skip


def test_intervals_without_ends_are_told_apart():
    figure = scale_of(2.0, 1.0, 4.0, (60.0, INF), ((0.0, INF), (3.0, INF))).plot()
    closed, bounded, unknown, level = figure.data
    assert (closed.x.tolist(), closed.error_y.array.tolist(), closed.error_y.arrayminus.tolist()) == ([0], [2], [1])
    assert (bounded.x.tolist(), bounded.y.tolist(), bounded.marker.symbol) == ([2], [3], "triangle-up-open")
    assert (unknown.x.tolist(), unknown.y.tolist(), unknown.marker.symbol) == ([1], [60], "circle-open")
    assert set(level.y) == {20}
    assert level.name == "batch size, 20"


def plane_of(landscape):
    side = torch.linspace(-1, 1, 3).double()
    return ls.loss_plane(landscape, torch.zeros(2).double(), torch.eye(2).double(), side, side)


def test_a_loss_that_is_negative_is_drawn_itself():
    for shift, name, least in ((0.0, "L", -2.0), (3.0, "ln L", 0.0), (2.0, "ln L", NAN)):
        drawn = plane_of(lambda w, c=shift: w.sum(-1) + c).plot().data[0]
        assert drawn.name == name
        np.testing.assert_equal(drawn.z[0][0], least)


def test_only_a_barrier_above_rounding_is_drawn_within_the_plot():
    ends = torch.tensor([-1.0]).double(), torch.tensor([1.0]).double()
    high = ls.landscape.loss_between(lambda w: (w.square() - 1).square().sum(-1), *ends).plot()
    (line,) = high.layout.shapes
    assert (line.label.text, line.label.textangle, line.label.yanchor) == ("barrier 1", 0, "top")
    straight = ls.landscape.loss_between(lambda w: 1 + w.sum(-1) * 1.1, *ends).plot()
    assert not straight.layout.shapes


def test_a_panel_without_a_finite_value_says_so_and_curvatures_have_their_colours():
    names = ("loss", "noise_scale", "batch_sharpness", "edge", "sharpness")
    figure = MonitorHistory(
        steps=torch.tensor([1, 2]), names=names, values=torch.tensor([[2, INF, 1, 20, 3], [1, INF, 1, 20, 3]]).double(),
        training_seconds=1.0, measuring_seconds=0.1, budget=0.1,
    ).plot()  # fmt: skip
    (note,) = figure.layout.annotations
    assert (note.text, note.xref) == ("no positive, finite value", "x3 domain")
    colours = {trace.name: trace.line.color for trace in figure.data}
    assert colours["λ<sub>1</sub>"] == style.OWN
    assert colours["batch sharpness"] == style.FRESH
    assert colours["edge of stability"] == style.WALK


def test_a_plane_names_its_directions():
    plane = plane_of(lambda w: w.square().sum(-1) + 1)
    figure = plots.loss_plane(plane, along=("along mode 1", "along mode 2"))
    assert isinstance(figure, go.Figure)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (
        "displacement along mode 1", "displacement along mode 2",
    )  # fmt: skip
