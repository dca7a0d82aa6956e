"""One implicit step for several steps of the optimiser."""

import contextlib

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, learn, network, sgd, task
from landscope.penalties import QuadraticPenalty


def one_weight(value, lr, optimizer=torch.optim.SGD, **settings):
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    model.weight.data.fill_(value)
    return model, optimizer(model.parameters(), lr=lr, **settings)


def pull(stiffness):
    """V = stiffness/2 w^2; the stiffness of a penalty stands without the half."""
    real = {"dtype": torch.float64}
    return QuadraticPenalty(anchor=torch.zeros(1, **real), stiffness=torch.tensor([stiffness / 2], **real))


def step(model, optimizer, slope):
    model.weight.grad = torch.full_like(model.weight, slope)
    optimizer.step()


def test_it_is_the_implicit_step_of_the_sum_of_the_step_sizes():
    model, optimizer = one_weight(2.0, lr=0.5)
    seen = []
    with ls.ProximalSteps(pull(3.0), model, optimizer, every=4):
        for number in range(6):
            optimizer.param_groups[0]["lr"] = 0.1 * (number + 1)  # as of a schedule
            step(model, optimizer, slope=0.0)
            seen.append(model.weight.item())
    held = 2 / (1 + 3 * (0.1 + 0.2 + 0.3 + 0.4))
    assert seen == pytest.approx([2, 2, 2, held, held, held])
    assert model.weight.item() == pytest.approx(held / (1 + 3 * (0.5 + 0.6)))  # what was left


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_weights_rest_where_loss_and_penalty_balance(name, every):
    """Of a constant slope g the sum is least at -g/k, whatever the number of steps in between."""
    model, optimizer = one_weight(1.0, 0.1 if name == "SGD" else 0.01, getattr(torch.optim, name))
    with ls.ProximalSteps(pull(4.0), model, optimizer, every=every):
        for _ in range(every * 400):
            step(model, optimizer, slope=0.6)
    assert model.weight.item() == pytest.approx(-0.15, abs=1e-6)


def test_a_memory_forgets_as_little_and_takes_fewer_implicit_steps(monkeypatch):
    taken = []
    hold = ls.ProximalSteps._hold
    monkeypatch.setattr(ls.ProximalSteps, "_hold", lambda self: (taken.append(1), hold(self)))

    def loss_of_first_task(every=None):
        """After a second one; without a memory if ``every`` is None."""
        model, generator = network(), torch.Generator().manual_seed(0)
        learn(model, sgd(model), task(0), 200, generator)
        memory, optimizer = ls.keep(model, CRITERION, task(0), hold_every=every or 1), sgd(model)
        taken.clear()
        with contextlib.nullcontext() if every is None else memory.training(optimizer):
            learn(model, optimizer, task(1), 100, generator)
        with torch.no_grad():
            return float(CRITERION(model(task(0)[0]), task(0)[1])), len(taken)

    (held, n_held), (every_8th, n_every_8th), (free, _) = (loss_of_first_task(every) for every in (1, 8, None))
    assert (n_held, n_every_8th) == (100, 13)
    assert abs(every_8th - held) < 0.1 * (free - held)


def test_what_is_left_is_not_held_where_the_training_fails():
    model, optimizer = one_weight(2.0, lr=0.5)

    def fail():
        with ls.ProximalSteps(pull(3.0), model, optimizer, every=4):
            step(model, optimizer, slope=0.0)
            raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        fail()
    assert model.weight.item() == 2
