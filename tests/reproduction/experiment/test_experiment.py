"""From settings to data, networks and optimisers."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.experiment import Experiment, squared_distance
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings


def experiment(**settings):
    return Experiment(Settings.of(settings))


def test_label_noise_replaces_its_share_by_other_classes():
    clean, noisy = experiment().train_data[1], experiment(label_noise=0.1, seed=3).train_data[1]
    changed = clean != noisy
    assert int(changed.sum()) == 150  # 10 % of 1,500, none of them replaced by itself
    assert torch.equal(noisy, experiment(label_noise=0.1, seed=4).train_data[1])  # as the data are
    assert torch.equal(experiment(label_noise=0.1).test_data[1], experiment().test_data[1])
    assert int(noisy.min()) >= 0
    assert int(noisy.max()) <= 9


def test_a_subset_is_the_same_in_every_run():
    few, same = experiment(train_samples=80, seed=0), experiment(train_samples=80, seed=9)
    assert torch.equal(few.train_data[0], same.train_data[0])
    assert few.order.n_samples == 80
    with pytest.raises(InputError, match="at most 1500"):
        _ = experiment(train_samples=1501).train_data


def test_the_landscape_can_be_of_fewer_samples():
    part = experiment(flatness_samples=100)
    assert len(part.landscape_data[1]) == 100
    model = part.network()
    expected = nn.functional.cross_entropy(model(part.train_data[0][:100]), part.train_data[1][:100])
    assert float(part.risk(model)(ls.ParameterSpace.of(model, "2.weight").flatten(model))) == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_equal_norms():
    """Each matrix has the norm that U(-1/sqrt(n), 1/sqrt(n)) has on average: rows/3, squared."""
    for seed in (0, 1):
        for tensor in experiment(equal_norm=True, seed=seed, hidden=(30, 40)).network().parameters():
            assert tensor.square().sum().item() == pytest.approx(len(tensor) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "kind", "group"),
    [
        ({}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.0, "nesterov": False}),
        ({"momentum": 0.9, "nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "adam", "learning_rate": 0.002}, torch.optim.Adam, {"lr": 0.002}),
    ],
)
def test_optimisers(settings, kind, group):
    made = experiment(**settings)
    optimizer = made.optimizer(made.network())
    assert type(optimizer) is kind
    assert group.items() <= optimizer.param_groups[0].items()


@pytest.mark.parametrize("settings", [{"nesterov": True}, {"optimizer": "adam", "momentum": 0.9}])
def test_what_does_not_go_together_is_refused(settings):
    with pytest.raises(InputError, match="momentum"):
        Settings.of(settings)


def test_squared_distance():
    outputs, labels = torch.randn(7, 4), torch.randint(0, 4, (7,))
    expected = [
        sum((float(o[j]) - (j == z)) ** 2 for j in range(4)) for o, z in zip(outputs, labels.tolist(), strict=True)
    ]
    assert squared_distance(outputs, labels).tolist() == pytest.approx(expected, rel=1e-5)
    made = experiment(loss="mse")
    model = made.network()
    risk = made.risk(model)
    mean = squared_distance(model(made.train_data[0]), made.train_data[1]).mean()
    assert float(risk(risk.w0)) == pytest.approx(mean.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "shape", "names"),
    [
        ({"network": "mnist-cnn"}, (1, 8, 8), "3.weight"),
        ({"network": "cifar-cnn"}, (1, 16, 16), "9.weight"),  # digits, twice as large
        ({"network": "residual"}, (1, 8, 8), "stages.0.conv1.weight"),
        ({"data": "modular-addition", "network": "gpt2"}, (3,), "transformer.h.0.mlp.c_fc.weight"),
    ],
)
def test_networks_fit_their_data(settings, shape, names):
    made = experiment(**settings)
    inputs, labels = made.train_data
    assert tuple(inputs.shape[1:]) == shape
    outputs = made.network()(inputs[:3])
    assert outputs.shape == (3, int(labels.max()) + 1)
    assert ls.ParameterSpace.of(made.network(), made.selection).names == (names,)


@pytest.mark.parametrize(
    "settings", [{"network": "gpt2"}, {"data": "modular-addition"}, {"data": "modular-addition", "network": "residual"}]
)
def test_images_and_sequences_need_their_networks(settings):
    with pytest.raises(InputError, match="sequences of tokens for gpt2"):
        experiment(**settings).network()


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(InputError, match="device that torch can use"):
        experiment(device="cuda:77").network()


def test_rows_must_end_where_windows_end(tmp_path):
    run = ExperimentRun.create(tmp_path / "run", Settings.of({"record_every": 7}))
    with pytest.raises(InputError, match="divide the 30 steps"):
        run.analyse(QuietReporter(), until="train")


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam", "learning_rate": 0.01},
        {"momentum": 0.5, "nesterov": True},
        {"loss": "mse"},
        {"record_every": 3},
    ],
)
def test_runs_of_every_kind_reach_the_law(tmp_path, settings):
    small = {
        "hidden": [8, 8],
        "start": 3,
        "window_epochs": 4,
        "fit_modes": [2, 20],
        "flatness_modes": 20,
        "n_nulls": 1,
        "n_processes": 1,
        "curvature_modes": 5,
    }
    run = ExperimentRun.create(tmp_path / "run", Settings.of({**small, **settings}))
    run.analyse(QuietReporter())
    summary = run.results.summary()
    assert summary["n_used"] >= 15  # of 19; some may have no flatness within reach
    assert summary["window_rows"] == 120 // settings.get("record_every", 1)
    assert run.has("preconditioner") == (settings.get("optimizer") == "adam")


def test_a_run_starts_from_a_checkpoint(tmp_path):
    small = {"hidden": [8, 8], "start": 1, "window_epochs": 2}
    first = ExperimentRun.create(tmp_path / "first", Settings.of(small))
    first.analyse(QuietReporter(), until="train")
    saved = first.path / "checkpoints" / "step-000000016.zarr.zip"
    made = experiment(**small, initial=str(saved))
    weights, fresh = made.network().state_dict(), experiment(**small).network().state_dict()
    assert any(not torch.equal(weights[name], fresh[name]) for name in fresh)
