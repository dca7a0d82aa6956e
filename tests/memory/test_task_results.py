import numpy as np
import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory import TaskResults
from own_model import CE, MSE, X, Y, losses_of, net


def weight(model):
    return model.weight.mean()


def moved(model, value):
    model.weight.data.fill_(value)
    return model


def test_rows_are_what_the_functions_give():
    model = nn.Linear(1, 1, bias=False)
    results = TaskResults({"a": weight, "b": lambda m: 2 * weight(m)}, higher_is_better=True)
    assert results.measure(moved(model, 3.0), n_stored=7) == {"a": 3.0, "b": 6.0}
    assert results.measure(moved(model, 1.0), n_stored=9) == {"a": 1.0, "b": 2.0}
    matrix = results.matrix
    assert matrix.values.tolist() == [[3.0, 6.0], [1.0, 2.0]]
    assert matrix.n_stored.tolist() == [7, 9]
    assert bool((matrix.seconds > 0).all())
    assert (matrix.average, matrix.forgetting, matrix.backward_transfer) == (1.5, 2.0, -2.0)
    assert (matrix.old_and_new, matrix.stored_over_weights) == ((1.0, 2.0), 9.0)


def test_a_loss_is_forgotten_where_it_rises():
    model = nn.Linear(1, 1, bias=False)
    results = TaskResults({"a": weight, "b": weight}, higher_is_better=False)
    for value in (1.0, 3.0):
        results.measure(moved(model, value))
    assert (results.matrix.forgetting, results.matrix.backward_transfer) == (2.0, -2.0)


def test_data_are_measured_by_their_mean_loss():
    model = net()
    expected = CE(model(X), Y).item(), CE(model(X[:5]), Y[:5]).item()
    data = {"all": (X, Y), "some": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:5], Y[:5]), 2)}
    found = TaskResults(data, CE).measure(model)
    assert list(found.values()) == pytest.approx(expected, rel=1e-6)  # float32 sums of 12 terms
    as_losses = TaskResults({"all": (X, Y)}, losses=losses_of).measure(model)
    assert as_losses["all"] == pytest.approx(expected[0], rel=1e-6)


def test_a_model_with_frozen_and_tied_weights_is_measured():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False)
            self.second = nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.tanh(self.first(x)))

    model, x = Tied().requires_grad_(False), torch.randn(4, 3)
    found = TaskResults({"a": (x, x)}, MSE).measure(model)
    assert found["a"] == pytest.approx(MSE(model(x), x).item(), rel=1e-6)


def test_the_model_and_the_random_state_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    model[0].weight.grad = torch.ones(4, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002

    def spoils(m):
        torch.rand(1), np.random.rand()  # noqa: NPY002
        m.train()
        m(X)
        m[0].weight.data.zero_()
        return 0.0

    seen = []
    TaskResults({"a": spoils, "b": lambda m: seen.append(m.training) or 1.0}, higher_is_better=True).measure(model)
    assert seen == [False]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert bool((model[0].weight.grad == 1).all())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002


def test_a_measurement_without_a_number_is_shown_and_not_refused():
    results = TaskResults({"a": lambda m: float("nan")}, higher_is_better=False)
    assert np.isnan(results.measure(net())["a"])
    assert np.isnan(results.matrix.average)


def test_a_saved_matrix_goes_on(tmp_path):
    model, functions = nn.Linear(1, 1, bias=False), {"a": weight, "b": weight}
    whole, first = (TaskResults(functions, higher_is_better=False) for _ in range(2))
    for results in (whole, first):
        results.measure(moved(model, 1.0), n_stored=3)
    ls.save(first.matrix, tmp_path / "matrix.zip")
    second = TaskResults(functions, higher_is_better=False, resume=ls.load(tmp_path / "matrix.zip"))
    for results in (whole, second):
        results.measure(moved(model, 2.0), n_stored=4)
    assert torch.equal(second.matrix.values, whole.matrix.values)
    assert torch.equal(second.matrix.n_stored, whole.matrix.n_stored)
    assert second.matrix.dim == whole.matrix.dim == 1
    with pytest.raises(InputError, match="a matrix of the tasks x"):
        TaskResults({"x": weight}, higher_is_better=False, resume=second.matrix)


def test_what_cannot_be_measured_is_refused():
    results = TaskResults({"a": weight}, higher_is_better=True)
    with pytest.raises(InputError, match="at least one measurement"):
        _ = results.matrix
    results.measure(nn.Linear(1, 1))
    with pytest.raises(InputError, match="one measurement after each of the 1 tasks"):
        results.measure(nn.Linear(1, 1))
    with pytest.raises(InputError, match="gives one number"):
        TaskResults({"a": lambda m: m.weight}, higher_is_better=True).measure(nn.Linear(2, 1))


@pytest.mark.parametrize(
    ("evaluations", "settings", "message"),
    [
        ({}, {"higher_is_better": True}, "at least one evaluation"),
        ({"a": weight}, {}, "higher_is_better=True or"),
        ({"a": (X, Y)}, {"higher_is_better": True}, "a function of the model for 'a'"),
        ({"a": net()}, {"higher_is_better": True}, "a function of the model for 'a'"),
        ({"a": (X, Y)}, {"criterion": CE, "higher_is_better": True}, "lower"),
        ({"a": (X, Y)}, {"criterion": CE, "losses": losses_of}, "either a criterion or losses"),
    ],
)
def test_evaluations_that_do_not_fit_are_refused(evaluations, settings, message):
    with pytest.raises(InputError, match=message):
        TaskResults(evaluations, **settings)


def test_the_picture_is_the_matrix():
    results = TaskResults({"a": weight, "b": weight}, higher_is_better=True)
    results.measure(moved(nn.Linear(1, 1, bias=False), 2.0))
    (heat,) = results.matrix.plot().data
    assert np.asarray(heat.z).tolist() == [[2.0, 2.0]]
    assert list(heat.y) == ["a"]
