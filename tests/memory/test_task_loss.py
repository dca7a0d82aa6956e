"""A memory takes the loss of a task as a criterion or as a function of the model and a batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = (X.sum(dim=1) > 0).long()


def losses_of(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def mean_of(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def trained(**options):
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    memory, optimizer = (
        ls.TaskMemory(model, n_modes=2, **{"method": "ldc", **options}),
        torch.optim.SGD(model.parameters(), lr=0.3),
    )
    with memory.training(optimizer):
        for step in range(20):
            optimizer.zero_grad()
            few = slice(step % 3 * 4, step % 3 * 4 + 4)
            F.cross_entropy(model(X[few]), Y[few]).backward()
            optimizer.step()
    return memory


def test_losses_of_a_function_give_the_penalty_of_the_criterion():
    expected = trained().consolidate(nn.CrossEntropyLoss(), (X, Y))
    count = {"count": lambda batch: len(batch[0])}
    batches = [(X[:8], Y[:8]), (X[8:], Y[8:])]
    for data, losses, options in (((X, Y), losses_of, None), (batches, losses_of, {}), (batches, mean_of, count)):
        memory = trained()
        memory.check(data=data, losses=losses, loss_options=options)
        found = memory.consolidate(data=data, losses=losses, loss_options=options)
        torch.testing.assert_close(found(torch.zeros(6)), expected(torch.zeros(6)), rtol=1e-4, atol=0)


def test_a_seed_and_a_mode_reach_the_loss():
    seen = []

    def noisy(model, batch):
        seen.append(model.training)
        return losses_of(model, (batch[0] + 0.01 * torch.randn(batch[0].shape), batch[1]))

    trained(method="l2", strength=1.0).consolidate(
        data=[(X, Y)], losses=noisy, loss_options={"seed": 3, "mode": "train"}
    )
    assert seen
    assert all(seen[-3:])


def test_a_function_and_averaged_weights_go_together():
    memory = trained()
    average = {name: value + 0.01 for name, value in memory.model.state_dict().items()}
    held = memory.consolidate(data=(X, Y), losses=losses_of, w0=average)
    w0 = torch.cat([value.flatten() for value in average.values()])
    assert float(held(w0)) == pytest.approx(0, abs=1e-9)
    assert float(held(w0 + 0.1)) > 1e-6


def test_slips_are_named_and_leave_the_memory_as_it_was():
    memory = trained()
    for arguments, message in (
        ({"data": (X, Y)}, "either a criterion or losses"),
        ({"criterion": nn.CrossEntropyLoss(), "data": (X, Y), "losses": losses_of}, "got both"),
        ({"criterion": nn.CrossEntropyLoss()}, "the data of the task"),
        ({"criterion": nn.CrossEntropyLoss(), "data": (X, Y), "loss_options": {"seed": 0}}, "any of count, cache"),
        ({"data": (X, Y), "losses": losses_of, "loss_options": {"seeds": 0}}, "any of count, seed"),
    ):
        with pytest.raises(InputError, match=message):
            memory.consolidate(**arguments)
    assert memory.n_tasks == 0
    memory.consolidate(nn.CrossEntropyLoss(), (X, Y))
