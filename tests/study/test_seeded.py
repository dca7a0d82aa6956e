"""Functions of a user draw the same numbers every time, and the user's own random numbers stay as they were."""

import random
import shutil

import numpy as np
import pytest
import torch

import small_study as small
from landscope.seeded import seeded
from small_run import assert_same

FEW = {"n_nulls": 0, "n_processes": 0, "flatness_modes": 12, "fit_modes": (2, 12), "spectrum_ranks": (3, 12)}


def drawn():
    return torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002


def test_it_gives_the_same_numbers_and_leaves_the_users():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = drawn()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    with seeded(5):
        first = drawn()
    with seeded(5):
        assert drawn() == first != expected
    assert drawn() == expected


def test_no_other_device_is_seeded(monkeypatch):
    """``torch.manual_seed`` would seed devices whose state nobody restores."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: (_ for _ in ()).throw(AssertionError(seed)))
    with seeded(5):
        pass


def evaluate(model):
    return {**small.evaluate(model), "train_loss": 1 + sum(drawn())}


def train_on(model, record, *, sampling, n_steps, seed):
    """A loop with noise of its own."""
    optimizer = small.sgd(model)
    with record(optimizer):
        for step in range(n_steps):
            small.train(model, optimizer, *2 * (small.first_step(sampling, seed) + step,))
            with torch.no_grad():
                model[0].weight.add_(1e-4 * torch.randn_like(model[0].weight) * sum(drawn()))


@pytest.mark.filterwarnings("ignore:The weights changed between step")
def test_functions_that_draw_give_the_same_results_and_leave_the_users_numbers(recorded, tmp_path):
    found = []
    for number in (1, 2):
        folder = shutil.copytree(recorded, tmp_path / f"copy-{number}")
        torch.manual_seed(number)
        expected = torch.rand(1)
        study = small.opened(folder, evaluate=evaluate, train_on=train_on, **FEW)
        torch.manual_seed(number)
        study.analyse(progress=False, dynamics=True)
        assert torch.equal(torch.rand(1), expected)
        found.append(small.contents(study))
    assert_same(*found)
