"""Results show their numbers, in text and HTML, and draw the picture that belongs to their kind."""

import dataclasses

import plotly.graph_objects as go
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.results import Result, register_picture, result_kinds


def exponents():
    variance = torch.logspace(0, -5, 20).double()
    return ls.law.fit_exponents("a <b>", statistics_of(variance), flatness_of(variance**-0.25), (1, 20))


def test_a_result_shows_numbers_to_four_digits_and_large_tensors_by_their_range():
    text = repr(exponents())
    lines = dict(line.strip().split(": ", 1) for line in text.splitlines()[1:])
    assert text.splitlines()[0] == "Exponents"
    assert lines["psi"] == "4"
    assert lines["variance"] == "[20], 1e-05 to 1"
    assert lines["used"] == "[20], 20 of 20 true"
    assert lines["mode_range"] == "(1, 20)"
    assert "provenance" not in lines
    width = exponents().width.clone()
    width[3:5] = torch.nan
    assert "2 not known" in repr(dataclasses.replace(exponents(), width=width))
    assert "not known" in repr(dataclasses.replace(exponents(), width=torch.full((20,), torch.nan)))
    few = ls.principal_modes(ls.Trajectory.of(torch.tensor([[0.0, 0.0], [2.0, 0.0]])))
    assert "values: (1)" in repr(few)


def test_html_is_a_table_and_everything_in_it_is_escaped():
    page = exponents()._repr_html_()
    assert "<th>psi</th><td>4</td>" in page
    assert "a &lt;b&gt;" in page
    assert "<b>" not in page


def test_results_draw_the_picture_of_their_kind():
    window = ls.Trajectory.of(torch.randn(60, 4).cumsum(0))
    modes = ls.principal_modes(window)
    pictures = (modes, exponents(), flatness_of(torch.logspace(0, 1, 8)), ls.noise.velocity_statistics(window, modes))
    for result in pictures:
        assert isinstance(result.plot(), go.Figure), result.kind
    statistics = ls.noise.mode_statistics(modes, window)
    drawn = {trace.name: trace.y.tolist() for trace in statistics.plot().data}
    assert drawn["variance"] == statistics.variance.tolist()
    assert set(drawn) == {name.replace("_", " ") for name, value in statistics.tensors().items() if value.ndim < 3}


def test_a_result_without_a_picture_of_its_own_shows_every_field_and_numbers_alone_are_a_table(monkeypatch):
    from landscope import results

    penalty = ls.penalties.distance_penalty(torch.arange(9000.0), strength=2.0)
    anchor = {trace.name: trace.y for trace in ls.plots.fields(penalty).data}["anchor"]
    assert anchor.tolist() == torch.arange(0.0, 9000, 5).tolist()
    line = ls.law.fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0])).plot()
    names, values = line.data[0].cells["values"]
    assert dict(zip(names, values, strict=True))["n points"] == "3"
    monkeypatch.setattr(results, "_KINDS", dict(results._KINDS))

    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
    class Grid(Result, kind="grid-of-the-tests", dims={"heights": ("place", "time")}):
        """A result of two axes."""

        heights: torch.Tensor

    matrix = torch.arange(6.0).reshape(2, 3)
    heat = Grid(heights=matrix).plot().data[0]
    assert heat.z.tolist() == matrix.T.tolist()


def test_every_picture_belongs_to_a_kind_of_result():
    from landscope import plots, results

    assert plots.registry
    assert set(results._PICTURES) <= set(result_kinds())


def test_a_kind_can_bring_its_own_picture(monkeypatch):
    from landscope import results

    monkeypatch.setattr(results, "_PICTURES", dict(results._PICTURES))
    register_picture("motion-of-mine", lambda result: go.Figure(layout={"title": result.kind}))
    monkeypatch.setattr(results, "_KINDS", dict(results._KINDS))

    @dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
    class Mine(Result, kind="motion-of-mine"):
        """A result of another package."""

    assert Mine().plot().layout.title.text == "motion-of-mine"


def test_a_data_set_of_xarray_goes_to_netcdf_and_comes_back(tmp_path):
    import json

    import xarray

    for number, result in enumerate((exponents(), flatness_of(torch.logspace(0, 1, 8)))):
        path = tmp_path / f"{number}.nc"
        result.to_xarray().to_netcdf(path)
        with xarray.open_dataset(path) as read:
            for name, tensor in result.tensors().items():
                assert read[name].values.tolist() == tensor.tolist()
            assert json.loads(read.attrs["provenance"]) == json.loads(json.dumps(result.provenance))
            assert read.attrs["kind"] == result.kind
    assert read.attrs["loss0"] == result.loss0
    assert json.loads(exponents().to_xarray().attrs["mode_range"]) == [1, 20]


def test_an_exponent_that_was_not_fitted_says_why():
    variance = torch.logspace(0, -5, 20).double()
    two = ls.law.fit_exponents("two", statistics_of(variance), flatness_of(variance**-0.25), (2, 3))
    assert "a fit needs three directions: of modes 2 to 3, 0 did not move and 0 have no flatness" in repr(two)
    assert "which leaves 2" in two.reason_of("psi") == two.reason_of("psi_tau")
