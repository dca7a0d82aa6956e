"""Shared fixtures: small networks whose losses can be computed naively, and the data on this machine."""

import gc
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from landscope.progress import QuietReporter
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.training import train
from landscope.sampling import MinibatchOrder
from small_run import SMALL

collect_ignore = ["pretend_device.py", "waited_for.py"]
"""What adds a device to torch, in processes of its own."""

# The tests are small, and two processes run them: more threads would only wait for each other.
torch.set_num_threads(1)


def pytest_collection_finish(session):
    """What is imported by now stays: looking it through for garbage again and again takes a tenth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="Where the tests that take a device compute: cpu, cuda, ...")
    parser.addoption("--device-tests", action="store_true", help="Run tests/device, on --device.")


@pytest.fixture
def device(request):
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from one random state, and leaves torch's defaults as they were."""
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32


@pytest.fixture(scope="session")
def digits():
    data = load_data("digits")
    return data.train_inputs.flatten(1), data.train_labels


@pytest.fixture(scope="session")
def trained_digits(digits):
    """A perceptron trained on the digits until its loss is small, as (model, data)."""
    _, targets = digits
    model = mlp([64, 20, 20, 10], seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    order = MinibatchOrder(len(targets), 50, "reshuffled", 0)
    for epoch in train(model, nn.functional.cross_entropy, digits, optimizer, order):
        if epoch.number == 60:
            return model, digits
    raise AssertionError


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder with MNIST; where there is none the test is skipped, except where it must be there."""
    root = os.environ.get("LANDSCOPE_DATA", "")
    if root and (Path(root) / "mnist").is_dir():
        return Path(root)
    if os.environ.get("CI") and root:
        pytest.fail(f"LANDSCOPE_DATA is {root}, but it holds no mnist folder")
    pytest.skip("MNIST is not on this machine: set LANDSCOPE_DATA to a folder that holds mnist/")
    return None


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run on the digits, analysed as far as the law, done once."""
    return _analysed_run(tmp_path_factory, SMALL)


@pytest.fixture(scope="session")
def other_run(tmp_path_factory):
    """The same with another seed, done once: its files are those of another study."""
    return _analysed_run(tmp_path_factory, {**SMALL, "seed": 1})


def _analysed_run(tmp_path_factory, settings):
    run = ExperimentRun.create(tmp_path_factory.mktemp("runs") / "run", Settings.of(settings))
    run.analyse(QuietReporter())
    return run
