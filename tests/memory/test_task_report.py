"""The report of a memory: every task after every task, with the line between old and new weights."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory.report.task_history import TaskHistory
from own_model import CE, MSE, X, Y, losses_of, net


def weight(model):
    return model.weight.mean()


def line_memory(value=1.0):
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(value)
    return ls.TaskMemory(model, method="l2", strength=0.0)


def finish(memory, value):
    memory.model.weight.data.fill_(value)
    memory.consolidate(MSE, (torch.ones(2, 1), torch.zeros(2, 1)))


@pytest.fixture
def without_page(monkeypatch):
    """What is measured, without the figures."""
    monkeypatch.setattr("landscope.memory.report.page.write_report", lambda path, *_, **__: path)


FUNCTIONS = {"a": weight, "b": lambda m: 2 * weight(m), "c": lambda m: -weight(m)}


def report(memory, tmp_path, evaluations=FUNCTIONS, *criterion, **settings):
    settings = {"path": tmp_path / "report.html"} | settings
    if not criterion and "losses" not in settings:
        settings = {"higher_is_better": True} | settings
    return memory.report(evaluations, *criterion, **settings)


def test_one_call_at_the_end_measures_before_and_after(tmp_path):
    memory = line_memory()
    finish(memory, 3.0)
    memory.model.weight.data.fill_(1.0)
    found = report(memory, tmp_path, points=3)
    matrix = found.matrix
    assert matrix.values.tolist() == [[3.0, 6.0, -3.0], [1.0, 2.0, -1.0]]
    assert (matrix.average, matrix.forgetting, matrix.backward_transfer) == (1.5, 2.0, -2.0)
    assert (matrix.old_and_new, matrix.n_stored.tolist(), matrix.dim) == ((1.0, 2.0), [memory.n_stored] * 2, 1)
    assert found.line.names == ("a", "b")  # the third task is not learnt yet
    assert found.line.values.tolist() == [[3.0, 6.0], [2.0, 4.0], [1.0, 2.0]]
    assert memory.model.weight.item() == 1.0
    page = found.path.read_text()
    assert 'id="interpolation"' in page
    assert 'id="matrix-0"' in page
    assert str(found).splitlines()[2].split() == ["b", "1", "2", "-1"]


def test_rows_of_several_tasks_come_together_and_what_was_not_measured_is_nan(tmp_path):
    memory = line_memory()
    values = (1.0, 2.0, 3.0)
    finish(memory, values[0])
    finish(memory, values[1])
    memory.model.weight.data.fill_(values[2])
    matrix = report(memory, tmp_path).matrix
    assert np.array_equal(matrix.values[:, 0].numpy(), [np.nan, 2.0, 3.0], equal_nan=True)
    assert "–" in (tmp_path / "report.html").read_text()
    memory = line_memory()
    finish(memory, values[0])
    for value in values[1:]:
        memory.model.weight.data.fill_(value)
        found = report(memory, tmp_path)
        finish(memory, value)
    assert found.matrix.values[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert bool((found.matrix.seconds[:2] > 0).all())
    again = report(memory, tmp_path)  # at the end of the last task
    assert again.line is None
    assert torch.equal(again.matrix.values, found.matrix.values)


def test_a_task_that_is_added_later_leaves_what_was_measured(tmp_path):
    memory, names = line_memory(), list(FUNCTIONS)
    finish(memory, 1.0)
    for count, value in ((2, 2.0), (3, 3.0)):
        memory.model.weight.data.fill_(value)
        found = report(memory, tmp_path, {name: FUNCTIONS[name] for name in names[:count]}, points=2)
        finish(memory, value)
    nan = np.nan  # c was no evaluation when a ended
    expected = [[1.0, 2.0, nan], [2.0, 4.0, -2.0], [3.0, 6.0, -3.0]]
    assert np.array_equal(found.matrix.values.numpy(), expected, equal_nan=True)
    assert str(found).splitlines()[1].split() == ["a", "1", "2", "–"]
    assert "–: not measured at the time" in str(found).splitlines()[-1]
    assert "old=old_state_dict" in str(found)
    assert ">–</td>" in found.path.read_text()
    other = line_memory()
    other.model.weight.data.fill_(3.0)
    other.load_state_dict(memory.state_dict())
    again = report(other, tmp_path, {name: FUNCTIONS[name] for name in ("c", "b", "a")}).matrix
    assert np.array_equal(again.values.numpy(), [row[::-1] for row in expected], equal_nan=True)


@pytest.mark.usefixtures("without_page")
def test_losses_and_accuracies_of_one_task_stay_apart(tmp_path):
    memory = line_memory()
    finish(memory, 3.0)
    lower = {"a": lambda m: -weight(m)}
    for _ in range(2):
        assert report(memory, tmp_path, {"a": weight}).matrix.values.tolist() == [[3.0]]
        assert report(memory, tmp_path, lower, higher_is_better=False).matrix.values.tolist() == [[-3.0]]
        assert report(memory, tmp_path, {"a": (torch.ones(1, 1), torch.zeros(1, 1))}, MSE).matrix.values.item() == 9.0
    memory.model.weight.data.fill_(1.0)
    finish(memory, 1.0)
    found = report(memory, tmp_path, {"a": weight, "b": weight}).matrix.values
    assert np.array_equal(found.numpy(), [[3.0, np.nan], [1.0, 1.0]], equal_nan=True)


def test_the_worst_task_is_named_as_the_report_names_it(tmp_path):
    """The losses w^2 and (w - 3)^2 are 1 and 4 at w = 1; at 1.2, where one step ends, they are 1.44 and 3.24."""
    memory, x = line_memory(1.0), torch.ones(2, 1)
    memory.budget(0.8, absolute=0.0, samples=10)
    memory.consolidate(MSE, (x, 0 * x))
    memory.consolidate(MSE, (x, 3 * x), name="second")
    optimizer = torch.optim.SGD(memory.model.parameters(), lr=0.1)
    with memory.training(optimizer):
        (-2 * memory.model.weight).sum().backward()
        optimizer.step()
    found = report(memory, tmp_path, {"one": weight, "two": lambda m: -weight(m), "new": weight})
    assert found.spent == "loss of one (the worst task) +44 % of +80 % allowed"
    assert f"budget: {found.spent}" in str(found)
    page = found.path.read_text()
    assert found.spent in page
    assert found.matrix.most_forgotten == ("two", pytest.approx(0.2))
    assert "most of two: 0.2; page" in str(found)
    assert "Most forgotten: memory: two, by 0.2." in page


@pytest.mark.usefixtures("without_page")
def test_a_loaded_memory_has_the_rows_and_needs_the_old_weights_for_the_line(tmp_path):
    memory = line_memory()
    finish(memory, 1.0)
    first = report(memory, tmp_path).matrix
    old = copy.deepcopy(memory.model)
    other = line_memory()
    other.load_state_dict(memory.state_dict())
    assert torch.equal(report(other, tmp_path).matrix.values, first.values)  # the end of the task is recognised
    other.model.weight.data.fill_(2.0)
    found = report(other, tmp_path)
    assert found.line is None
    assert torch.equal(found.matrix.values[:1], first.values)
    assert found.matrix.values[1, 0] == 2.0
    assert found.matrix.seconds[0] == first.seconds[0]
    assert report(other, tmp_path, old=old, points=3).line.values[1].tolist() == [1.5, 3.0]


def test_other_trainings_stand_beside_it(tmp_path):
    memories = [line_memory() for _ in range(2)]
    for memory, value in zip(memories, (2.0, 3.0), strict=True):
        finish(memory, 1.0)
        memory.model.weight.data.fill_(value)
    nothing = report(memories[0], tmp_path).matrix
    page = report(memories[1], tmp_path, others={"nothing": nothing}).path.read_text()
    assert "<td>nothing</td>" in page
    assert "<td>memory</td>" in page


@pytest.mark.usefixtures("without_page")
def test_data_are_measured_by_their_mean_loss(tmp_path):
    model = net()
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    expected = CE(model(X), Y).item(), CE(model(X[:5]), Y[:5]).item()
    data = {"all": (X, Y), "some": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X[:5], Y[:5]), 2)}
    found = report(memory, tmp_path, data, CE).matrix
    assert found.values[0].tolist() == pytest.approx(expected, rel=1e-6)  # float32 sums of 12 terms
    assert not found.higher_is_better
    as_losses = report(memory, tmp_path, {"all": (X, Y)}, losses=losses_of).matrix
    assert as_losses.values.item() == pytest.approx(expected[0], rel=1e-6)


@pytest.mark.usefixtures("without_page")
def test_a_model_with_frozen_and_tied_weights_is_measured(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = (nn.Linear(3, 3, bias=False) for _ in range(3))
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.last(self.second(torch.tanh(self.first(x))))

    model, x = Tied(), torch.randn(4, 3)
    model.first.weight.requires_grad_(False)
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(MSE, (x, x))
    with torch.no_grad():
        before = MSE(model(x), x).item()
        model.last.weight.add_(1.0)
        after = MSE(model(x), x).item()
    found = report(memory, tmp_path, {"a": (x, x), "b": (x, x)}, MSE).matrix
    assert found.values[:, 0].tolist() == pytest.approx([before, after], rel=1e-6)


@pytest.mark.usefixtures("without_page")
def test_the_model_and_the_random_state_stay_as_they_are(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3)).train()
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    model[0].weight.data.add_(1.0)
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
    report(memory, tmp_path, {"a": spoils, "b": lambda m: seen.append(m.training) or 1.0}, points=2)
    assert set(seen) == {False}
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert bool((model[0].weight.grad == 1).all())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002


@pytest.mark.usefixtures("without_page")
def test_a_changed_head_leaves_the_end_unmeasured(tmp_path):
    model = net()
    memory = ls.TaskMemory(model, "0.*", method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    model[2] = nn.Linear(5, 4)
    found = report(memory, tmp_path, {"a": (X, Y), "b": (X, Y)}, CE)
    assert found.line is None
    assert bool(found.matrix.values[0].isnan().all())
    assert bool(found.matrix.values[1].isfinite().all())


def with_compiled_layer(model):
    model[0] = torch.compile(model[0], backend="eager")
    return model


WRAPPERS = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "data parallel": nn.DataParallel,
    "a compiled layer": with_compiled_layer,
}


@pytest.mark.usefixtures("without_page")
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapped_model_has_the_report_of_the_inner_one(name, tmp_path):
    rows = []
    for wrap in (lambda model: model, WRAPPERS[name]):
        torch.manual_seed(0)
        model = wrap(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)))
        memory = ls.TaskMemory(model, method="l2", strength=0.0)
        memory.consolidate(CE, (X, Y))
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.3 * torch.randn(weight.shape))
        found = report(memory, tmp_path, {"a": (X, Y), "b": (X[:7], Y[:7])}, CE, points=3)
        rows.append((found.matrix.values.tolist(), found.line.values.tolist()))
    assert rows[0] == rows[1]
    assert rows[0][0][0] != rows[0][0][1]


def test_a_state_of_a_wrapped_model_is_recognised_by_the_inner_one(tmp_path):
    model = nn.Linear(4, 3)
    memory = ls.TaskMemory(torch.compile(model, backend="eager"), method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    other = ls.TaskMemory(model, method="l2", strength=0.0)
    other.load_state_dict(memory.state_dict())
    with pytest.raises(InputError, match="count twice"):
        other.consolidate(CE, (X, Y))


@pytest.mark.usefixtures("without_page")
def test_weights_that_were_frozen_at_the_end_leave_it_unmeasured(tmp_path):
    model = net()
    model[0].requires_grad_(False)
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(CE, (X, Y))
    model.requires_grad_(True)
    model[0].weight.data.add_(1.0)
    found = report(memory, tmp_path, {"a": (X, Y), "b": (X, Y)}, CE)
    assert found.line is None  # the old weights of this layer are not known
    assert bool(found.matrix.values[0].isnan().all())


@pytest.mark.usefixtures("without_page")
def test_tasks_that_end_at_the_same_weights_share_what_is_measured_there(tmp_path):
    memory = line_memory(3.0)
    finish(memory, 3.0)
    memory.consolidate(MSE, (torch.ones(2, 1), torch.ones(2, 1)), name="other data")
    memory.model.weight.data.fill_(1.0)
    found = report(memory, tmp_path).matrix
    assert found.values.tolist() == [[3.0, 6.0, -3.0], [3.0, 6.0, -3.0], [1.0, 2.0, -1.0]]
    assert found.forgetting == ((3 - 1) + (6 - 2)) / 2
    assert found.most_forgotten == ("b", 4.0)
    again = line_memory(1.0)
    again.load_state_dict(memory.state_dict())
    assert torch.equal(report(again, tmp_path).matrix.values, found.values)


@pytest.mark.usefixtures("without_page")
def test_what_is_measured_in_the_middle_of_a_task_is_not_its_end(tmp_path):
    memory = line_memory()
    finish(memory, 4.0)
    memory.model.weight.data.fill_(3.0)
    assert report(memory, tmp_path).matrix.values[:, 0].tolist() == [4.0, 3.0]
    finish(memory, 2.0)
    memory.model.weight.data.fill_(1.0)
    assert report(memory, tmp_path).matrix.values[:, 0].tolist() == [4.0, 2.0, 1.0]
    finish(memory, 1.0)
    assert {len(states) for states in memory._tasks.history.state()["measured"].values()} == {3}


@pytest.mark.usefixtures("without_page")
def test_another_criterion_is_another_measure(tmp_path):
    memory, data = line_memory(), {"a": (torch.ones(2, 1), torch.zeros(2, 1))}
    data["b"] = data["a"]
    finish(memory, 3.0)
    report(memory, tmp_path, data, MSE)
    finish(memory, 2.0)
    memory.model.weight.data.fill_(1.0)
    found = report(memory, tmp_path, {**data, "c": data["a"]}, nn.L1Loss()).matrix.values[:, 0]
    assert np.array_equal(found.numpy(), [np.nan, 2.0, 1.0], equal_nan=True)
    found = report(memory, tmp_path, {**data, "c": data["a"]}, MSE).matrix.values[:, 0]
    assert found.tolist() == [9.0, 4.0, 1.0]


def test_what_cannot_be_reported_is_refused(tmp_path):
    memory = line_memory()
    with pytest.raises(InputError, match="a finished task"):
        report(memory, tmp_path)
    finish(memory, 1.0)
    memory.model.weight.data.fill_(2.0)
    with pytest.raises(InputError, match="each of the 2 tasks"):
        report(memory, tmp_path, {"a": weight})
    with pytest.raises(InputError, match="gives one number"):
        report(memory, tmp_path, {"a": lambda m: m.weight.repeat(2, 1), "b": weight})


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
def test_evaluations_that_do_not_fit_are_refused(evaluations, settings, message, tmp_path):
    memory = line_memory()
    finish(memory, 1.0)
    with pytest.raises(InputError, match=message):
        memory.report(evaluations, path=tmp_path / "r.html", **settings)


@pytest.mark.usefixtures("without_page")
def test_the_picture_is_the_matrix(tmp_path):
    memory = line_memory()
    finish(memory, 2.0)
    (heat,) = report(memory, tmp_path).matrix.plot().data
    assert np.asarray(heat.z).tolist() == [[2.0, 4.0, -2.0]]
    assert list(heat.y) == ["a"]


def test_a_checkpoint_in_a_training_has_its_time(monkeypatch):
    clock = iter([10.0, 13.0, 20.0])
    monkeypatch.setattr("landscope.memory.report.task_history.time.perf_counter", lambda: next(clock))
    history = TaskHistory()
    with history.timed():
        assert history.state()["seconds"] == [3.0]
    assert history.state()["seconds"] == [10.0]
