import math

import pytest
import torch
from torch import nn

import landscope as ls
from known import statistics_of
from landscope.errors import DataUnavailableError, InputError, LandscopeWarning, NonFiniteError, StorageError
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.training import train
from landscope.sampling import MinibatchOrder
from landscope.synthetic import InverseGaussian


def test_selections_that_match_nothing_useful_are_refused():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"The model has: 0\.weight"):
        ls.ParameterSpace.of(model, "2.weight")
    with pytest.raises(InputError, match=r"nothing\.\*"):
        ls.ParameterSpace.of(model, ["0.weight", "nothing.*"])
    model.register_parameter("steps", nn.Parameter(torch.tensor(3), requires_grad=False))
    with pytest.raises(InputError, match=r"steps of torch\.int64"):
        ls.ParameterSpace.of(model, "steps")
    model[1] = model[1].double()
    with pytest.raises(InputError, match="one dtype"):
        ls.ParameterSpace.of(model, "*.weight")


def test_statistics_are_kept_or_re_estimated():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    data = (torch.randn(5, 3), torch.randint(0, 2, (5,)))
    with pytest.raises(InputError, match="batch_norm"):
        ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, batch_norm="new")


def test_a_tied_parameter_must_be_selected_under_all_its_names():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(InputError, match=r"0\.weight without 1\.weight"):
        ls.ParameterSpace.of(model, "0.weight")


def test_another_models_weights_are_refused():
    space = ls.ParameterSpace.of(mlp([4, 3, 2]))
    with pytest.raises(InputError, match=r"\(3, 4\)"):
        space.flatten(mlp([5, 3, 2]))
    with pytest.raises(InputError, match=r"without 0\.weight"):
        space.flatten(nn.Linear(4, 3))
    with pytest.raises(InputError, match="last axis of 18"):
        space.unflatten(torch.zeros(17))


def test_a_recorder_needs_the_optimiser_of_the_model_and_some_steps(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    with pytest.raises(InputError, match="holds none of them"):
        ls.TrajectoryRecorder(model, optimizer)
    for path in (None, tmp_path / "t"):
        with pytest.warns(LandscopeWarning), ls.TrajectoryRecorder(other, optimizer, path=path) as recorder:
            pass
        with pytest.raises(InputError, match="at least one recorded optimiser step"):
            recorder.trajectory()
    with pytest.raises(StorageError, match="an existing file"):
        ls.TrajectoryRecorder(other, optimizer, path=tmp_path / "t")
    with pytest.raises(InputError, match="first_step"):
        ls.TrajectoryRecorder(other, optimizer, path=tmp_path / "t", resume=True)
    with pytest.raises(InputError, match="path="):
        ls.save(ls.Trajectory.of(torch.zeros(3, 2)), tmp_path / "x")
    bigger = nn.Linear(4, 2)
    with pytest.raises(StorageError, match="Choose another path"):
        ls.TrajectoryRecorder(
            bigger,
            torch.optim.SGD(bigger.parameters(), lr=0.1),
            path=tmp_path / "t",
            first_step=1,
            resume=True,
            select="weight",
        )


def test_short_windows_and_empty_windows_are_refused():
    rows = ls.Trajectory.of(torch.randn(5, 3).cumsum(0))
    with pytest.raises(InputError, match="at least 2 steps"):
        ls.principal_modes(rows.window(1, 2))
    with pytest.raises(InputError, match=r"min\(T - 1, N\) = 3"):
        ls.principal_modes(rows, 4)
    with pytest.raises(InputError, match="steps 1 to 5"):
        rows.window(9, 12)
    with pytest.raises(InputError, match="at least 3 rows"):
        ls.surrogates.shuffled_increments(rows.window(1, 3), seed=0)
    with pytest.raises(NonFiniteError, match="recorded weights"):
        ls.principal_modes(ls.Trajectory.of(torch.tensor([[0.0], [math.nan], [1.0]])))
    with pytest.raises(InputError, match="strictly increasing"):
        ls.Trajectory.of(torch.zeros(3, 2), steps=torch.tensor([1, 1, 2]))


def test_a_trajectory_of_another_model_is_refused():
    modes = ls.principal_modes(ls.Trajectory.of(torch.randn(9, 3)))
    with pytest.raises(InputError, match="a trajectory of 3 weights"):
        modes.project_trajectory(ls.Trajectory.of(torch.randn(9, 4)))
    one, other = ls.ParameterSpace(("a",), ((3,),)), ls.ParameterSpace(("b",), ((3,),))
    named = ls.principal_modes(ls.Trajectory.of(torch.randn(9, 3), space=one))
    with pytest.raises(InputError, match=r"one of 3 \(b\)"):
        named.project_trajectory(ls.Trajectory.of(torch.randn(9, 3), space=other))
    with pytest.raises(InputError, match="weights of 3 columns"):
        ls.Trajectory.of(torch.randn(9, 4), space=ls.ParameterSpace(("w",), ((3,),)))


def test_power_laws_need_positive_finite_points():
    x = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="at least 3 points"):
        ls.law.fit_power_law(x[:2], x[:2])
    with pytest.raises(InputError, match="positive y"):
        ls.law.fit_power_law(x, torch.tensor([1.0, 0.0, 2.0]))
    with pytest.raises(NonFiniteError, match="finite y"):
        ls.law.fit_power_law(x, torch.tensor([1.0, math.inf, 2.0]))
    with pytest.raises(InputError, match="one length"):
        ls.law.fit_power_law(x, x[:2])
    with pytest.raises(InputError, match="two abscissae"):
        ls.law.fit_power_law(torch.ones(3), x)


def test_laws_need_a_flatness_for_each_variance():
    found = ls.flatness(InverseGaussian(torch.tensor([1.0, 2.0, 3.0])), torch.zeros(3), torch.eye(3))
    with pytest.raises(InputError, match="at most 2 directions; got 3 for 3 ranks"):
        ls.law.fit_exponents("x", statistics_of(torch.ones(2)), found)
    with pytest.raises(InputError, match="got 3 for 2 ranks"):
        ls.law.fit_exponents("x", statistics_of(torch.ones(3)), found, ranks=torch.tensor([1, 2]))
    with pytest.raises(InputError, match="within 1 to 3"):
        ls.law.fit_exponents("x", statistics_of(torch.ones(3)), found, (5, 9))


def test_a_diverging_training_says_so(digits):
    model = mlp([64, 20, 10], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    epochs = train(model, nn.functional.cross_entropy, digits, optimizer, MinibatchOrder(1500, 50))
    with pytest.raises(NonFiniteError, match="Lower the learning rate"):
        list(zip(range(3), epochs, strict=False))


def test_orders_and_networks_check_their_sizes():
    with pytest.raises(InputError, match="batch_size"):
        MinibatchOrder(10, 11)
    with pytest.raises(InputError, match="one of fixed"):
        MinibatchOrder(10, 5, "random")
    with pytest.raises(InputError, match="at least two sizes"):
        mlp([3])


def test_an_unknown_data_set_without_network_fails_at_once(monkeypatch):
    import time

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(DataUnavailableError, match="no-such/data-set"):
        load_data("no-such/data-set")
    assert time.monotonic() - started < 15


def test_settings_name_the_typo_and_the_value(tmp_path):
    with pytest.raises(InputError, match="Did you mean learning_rate"):
        Settings.of({"learnig_rate": 0.1})
    with pytest.raises(InputError, match="batch_size"):
        Settings.of({"batch_size": 0})
    file = tmp_path / "settings.yaml"
    for text, message in (
        ("data: [", "a YAML file"),
        ("- 3", "list in place of a mapping"),
        ("sampeling: fixed", "Did you mean sampling"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            Settings.from_yaml(file)
    with pytest.raises(InputError, match=r"a YAML file of settings at .*; got none"):
        Settings.from_yaml(tmp_path / "none.yaml")


def test_what_is_no_trajectory_is_named():
    model = nn.Linear(3, 2)
    recorder = ls.TrajectoryRecorder(model, torch.optim.SGD(model.parameters(), lr=0.1))
    modes = ls.principal_modes(ls.Trajectory.of(torch.randn(40, 3)))
    calls = (
        ls.principal_modes,
        ls.directions.principal_variances,
        lambda window: ls.noise.mode_statistics(modes, window),
        lambda window: ls.noise.velocity_statistics(window, modes),
        modes.project_trajectory,
        lambda window: ls.surrogates.shuffled_increments(window, seed=0),
    )
    for call in calls:
        with pytest.raises(InputError, match=r"a Trajectory; got an object of type Tensor. .*Trajectory\.of"):
            call(torch.randn(40, 3))
        with pytest.raises(InputError, match=r"type TrajectoryRecorder. Pass recorder\.trajectory\(\)"):
            call(recorder)
        with pytest.raises(InputError, match=r"type str. .*open_trajectory"):
            call("runs/mine")


def test_what_is_no_directions_is_named():
    window = ls.Trajectory.of(torch.randn(40, 3))
    F = ls.flatness(InverseGaussian(torch.ones(3)), torch.zeros(3), torch.eye(3))
    for call in (
        lambda directions: ls.noise.mode_statistics(directions, window),
        lambda directions: ls.noise.velocity_statistics(window, directions),
        lambda directions: ls.variance_flatness(directions, window, F),
    ):
        for wrong in (torch.eye(3), window):
            with pytest.raises(InputError, match=r"Directions; got \w+\. .*Directions\.of\(tensor\)"):
                call(wrong)
