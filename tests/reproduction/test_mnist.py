"""The paper's data and network, for real but short; the long runs are under docs/results."""

import hashlib
import math

import pytest
import torch

import landscope as ls
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.datasets.loading import load_data
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.study.checkpoints import Checkpoints
from naive import naive_loss

pytestmark = pytest.mark.mnist


@pytest.fixture(scope="module")
def mnist(mnist_folder):
    return load_data("mnist")


def test_mnist_is_byte_for_byte_the_canonical_set(mnist):
    """The raw IDX files without their headers (16 bytes of images, 8 of labels) have these digests with them."""
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c".replace(" ", ""))
    pixels = (mnist.train_inputs * 255).round().to(torch.uint8).numpy().tobytes()
    assert hashlib.md5(header + pixels).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    labels = bytes.fromhex("00000801 0000ea60".replace(" ", "")) + mnist.train_labels.to(torch.uint8).numpy().tobytes()
    assert hashlib.md5(labels).hexdigest() == "a25bea736e30d166cdddb491f175f624"
    assert (len(mnist.test_labels), mnist.n_classes) == (10_000, 10)


@pytest.mark.slow  # the reproductions of docs/results train it for minutes
def test_the_papers_network_on_all_images(mnist, tmp_path, monkeypatch):
    """Three epochs in, the pipeline holds on 60,000 images and 2,500 weights, and agrees with plain forwards."""
    monkeypatch.setattr(
        "landscope.reproduction.experiment.experiment.load_data", lambda name: mnist
    )  # read once: 70,000 files take seconds
    settings = {"data": "mnist", "start": 3, "window_epochs": 1, "flatness_modes": 24, "fit_modes": [2, 24],
                "spectrum_ranks": [5, 100], "n_nulls": 0, "n_processes": 0}  # fmt: skip
    run = ExperimentRun.create(tmp_path / "run", Settings.of(settings))
    run.analyse(QuietReporter())
    summary = run.results.summary()
    assert summary["weights"] == 2500
    assert summary["window_rows"] == 1200
    assert math.isfinite(summary["psi"])
    assert summary["test_error_at_w0"] < 0.06
    widths = run.load("flatness", ls.landscape.Flatness)
    modes = run.load("modes", ls.directions.Directions)
    assert bool(widths.bracketed.all())

    model = Experiment(run.settings).network()
    Checkpoints(run.path / "checkpoints").load(4 * 1200, model)
    space = ls.ParameterSpace.of(model, "2.weight")
    data = (mnist.train_inputs.flatten(1), mnist.train_labels)
    w0 = space.flatten(model).double()
    loss0 = naive_loss(model, *data, space, w0)
    assert widths.loss0 == pytest.approx(loss0, rel=1e-6)
    for row in (1, 12, 23):
        at_crossing = naive_loss(model, *data, space, w0 + float(widths.right[row]) * modes.directions[row])
        # the crossing is right to 1e-3 of its distance, and ln L grows by about 2 per relative distance
        assert math.log(at_crossing / loss0) == pytest.approx(1.0, abs=4e-3)
