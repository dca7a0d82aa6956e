"""Other quantities beside the loss along lines and in planes, against values known by hand."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.landscape import loss_plane
from landscope.landscape.metrics import metrics_at
from landscope.synthetic import QuadraticBowl


def threshold():
    """sign(w x + b) at w = 1, b = 0, on x = 1, 2, 4, all of class +1: x is right while x > -b/w."""
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    x, y = torch.tensor([[1.0], [2.0], [4.0]]), torch.ones(3, 1)
    risk = ls.EmpiricalRisk(model, nn.MSELoss(), (x, y))
    return model, risk, lambda model: (model(x).sign() == y).double().mean()


def test_accuracy_steps_where_a_sample_changes_its_class():
    model, risk, accuracy = threshold()
    steps = torch.tensor([0.5, 0.99, 1.01, 1.99, 2.01, 3.99, 4.01])
    down = torch.tensor([[0.0, -1.0]])
    found = ls.loss_profiles(risk, risk.w0, down, steps, metrics={"accuracy": accuracy, "weight": lambda m: m.weight})
    assert found.metrics["accuracy"][0].tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])
    assert found.metrics["weight"].tolist() == [[1.0] * 7]
    assert model.bias.item() == 0.0
    plain = ls.loss_profiles(risk, risk.w0, down, steps)
    assert torch.equal(plain.loss, found.loss)
    assert plain.metrics == {}
    names = [axis.title.text for axis in found.plot().select_yaxes()]
    assert names == ["loss L<sub>i</sub>", "accuracy", "weight"]


def test_a_plane_has_the_first_direction_along_its_first_axis():
    _, risk, accuracy = threshold()
    a, b = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([-0.5, -3.0])
    found = loss_plane(risk, risk.w0, torch.eye(2), a, b, metrics={"accuracy": accuracy})
    x = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    for i, step_w in enumerate(a.tolist()):
        for j, step_b in enumerate(b.tolist()):
            outputs = (1 + step_w) * x + step_b
            assert found.loss[i, j].item() == pytest.approx((outputs - 1).square().mean().item())
            assert found.metrics["accuracy"][i, j].item() == pytest.approx((outputs > 0).double().mean().item())
    assert found.loss0 == pytest.approx((0 + 1 + 9) / 3)
    traces = found.plot().data
    assert [trace.name for trace in traces] == ["ln L", "accuracy"]
    assert traces[1].z.shape == (2, 3)  # plotly wants a row for each y


def test_without_metrics_no_weights_are_made():
    def weights_at(place):
        raise AssertionError(place)

    assert metrics_at({}, [1, 2], weights_at).shape == (0, 2)
    assert metrics_at({"double": lambda w: 2 * w}, [1, 2], float).tolist() == [[2.0, 4.0]]


def test_a_formula_takes_functions_of_the_weights():
    bowl = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0)
    norm = {"norm": torch.linalg.vector_norm}
    done = []
    found = loss_plane(
        bowl, torch.zeros(2), torch.eye(2) * 2, torch.tensor([0.0, 1.5]), torch.tensor([2.0]), metrics=norm,
        progress=lambda *now: done.append(now),
    )  # fmt: skip
    assert found.loss.tolist() == [[1 + 4 * 16.0], [1 + 9.0 + 4 * 16.0]]
    assert found.metrics["norm"].tolist() == [[4.0], [5.0]]
    assert done == [(1, 1)]
    line = ls.loss_profiles(bowl, torch.zeros(2), torch.eye(2), torch.tensor([3.0]), metrics=norm)
    assert line.metrics["norm"].tolist() == [[3.0], [3.0]]


def test_what_was_measured_is_saved(tmp_path):
    _, risk, accuracy = threshold()
    steps = torch.tensor([-1.0, 1.5])
    profiles = ls.loss_profiles(risk, risk.w0, torch.eye(2), steps, metrics={"accuracy": accuracy})
    plane = loss_plane(risk, risk.w0, torch.eye(2), steps, steps)
    for number, result in enumerate((profiles, plane, ls.loss_profiles(risk, risk.w0, torch.eye(2), steps))):
        again = ls.load(ls.save(result, tmp_path / f"{number}.zarr.zip"))
        assert again.metric_names == result.metric_names
        assert torch.equal(again.metric_values, result.metric_values)
        assert torch.equal(again.loss, result.loss)


def test_random_numbers_of_a_metric_are_alike_at_every_point_and_nobody_elses():
    _, risk, _ = threshold()
    state = torch.get_rng_state()
    found = ls.loss_profiles(
        risk, risk.w0, torch.eye(2), torch.tensor([0.0, 1.0]), metrics={"z": lambda _: torch.rand(())}
    )
    assert found.metric_values.unique().numel() == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_metrics_are_of_the_model_in_eval_mode_with_the_statistics_of_the_loss():
    """One feature of mean 3 and variance 4: re-estimated statistics do not depend on w, kept ones do not move."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=1e-9), nn.Dropout())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    x = torch.tensor([[1.0], [5.0]])
    space = ls.ParameterSpace.of(model, "0.weight")
    largest = {"largest": lambda model: model(x).max()}
    for batch_norm, expected in (("kept", [5.0, 10.0]), ("re-estimated", [1.0, 1.0])):
        risk = ls.EmpiricalRisk(model, nn.MSELoss(), (x, torch.zeros(2, 1)), space=space, batch_norm=batch_norm)
        found = ls.loss_profiles(risk, risk.w0, torch.ones(1, 1), torch.tensor([0.0, 1.0]), metrics=largest)
        values = found.metrics["largest"][0]
        # The variance that batch normalisation keeps is the unbiased one: 8 of 1 and 5, so that x becomes 2/sqrt(8).
        scale = 1.0 if batch_norm == "kept" else 2 / 8**0.5
        assert values.tolist() == pytest.approx([scale * value for value in expected])
        assert risk.model_at(torch.tensor([2.0]))(x).max().item() == pytest.approx(scale * expected[1])
    assert model.training


def test_a_plane_does_not_warn_of_its_own_points_but_other_lines_still_do():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    risk = ls.EmpiricalRisk(model, nn.MSELoss(), (torch.ones(2, 1), torch.zeros(2, 1)))
    steps = torch.tensor([0.0, 1.0])
    directions = torch.eye(4)[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss_plane(risk, risk.w0, directions, steps, steps)
    with pytest.warns(LandscopeWarning, match="start at other weights"):
        ls.loss_profiles(risk, risk.w0 + 1, directions, steps)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"x": lambda _: torch.ones(2)}, r"a metric that gives one number; got a tensor of shape \(2,\)"),
        ({"x": lambda _: "high"}, "got str"),
    ],
)
def test_a_metric_gives_one_number(metrics, message):
    _, risk, _ = threshold()
    with pytest.raises(InputError, match=message):
        ls.loss_profiles(risk, risk.w0, torch.eye(2), torch.tensor([1.0]), metrics=metrics)


def test_a_plane_needs_two_directions_and_numbers():
    bowl, steps = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=1.0), torch.tensor([0.0])
    with pytest.raises(InputError, match="two directions; got 1"):
        loss_plane(bowl, torch.zeros(2), torch.eye(2)[:1], steps, steps)
    with pytest.raises(InputError, match="not parallel"):
        loss_plane(bowl, torch.zeros(2), torch.ones(2, 2), steps, steps)
    with pytest.raises(NonFiniteError, match=r"NaN at \(-1, 2\)"):
        loss_plane(
            lambda w: torch.where(w[..., 0] < 0, torch.nan, 1.0), torch.zeros(2), torch.eye(2),
            torch.tensor([0.0, -1.0]), torch.tensor([2.0]),
        )  # fmt: skip


def test_long_calls_of_a_risk_say_how_far_they_are():
    # Batches that compare their samples are not joined: each is a part of the call.
    batches = [(torch.arange(2.0 + n)[:, None], torch.zeros(2 + n, 1)) for n in range(3)]
    risk = ls.EmpiricalRisk.from_closure(
        nn.Linear(1, 1),
        lambda model, batch: (model(batch[0]) - batch[1] + batch[0].mean()).square().squeeze(1),
        batches,
    )
    for call in (
        lambda progress: risk.sample_losses(risk.w0, progress=progress),
        lambda progress: risk.gradient(risk.w0, progress=progress),
        lambda progress: risk.hessian_vector_product(risk.w0, risk.w0, progress=progress),
    ):
        done = []
        call(lambda *now, done=done: done.append(now))
        assert done == [(1, 3), (2, 3), (3, 3)]
