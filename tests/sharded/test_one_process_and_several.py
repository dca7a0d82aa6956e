"""A model of which each process holds a part is recorded, measured and held like one in a single process."""

import os

import pytest
import torch
import torch.distributed as dist

import landscope as ls
from processes import in_processes
from sharded_models import INPUTS, LABELS, LOSS, fully_sharded, network, tensor_parallel, train

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
    pytest.mark.filterwarnings("ignore"),
]

SHARDINGS = {"fully sharded": fully_sharded, "tensor parallel": tensor_parallel}
OPTIMIZERS = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
}


def measured(model, optimizer):
    """What the library finds and does in a training."""
    first = OPTIMIZERS[optimizer](model)
    with ls.TrajectoryRecorder(model, first) as recorder:
        train(model, first)
    rows = recorder.trajectory()
    risk = ls.EmpiricalRisk(model, LOSS, (INPUTS, LABELS))
    modes = ls.principal_modes(rows, 3)
    found = {
        "rows": rows.weights, "loss": torch.tensor(risk(risk.w0)), "gradient": risk.gradient(risk.w0),
        "width": ls.flatness(risk, risk.w0, modes).width,
        "sharpness": ls.directions.hessian(risk, risk.w0, 1).values,
        "velocity": ls.noise.velocity_statistics(rows, modes).velocity_variance,
        "noise": ls.noise.gradient_noise(risk.minibatches(8, seed=0), risk.w0, modes).covariance,
    }  # fmt: skip
    memory, second = ls.keep(model, LOSS, (INPUTS, LABELS)), OPTIMIZERS[optimizer](model)
    with memory.training(second):
        train(model, second, 6, labels=2 - LABELS)
    return found | {"held": memory.space.flatten(model), "penalty": memory.penalty().detach()}


FAST = [("fully sharded", "adam", 4), ("tensor parallel", "sgd", 2)]
ALL = [(sharding, optimizer, n) for sharding in SHARDINGS for optimizer in OPTIMIZERS for n in (2, 4)]


@pytest.mark.parametrize(
    ("sharding", "optimizer", "n_processes"),
    [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in ALL],
)
def test_the_numbers_are_those_of_one_process(sharding, optimizer, n_processes, tmp_path):
    width = 8 if sharding == "tensor parallel" else 7  # torch divides layers of tensor parallelism evenly
    wanted = measured(network(width), optimizer)
    found = in_processes(lambda _: measured(SHARDINGS[sharding](network(width)), optimizer), tmp_path, n_processes)
    for one in found:
        for name, value in wanted.items():
            assert torch.equal(one[name], found[0][name]), name
            if sharding == "fully sharded":  # the mean of equal gradients is the gradient
                assert torch.equal(one[name], value), name
            else:  # sums of products in other orders, over 18 steps; Adam divides by small gradients
                torch.testing.assert_close(one[name], value, rtol=1e-4, atol=1e-6, msg=name)
