"""Tasks one after another: what is frozen, learnt, kept, compared, and refused."""

import copy
import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
import torch
from landscope.study.measured import judged
from torch import nn

import landscope as ls
from landscope.cli import main
from landscope.errors import InputError, StorageError
from landscope.memory.accumulate import accumulate
from landscope.reproduction.experiment.networks import mlp, mnist_cnn
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.fig4_claims import (
    Protocol,
    capacity_measurements,
    in_turn_measurements,
    keeping_measurements,
    psi_measurements,
    wider_measurements,
)
from landscope.reproduction.sequential.ablations import COMPARED, PSI_METHODS, LeadingFisher
from landscope.reproduction.sequential.comparison import errors_of, tuned
from landscope.reproduction.sequential.course import Course
from landscope.reproduction.sequential.courses import begin_course
from landscope.reproduction.sequential.frozen_prefix import FreeLayers
from landscope.reproduction.sequential.learning import Learner
from landscope.reproduction.sequential.sequence import learn_in_turn
from landscope.reproduction.sequential.task_data import class_tasks, joined_tasks
from landscope.reproduction.sequential.two_tasks import Forgetting, Trial, measure_forgetting
from landscope.study.folder import RunFolder

GROUPS = ((0, 1), (2, 3))


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(6, 8, generator=generator)
    labels = torch.arange(6).repeat(40)
    return centres[labels] + 0.3 * torch.randn(240, 8, generator=generator), labels


def course(data, groups=GROUPS, seed=0):
    """A network that learnt all classes, its hidden weights made anew."""
    tasks, learner = class_tasks(data, data, groups), Learner(batch_size=10)
    model = mlp([8, 12, 12, 6], seed=seed)
    learner.until_learnt(model, data, seed=seed, max_epochs=20)
    with torch.no_grad():
        model[2].weight.copy_(mlp([8, 12, 12, 6], seed=seed + 50)[2].weight)
    begun = Course.begin(model, "2.weight", tasks, learner, seed)
    begun.window_steps, begun.window_epochs = 60, 2
    return begun


def test_tasks_hold_the_samples_of_their_classes_and_nothing_else(data):
    first, second = class_tasks(data, data, GROUPS)
    assert first.train[1].unique().tolist() == [0, 1]
    assert torch.equal(first.train[0], data[0][(data[1] == 0) | (data[1] == 1)])
    both = joined_tasks([first, second])
    assert len(both.test[1]) == len(first.test[1]) + len(second.test[1])


@pytest.mark.parametrize(("model", "select", "shape"), [
    (lambda: mlp([16, 5, 4, 3], bias=True), "2.*", (16,)), (lambda: mnist_cnn((1, 4, 4), 3), "3.weight", (1, 4, 4)),
    (lambda: mlp([16, 5, 3]), None, (16,)),
])  # fmt: skip
def test_the_free_part_on_features_is_the_network(model, select, shape):
    network = model()
    x = torch.randn(7, *shape)
    before = network(x)
    free = FreeLayers(network, select, probe=x[:2])
    assert torch.equal(free.part(free.features(x)), before)
    names = ls.ParameterSpace.of(free.part).names
    assert {name for name, p in network.named_parameters() if p.requires_grad} == set(names)
    with torch.no_grad():
        dict(free.part.named_parameters())[names[0]].add_(1.0)
    assert torch.allclose(free.part(free.features(x)), network(x), atol=1e-6), "one and the same weights"


class Dropping(nn.Module):
    """Drops hidden units by a function, which tracing takes as it finds it."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 12), nn.Linear(12, 12), nn.Linear(12, 6)

    def forward(self, x):
        x = nn.functional.dropout(torch.relu(self.first(x)), 0.5, self.training)
        return self.last(torch.relu(self.second(x)))


def test_what_tracing_would_change_is_left_whole():
    network = Dropping().train()
    x = torch.randn(5, 8)
    free = FreeLayers(network, "second.*", probe=x)
    assert free.part is network
    assert torch.equal(free.features(x), x)


def test_frozen_batch_normalisation_keeps_its_statistics_and_free_one_is_put_back(data):
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12), nn.BatchNorm1d(12),
                             nn.ReLU(), nn.Linear(12, 6))  # fmt: skip

    tasks, learner = class_tasks(data, data, GROUPS), Learner(batch_size=10)
    for select, same in (("3.weight", True), (["3.weight", "4.*"], False)):
        model = network()
        learner.until_learnt(model, data, seed=0, max_epochs=5)
        before = copy.deepcopy(model.state_dict())
        begun = Course.begin(model, select, tasks, learner, 0)
        start, errors = begun.weights, begun.errors()
        begun.learn(1, [40])
        assert torch.equal(begun.weights, start)
        assert torch.equal(begun.errors(), errors), "each trial starts from one network"
        learner.watched(begun.part, begun.tasks[1].train, tasks=begun.tasks, seed=0, watch=[40])
        kept = all(torch.equal(model.state_dict()[name], before[name]) for name in before if "running" in name)
        assert kept is same


def test_learning_puts_the_weights_back_and_depends_on_nothing_but_its_seed(data):
    begun = course(data)
    task = begun.finish(0)
    before = begun.weights
    first, _ = begun.learn(1, [1, 5, 30])
    again, _ = begun.learn(1, [1, 5, 30])
    assert torch.equal(begun.weights, before)
    assert torch.equal(before, task.w1)
    assert first.steps == (0, 1, 5, 30)
    assert torch.equal(first.errors, again.errors)
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.weights[0], before)


def test_watching_with_a_penalty_is_plain_descent_and_an_implicit_step(data):
    begun = course(data)
    task = begun.finish(0)
    penalty = COMPARED["ldc-floor"].penalty(task, 5)
    watched, _ = begun.learn(1, [3], penalty)
    twin = copy.deepcopy(begun.part)
    parameter = dict(twin.named_parameters())["2.weight"]
    inputs, labels = begun.tasks[1].train
    order = ls.MinibatchOrder(len(labels), 10, "reshuffled", begun._order(1))
    for batch in order.epoch(0)[:3]:
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(twin(inputs[batch]), labels[batch]), parameter)
        with torch.no_grad():
            parameter.sub_(0.1 * slope)
            parameter.copy_(penalty.proximal_step(parameter.flatten(), 0.1).view(12, 12))
    assert torch.allclose(watched.weights[-1], parameter.detach().flatten(), atol=1e-6)


def test_every_method_makes_a_penalty_that_rests_at_the_end_of_its_task(data):
    task = course(data).finish(0)
    w = task.w1 + 0.1 * torch.randn(144, generator=torch.Generator().manual_seed(0))
    for name, method in COMPARED.items():
        penalty = method.penalty(task, 4)
        assert float(penalty(task.w1)) == pytest.approx(0, abs=1e-10), name
        assert float(penalty(w)) > 0, name
        assert float(penalty.with_strength(3.0)(w)) == pytest.approx(3 * float(penalty(w)), rel=1e-5), name


def test_the_leading_fisher_directions_are_eigenvectors(data):
    task = course(data).finish(0)
    penalty = LeadingFisher().penalty(task, 3)
    fisher, values = task.risk.fisher_information(), 2 * penalty.stiffness.double()
    for direction, value in zip(penalty.directions, values, strict=True):
        product = fisher.product(task.w1, direction.to(task.w1))
        assert torch.allclose(product.double(), value * direction.double(), atol=1e-3 * float(values[0]))


TRIALS = [Trial("none", moved=True), Trial("joint")] + [
    Trial(method, strength, count, moved=(method, strength, count) == ("ldc-no-floor", 10.0, 4))
    for method, counts in (("ldc-no-floor", (2, 4)), ("ldc-floor", (4,)), ("random", (4,)), ("l2", (0,)),
                           ("ewc", (0, 10)),
                           ("ewc-empirical", (0,)), ("kfac", (0,)))
    for count in counts
    for strength in (1.0, 10.0)
] + [Trial(method.key, 10.0, 4) for method in PSI_METHODS.values()]  # fmt: skip


@pytest.fixture(scope="module")
def found(data):
    return [measure_forgetting(course(data, seed=seed), TRIALS, [5, 20, 60]) for seed in range(3)]


def test_all_trials_start_from_one_first_task_and_are_found_again(found, tmp_path):
    one = found[0]
    assert one.error.shape == (len(TRIALS), 4, 2)
    assert bool((one.error[:, 0] == one.error[0, 0]).all())
    assert one.tasks == ("0,1", "2,3")
    row = one.trials_of("ldc-no-floor", 4)[1]
    assert torch.equal(errors_of(one, "ldc-no-floor", 10.0, 4, 20), one.error[row, 2])
    held = int((~torch.isnan(one.flatness)).sum())  # modes without a flatness within reach are left out
    assert int(one.n_stored[row]) == (held + 1) * one.dim + held
    assert float(one.build_seconds[row]) > 0
    loaded = ls.load(ls.save(one, tmp_path / "forgetting.zarr.zip"))
    assert torch.equal(loaded.error, one.error)
    assert tuple(loaded.method) == one.method
    with pytest.raises(InputError, match="a trial that was made"):
        errors_of(one, "ldc-no-floor", 7.0, 4, 20)


def test_displacements_are_distances_along_the_modes(data, found):
    begun = course(data)
    task = begun.finish(0)
    watched, _ = begun.learn(1, [5, 20, 60])
    moved = (watched.weights - task.w1).double() @ task.modes.directions.T
    expected = moved.abs()[:, : found[0].displacement.shape[2]]
    assert torch.allclose(found[0].displacement[0], expected, atol=1e-5)


def test_strengths_are_chosen_on_other_seeds_than_those_reported(found):
    best = tuned("ldc-no-floor", 4, 60, found[:2], found[2:])
    by_hand = {s: float(errors_of(found[2], "ldc-no-floor", s, 4, 60).sum()) for s in (1.0, 10.0)}
    assert best.strength == min(by_hand, key=by_hand.get)
    assert best.at_edge
    assert best.errors.shape == (2, 2)
    assert math.isnan(tuned("none", 0, 60, found[:2], found[2:]).strength)


def edited(found, method, change):
    """The same results with other errors of a method."""
    out = []
    for one in found:
        error = one.error.clone()
        for number, name in enumerate(one.method):
            if name == method:
                error[number] = change
        out.append(dataclasses.replace(one, error=error))
    return out


def verdicts(found, measure=keeping_measurements):
    own = Protocol("P", found[:2], found[2:], 4, (5, 20, 60))
    return {j.claim.key: j.verdict for j in judged(measure(own))}


def test_claims_on_keeping_can_come_out_either_way(found):
    good = found
    for method, error in (
        ("none", 0.9),
        ("ldc-no-floor", 0.01),
        ("random", 0.8),
        ("ewc", 0.2),
        ("kfac", 0.1),
        ("l2", 0.3),
    ):
        good = edited(good, method, error)
    got = verdicts(good)
    assert got["forgetting"] == "reproduced"
    assert got["constraint_keeps"] == "reproduced"
    assert got["constraint_lasts"] == "reproduced"
    assert got["better_than_ewc"] == "reproduced"
    bad = edited(edited(edited(good, "none", 0.0), "ldc-no-floor", 0.5), "ewc", 0.1)
    got = verdicts(bad)
    assert got["forgetting"] == "not reproduced"
    assert got["constraint_keeps"] == "not reproduced"
    assert got["better_than_ewc"] == "not reproduced"
    as_good = edited(good, "random", 0.01)
    assert verdicts(as_good)["constraint_keeps"] == "contested"


def test_claims_on_exponents_larger_tasks_and_one_run_can_come_out_either_way(data, found):
    assert verdicts(edited(found, PSI_METHODS[3].key, 0.9), psi_measurements)["any_psi"] == "not reproduced"
    same = found
    for psi in (3, 4, 5):
        same = edited(same, PSI_METHODS[psi].key, 0.1)
    assert verdicts(same, psi_measurements)["any_psi"] == "reproduced"
    better, worse = (
        edited(edited(found, "ldc-no-floor", 0.0), "ewc", 0.4),
        edited(edited(found, "ldc-no-floor", 0.4), "ewc", 0.0),
    )
    pairs = [Protocol(name, one[:2], one[2:], 4, (5, 20, 60)) for name, one in (("a", better), ("b", worse))]
    assert [j.verdict for j in judged(wider_measurements(pairs[:1]))] == ["reproduced"]
    assert [j.verdict for j in judged(wider_measurements(pairs))] == ["not reproduced"]
    run = learn_in_turn(course(data), "none")
    for error, verdict in ((0.9, "reproduced"), (0.0, "not reproduced")):
        seen = {"watched_task": torch.tensor([0, 1, 1]), "watched_step": torch.tensor([9, 5, 12])}
        seen["watched_error"] = torch.tensor([[0.0, 1.0], [0.5, 0.5], [error, 0.0]]).double()
        assert [j.verdict for j in judged(in_turn_measurements([dataclasses.replace(run, **seen)], 10))] == [verdict]


class Held(Protocol):
    """Two seeds whose errors are small from a number of modes on."""

    def __init__(self, fewest, moving):
        object.__setattr__(self, "reported", [SimpleNamespace(n_moving=moving)] * 2)
        object.__setattr__(self, "errors", {fewest // 2: 0.5, fewest: 0.01, moving: 0.01})

    def error_by_count(self, method):
        return [self.errors] * 2


@pytest.mark.parametrize(("few", "many", "expected"), [
    ((20, 100), (60, 100), "reproduced"),
    ((20, 100), (60, 300), "contested"),  # three times as many modes moved, and the same share of them is held
    ((20, 100), (20, 300), "not reproduced"),
])  # fmt: skip
def test_more_modes_remember_more_unless_there_are_as_many_more(few, many, expected):
    found = {(50, 2): Held(*few), (50, 5): Held(*many), (20, 2): Held(10, 20)}
    assert [j.verdict for j in judged(capacity_measurements(found))] == [expected]


def test_metrics_in_turn_are_those_of_the_field(data):
    run = learn_in_turn(course(data, ((0, 1), (2, 3), (4, 5))), "none", epochs=1)
    error = torch.tensor([[0.1, 0.9, 0.9], [0.5, 0.2, 0.9], [0.4, 0.6, 0.0]]).double()
    run = dataclasses.replace(run, error=error, tasks=("a", "b", "c"))
    assert run.average_error == pytest.approx(1 / 3)
    assert run.forgetting == pytest.approx(((0.4 - 0.1) + (0.6 - 0.2)) / 2)
    assert run.backward_transfer == pytest.approx(((0.1 - 0.4) + (0.2 - 0.6)) / 2)


@pytest.mark.parametrize("method", ["none", "ldc-floor", "ewc", "kfac", "l2", "joint"])
def test_three_tasks_in_a_row(data, method):
    begun = course(data, ((0, 1), (2, 3), (4, 5)))
    looks = []
    run = learn_in_turn(begun, method, strength=4.0, n_modes=5, rank=6, epochs=10, watch_every=20,
                        told=lambda *look: looks.append(look))  # fmt: skip
    assert run.error.shape == (3, 3)
    assert torch.equal(run.error[-1], begun.errors())
    assert len(run.watched_step) == len(looks) > 3
    if method == "ldc-floor":
        assert run.n_stored.tolist()[1] <= 7 * run.dim + 6
    if method == "ewc":
        assert run.n_stored.tolist()[0] == 2 * run.dim
        finished = course(data).finish(0)
        assert int((COMPARED["ewc"].penalty(finished, 0).stiffness > 0).sum()) > run.dim / 2
    if method == "joint":
        assert run.average_error < 0.1
    lost = learn_in_turn(course(data, ((0, 1), (2, 3), (4, 5))), "none", epochs=10)
    if method == "ldc-floor":
        assert run.error[-1, 0] < lost.error[-1, 0] - 0.3


def test_penalties_of_different_kinds_are_added_up(data):
    task = course(data).finish(0)
    low, diagonal, layer = (COMPARED[name].penalty(task, 4) for name in ("ldc-no-floor", "ewc", "kfac"))
    w = task.w1 + 0.1
    for first, second in ((low, low), (low, diagonal), (diagonal, diagonal), (layer, low), (layer, layer)):
        both = accumulate(first, second)
        assert float(both(w)) == pytest.approx(float(first(w) + second(w)), rel=1e-5)
    assert isinstance(accumulate(low, low), ls.penalties.QuadraticPenalty)


def test_pretraining_freezes_what_it_learnt_and_starts_the_rest_anew():
    settings = Settings(train_samples=300)
    begun = begin_course(settings, GROUPS, "tasks")
    assert begun.tasks[0].train[0].shape[1] == 50
    fresh = mlp([64, 50, 50, 10], seed=10_000)
    assert torch.equal(begun.weights, fresh[2].weight.flatten().detach())
    assert ls.ParameterSpace.of(begun.part).names == ("2.weight",)
    whole = begin_course(settings, GROUPS, "none")
    assert len(ls.ParameterSpace.of(whole.part).names) == 3


@pytest.mark.parametrize(("groups", "says"), [
    (((0, 1), (1, 2)), "each class in one"), (((0,), (9,)), "0, 1, 2, 3, 4, 5"), ((), "groups of classes"),
    (((0, 1), ()), "groups of classes"),
])  # fmt: skip
def test_groups_that_make_no_tasks_are_refused(data, groups, says):
    with pytest.raises(InputError, match=says):
        class_tasks(data, data, groups)


@pytest.fixture
def forget(capsys, tmp_path):
    """``landscope forget`` in this process: exit status, what it prints, what it says on errors."""

    def command(*words, folder=tmp_path / "forget"):
        with pytest.raises(SystemExit) as stopped:
            main(["forget", "--train-samples", "200", "--out", str(folder), *words])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return command


def test_the_command_shows_keeps_and_adds(forget, tmp_path):
    folder = tmp_path / "forget"
    code, out, err = forget("--json", "--methods", "l2:0.1")
    assert code == 0, err
    none, held = json.loads(out)["found"]
    assert (none["method"], none["strength"], held["name"]) == ("none", None, "distance from w1, λ = 0.1")
    assert held["average_error"] == pytest.approx(sum(held["errors"][-1]) / 2)
    assert held["numbers_stored"][-1] == held["weights"] == 2500
    assert len(held["minibatches"]) == 2
    page = (folder / "report.html").read_text()
    assert "Kept by: distance from w1" in page
    assert "http" not in page.split("</script>")[-1]
    before = (folder / "in-turn-none.zarr.zip").stat().st_mtime_ns
    code, out, err = forget("--methods", "ldc-floor")
    assert code == 0, err
    assert "Errors after the last task" in out
    page = (folder / "report.html").read_text()
    assert "Kept by: distance from w1" in page
    assert "Kept by: LDC with floor, λ = 4, 200 modes a task" in page
    assert "Classes 0,1; then 2,3; all layers trained before on all classes; each until no training error, at" in page
    assert {path.name for path in folder.glob("in-turn-*")} == {
        "in-turn-none.zarr.zip", "in-turn-l2-0.1-0.zarr.zip", "in-turn-ldc-floor-4-200.zarr.zip",
    }  # fmt: skip
    assert (folder / "in-turn-none.zarr.zip").stat().st_mtime_ns == before
    for words in (["--tasks", "4,5;6,7"], ["--max-epochs", "3"]):
        code, _, err = forget(*words)
        assert code == 1
        assert "[[0, 1], [2, 3]]" in err


@pytest.mark.parametrize(("words", "says"), [
    (["--tasks", "0,1"], "two tasks or more"), (["--tasks", "a;b"], "classes as whole numbers"),
    (["--methods", "hessian"], "a strength for hessian"), (["--tasks", "0,1;1,2"], "each class in one"),
    (["--methods", "magic"], "magic"), (["--data", "modular-addition"], "images"),
    (["--methods", "ewc:much"], "ewc:strength"), (["--methods", "ewc:-1"], "above 0"),
    (["--momentum", "0.9"], "--momentum"), (["--methods", "joint:3"], "joint:3"),
    (["--loss", "mse", "--methods", "kfac:10"], "cross-entropy"), (["--n-modes", "0"], "n_modes"),
])  # fmt: skip
def test_the_command_refuses_what_makes_no_sense(forget, words, says):
    code, _, err = forget(*words)
    assert code == 2, err
    assert says in err
    assert "Traceback" not in err


def test_how_long_tasks_are_learnt_is_chosen(forget, tmp_path):
    code, out, err = forget("--json", "--methods", "l2:0.1", "--max-epochs", "1", "--window-epochs", "600")
    assert code == 0, err
    for found in json.loads(out)["found"]:
        assert found["minibatches"] == [601, 601]  # each task has fewer samples than one minibatch
    assert "at most 1 epochs, and 600 to look back on" in (tmp_path / "forget" / "report.html").read_text()


def test_a_refused_command_binds_nobody(forget):
    assert forget("--tasks", "0,1;1,2")[0] == 2
    assert forget("--tasks", "0,1;77,2")[0] == 2
    assert forget("--methods", "joint")[0] == 0


def test_settings_that_tasks_do_not_take_are_refused_from_a_file_too(forget, tmp_path):
    (tmp_path / "my.yaml").write_text("momentum: 0.9\n")
    code, _, err = forget("--config", str(tmp_path / "my.yaml"))
    assert (code, "momentum" in err) == (2, True)


def test_a_folder_of_tasks_is_no_folder_of_a_run(forget, capsys, tmp_path):
    folder = tmp_path / "forget"
    assert forget("--methods", "joint")[0] == 0
    page = (folder / "report.html").read_text()
    for words in (
        ["report", str(folder)],
        ["claims", str(folder)],
        ["run", "--train-samples", "200", "--out", str(folder)],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 1
        assert "one of landscope forget" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == page
    RunFolder.create(tmp_path / "run", Settings(train_samples=200))
    code, _, err = forget(folder=tmp_path / "run")
    assert (code, "one of landscope run" in err) == (1, True)


def test_fewer_modes_than_were_asked_for_are_said(data):
    run = learn_in_turn(course(data), "ldc-floor", strength=4.0, n_modes=2000, epochs=10)
    assert run.n_held[0] < 2000
    assert run.label == f"LDC with floor, λ = 4, 2000 modes a task ({run.n_held[0]} held)"
    assert run.n_steps.min() > 0


def test_a_folder_of_something_else_is_left_alone(forget, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, _ = forget(folder=tmp_path)
    assert code == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_results_of_another_version_are_told(tmp_path):
    with pytest.raises(StorageError):
        ls.load(tmp_path / "missing.zarr.zip", Forgetting)


def test_methods_without_modes_are_done_once_whatever_number_is_asked_for(forget, tmp_path):
    assert forget("--methods", "l2:0.1")[0] == 0
    assert forget("--methods", "l2:0.1", "--n-modes", "30")[0] == 0
    assert len(list((tmp_path / "forget").glob("in-turn-l2*"))) == 1


@pytest.mark.parametrize("content", ["{", None])
def test_results_whose_tasks_are_not_known_any_more_get_no_company(forget, tmp_path, content):
    assert forget("--methods", "joint")[0] == 0
    note = tmp_path / "forget" / "forget.json"
    note.unlink() if content is None else note.write_text(content)
    code, _, err = forget("--methods", "l2:0.1")
    assert code == 1
    assert "forget.json" in err
    assert "Traceback" not in err
