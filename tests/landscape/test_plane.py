"""The plane of a network against plain calls, the path of a training in it, and refined contours."""

import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.landscape import loss_plane
from landscope.landscape.lines import plane_of
from landscope.plain_lines import PlainLines
from landscope.synthetic import QuadraticBowl

GRID = torch.linspace(-0.7, 1.3, 4), torch.linspace(-1.0, 0.5, 3)


def network(select, n=300):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    data = torch.randn(n, 6), torch.randint(0, 3, (n,))
    space = ls.ParameterSpace.of(model, select)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    return risk, torch.randn(2, space.dim) / space.dim**0.5


@pytest.mark.parametrize("select", ["2.weight", "4.*", "*"])  # hidden layer; on margins; weights behind the first layer
@pytest.mark.parametrize("cache_bytes", [2**30, 0])
def test_a_plane_of_a_network_is_that_of_plain_calls(select, cache_bytes):
    risk, rows = network(select)
    risk._cache_bytes = cache_bytes
    found = loss_plane(risk, risk.w0, rows, *GRID)
    for i, a in enumerate(GRID[0].tolist()):
        for j, b in enumerate(GRID[1].tolist()):
            assert found.loss[i, j].item() == pytest.approx(float(risk(risk.w0 + a * rows[0] + b * rows[1])), rel=1e-6)
    assert bool(found.measured.all())
    assert found.levels == ()


def test_lines_without_a_plane_are_made_again_for_each_value():
    risk, rows = network("2.weight")

    class OnlyLines:
        group = 4

        def __init__(self, w0, rows):
            self._lines = PlainLines(risk, w0, rows)

        def __call__(self, index, displacement):
            return self._lines(index, displacement)

    class Landscape:
        lines = staticmethod(OnlyLines)

        def __call__(self, w):
            return risk(w)

    landscape = Landscape()
    a, b = torch.tensor([0.5, -1.0, 0.25]).double(), torch.tensor([1.0, 0.0, 1.0]).double()
    slow = plane_of(landscape, landscape.lines(risk.w0, rows), risk.w0, rows)(a, b)
    fast = plane_of(risk, risk.lines(risk.w0, rows), risk.w0, rows)(a, b)
    assert slow.tolist() == pytest.approx(fast.tolist(), rel=1e-6)


def test_a_call_of_a_large_network_holds_few_points():
    asked = []

    def landscape(w):
        asked.append(len(w))
        return w[:, 0].double()

    lines = PlainLines(landscape, torch.zeros(2**22), torch.zeros(2, 2**22))
    steps = torch.arange(6.0)
    assert lines(torch.zeros(6, dtype=torch.long), steps).tolist() == [0.0] * 6
    assert lines.plane(steps, steps).tolist() == [0.0] * 6
    assert asked == [4, 2, 4, 2]


def test_the_path_is_projected_also_on_skew_directions():
    """w0 = (0, 0, 1); p1 = e1, p2 = e1 + 2 e2. A row (x, y, z) is a p1 + b p2 with b = y/2, a = x - y/2."""
    rows = torch.tensor([[3.0, 0.0, 1.0], [1.0, 4.0, 3.0], [0.0, 0.0, 1.0]])
    w0, skew = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    bowl = QuadraticBowl(torch.ones(3), minimum=1.0)
    path = ls.Trajectory.of(rows, steps=torch.tensor([5, 7, 9]))
    many = ls.Trajectory.of(rows.repeat(2, 1))  # more rows than weights: read by rows
    plane = loss_plane(bowl, w0, skew, trajectory=path)
    assert plane.path.tolist() == [[3.0, 0.0], [-1.0, 2.0], [0.0, 0.0]]
    assert plane.path_distance.tolist() == [0.0, 2.0, 0.0]
    assert plane.path_share == pytest.approx((9 + 17) / (9 + 21))
    assert plane.path_steps.tolist() == [5, 7, 9]
    again = loss_plane(bowl, w0, skew, plane.first, plane.second, trajectory=many)
    assert torch.equal(again.path, plane.path.repeat(2, 1))
    assert again.path_share == pytest.approx(plane.path_share)
    assert torch.equal(again.loss, plane.loss)
    # a from -1 to 3 and b from 0 to 2, with a quarter of the width on each side
    assert (plane.first[0].item(), plane.first[-1].item()) == (-2.0, 4.0)
    assert (plane.second[0].item(), plane.second[-1].item()) == (-0.5, 2.5)


def test_principal_modes_show_the_share_of_their_variance():
    """About the mean of the window the share of modes 1 and 2 is their part of the total variance."""
    window = ls.Trajectory.of(torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).double().cumsum(0))
    modes = ls.principal_modes(window)
    plane = loss_plane(
        QuadraticBowl(torch.ones(5).double(), minimum=1.0), modes.mean, modes.part([0, 1]), trajectory=window
    )
    assert plane.path_share == pytest.approx(float(modes.variance[:2].sum() / modes.total_variance), rel=1e-10)
    assert torch.allclose(plane.path, modes.part([0, 1]).project_trajectory(window))


def test_the_figure_draws_the_path_and_says_what_it_shows(tmp_path):
    path = ls.Trajectory.of(torch.tensor([[3.0, 0.0, 4.0], [0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]))
    plane = loss_plane(
        QuadraticBowl(torch.ones(3), minimum=1.0), torch.zeros(3), torch.eye(3)[:2], trajectory=path,
        metrics={"norm": torch.linalg.vector_norm}, refine=1,
    )  # fmt: skip
    saved = ls.load(ls.save(plane, tmp_path / "plane.zarr.zip"))
    assert saved.path_share == pytest.approx(0.36)
    assert torch.equal(saved.measured, plane.measured)
    assert saved.levels == plane.levels
    traces = saved.plot().data
    names = [trace.name for trace in traces if trace.showlegend]
    assert names == ["path: 36 % of its motion is in the plane", "start", "end"]
    assert traces[1].text[0] == "step 1, 4 from the plane"
    assert traces[0].contours.start == pytest.approx(plane.levels[0])


def test_planes_of_older_versions_were_measured_everywhere():
    values = {"first": torch.zeros(2), "second": torch.zeros(3), "loss": torch.ones(2, 3), "loss0": 1.0}
    old = ls.landscape.LossPlane(**values, metric_names=(), metric_values=torch.empty(0, 2, 3))
    assert old.measured.shape == (2, 3)
    assert bool(old.measured.all())
    assert [trace.name for trace in old.plot().data] == ["ln L"]
    assert set(old.to_xarray().variables) >= {"loss", "measured", "path"}


def misplaced(plane, levels):
    """Largest error of bilinear interpolation of ln L on the exact contours, in distances between two levels."""
    angle = torch.linspace(0, 2 * math.pi, 200, dtype=torch.float64)[:-1]
    worst = 0.0
    for level in levels:
        radius = math.sqrt(math.expm1(level))
        a, b = radius * angle.cos(), radius / 4 * angle.sin()
        inside = (a.abs() <= plane.first[-1]) & (b.abs() <= plane.second[-1])
        worst = max(worst, float((interpolated(plane, a[inside], b[inside]) - level).abs().max()))
    return worst / (levels[1] - levels[0])


def interpolated(plane, a, b):
    cell, values = [], plane.loss.log()
    for places, point in ((plane.first, a), (plane.second, b)):
        left = (torch.searchsorted(places, point, right=True) - 1).clamp(0, len(places) - 2)
        cell.append((left, (point - places[left]) / (places[left + 1] - places[left])))
    (i, s), (j, t) = cell
    low = (1 - s) * values[i, j] + s * values[i + 1, j]
    return (1 - t) * low + t * ((1 - s) * values[i, j + 1] + s * values[i + 1, j + 1])


def test_refined_contours_of_a_bowl_are_its_ellipses_for_fewer_points():
    """ln(1 + a^2 + 16 b^2): its contours are ellipses whose axes are 4 to 1."""
    bowl = QuadraticBowl(torch.tensor([2.0, 32.0]).double(), minimum=1.0)
    w0, axes, steps = torch.zeros(2).double(), torch.eye(2).double(), torch.linspace(-4, 4, 9).double()
    metrics = {"first": lambda w: w[0]}
    plane = loss_plane(bowl, w0, axes, steps, steps, refine=4, metrics=metrics)
    fine = torch.linspace(-4, 4, 129).double()
    whole = loss_plane(bowl, w0, axes, fine, fine)
    assert torch.equal(plane.first, fine)
    assert torch.allclose(plane.loss[plane.measured], whole.loss[plane.measured], rtol=1e-12)
    assert torch.allclose(plane.metrics["first"], fine[:, None].expand(-1, 129))  # linear: interpolation is exact
    n_measured = int(plane.measured.sum())
    assert misplaced(plane, plane.levels) < 0.1
    side = torch.linspace(-4, 4, math.isqrt(n_measured) + 1).double()
    assert misplaced(loss_plane(bowl, w0, axes, side, side), plane.levels) > 0.5  # as many points on a fixed grid
    assert (n_measured, plane.measured.numel()) == (565, 16641)  # as docs/howto/planes.md says


def test_planes_with_zero_and_infinite_losses_are_refined():
    def landscape(w):
        radius = w.square().sum(-1)
        return torch.where(radius > 4, torch.inf, radius)

    steps = torch.linspace(-3, 3, 7).double()
    plane = loss_plane(landscape, torch.zeros(2).double(), torch.eye(2).double(), steps, steps, refine=2)
    a, b = torch.meshgrid(plane.first, plane.second, indexing="ij")
    exact = landscape(torch.stack([a, b], -1))
    assert torch.equal(plane.loss[plane.measured], exact[plane.measured])
    assert not bool(plane.loss.isnan().any())
    assert torch.equal(plane.loss.isinf(), exact.isinf())  # its edge was followed to the finest cells
    flat = loss_plane(lambda w: torch.ones(len(w)), torch.zeros(2), torch.eye(2), steps, steps, refine=2)
    assert flat.loss.shape == (7, 7)


def test_a_plane_says_what_it_needs():
    bowl, steps = QuadraticBowl(torch.ones(2), minimum=1.0), torch.tensor([0.0, 1.0])
    w0, axes = torch.zeros(2), torch.eye(2)
    with pytest.raises(InputError, match="or a trajectory that they are to cover; got neither"):
        loss_plane(bowl, w0, axes, steps)
    with pytest.raises(InputError, match="a trajectory of 2 weights, as w0; got one of 3"):
        loss_plane(bowl, w0, axes, trajectory=ls.Trajectory.of(torch.zeros(2, 3)))
    with pytest.raises(InputError, match="a path that moves within the plane"):
        loss_plane(bowl, w0, axes, trajectory=ls.Trajectory.of(torch.zeros(2, 2)))
    with pytest.raises(InputError, match="losses of at least 0, to refine"):
        loss_plane(lambda w: w[..., 0] - 0.5, w0, axes, steps, steps, refine=1)
    with pytest.raises(InputError, match="refine"):
        loss_plane(bowl, w0, axes, steps, steps, refine=-1)
