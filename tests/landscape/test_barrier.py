"""The loss between two solutions, against barriers known by hand."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.landscape import loss_between
from landscope.landscape.barrier import log_barrier


def test_a_barrier_between_two_wells():
    def wells(w):
        x = w[..., 0]
        return torch.exp((x.square() - 1).square())

    assert log_barrier(wells, torch.tensor([-1.0]), torch.tensor([1.0])) == pytest.approx(1.0, rel=1e-6)
    assert log_barrier(wells, torch.tensor([0.5]), torch.tensor([1.0])) == 0.0


def test_the_barrier_is_above_the_line_between_unequal_ends():
    """L = (w^2 - 1)^2 + w + 2 from -1 to 1: 1 and 3 at the ends, (w^2 - 1)^2 above the line between them."""

    def tilted(w):
        x = w[..., 0].double()
        return (x.square() - 1).square() + x + 2

    line = loss_between(
        tilted, torch.tensor([-1.0]), torch.tensor([1.0]), n_points=5, metrics={"w": lambda w: w[0]}
    )  # fmt: skip
    assert line.loss.tolist() == pytest.approx([1.0, 1.5 + 9 / 16, 3.0, 2.5 + 9 / 16, 3.0])
    assert line.above_the_ends.tolist() == pytest.approx([0.0, 9 / 16, 1.0, 9 / 16, 0.0])
    assert (line.barrier, line.highest) == (pytest.approx(1.0), 0.5)
    assert line.log_barrier == pytest.approx(torch.log(line.loss.max() / 3).item())
    assert line.metrics["w"].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert line.distance == 2.0
    same = loss_between(tilted, torch.tensor([-1.0]), torch.tensor([-1.0]), n_points=3)
    assert (same.loss.tolist(), same.barrier, same.distance) == ([1.0] * 3, 0.0, 0.0)


def test_it_is_saved_and_drawn(tmp_path):
    line = loss_between(lambda w: w.square().sum(-1), torch.zeros(2), torch.ones(2), metrics={"sum": torch.sum})
    again = ls.load(ls.save(line, tmp_path / "line.zarr.zip"))
    assert torch.equal(again.loss, line.loss)
    assert [trace.name for trace in again.plot().data] == ["loss", "sum", "between the ends"]


def normalised():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    return model, (torch.randn(20, 2), torch.randint(0, 2, (20,)))


def test_kept_running_statistics_are_named_and_estimated_ones_are_not():
    model, data = normalised()
    kept, estimated = (
        ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, batch_norm=how) for how in ("kept", "re-estimated")
    )
    other = kept.w0 + 0.5
    with pytest.warns(LandscopeWarning, match="along the whole line between the two solutions") as said:
        line = loss_between(kept, other, kept.w0, n_points=3)
    assert len(said) == 1
    assert line.loss.tolist() == pytest.approx([float(kept(other + s * (kept.w0 - other))) for s in (0, 0.5, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        line = loss_between(estimated, other, kept.w0, n_points=3)
    halfway = other + 0.5 * (kept.w0 - other)
    assert line.loss[1].item() == pytest.approx(float(estimated(halfway)))


def test_a_line_says_what_it_needs():
    bowl = lambda w: w.square().sum(-1)  # noqa: E731
    with pytest.raises(InputError, match="n_points"):
        loss_between(bowl, torch.zeros(2), torch.ones(2), n_points=1)
    with pytest.raises(NonFiniteError, match="a finite loss at the second solution"):
        loss_between(lambda w: torch.where(w[..., 0] > 0.9, torch.inf, 1.0), torch.zeros(1), torch.ones(1))
