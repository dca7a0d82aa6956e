"""Step sizes of optimisers against the steps that they take."""

import functools

import pytest
import torch
from torch import nn

from landscope.errors import InputError
from landscope.step_size import MovedWeights, StepSizes
from optimizers import AdamWScheduleFree, Lion

OPTIMIZERS = {
    "SGD": functools.partial(torch.optim.SGD, lr=0.01, momentum=0.8, dampening=0.5),
    "Adam": functools.partial(torch.optim.Adam, lr=0.01, eps=0.1),
    "Adam, fused": functools.partial(torch.optim.Adam, lr=0.01, fused=True),
    "AdamW, foreach": functools.partial(torch.optim.AdamW, lr=0.01, foreach=True, weight_decay=0.0),
    "Adam, amsgrad": functools.partial(torch.optim.Adam, lr=0.01, amsgrad=True, betas=(0.8, 0.9)),
    "Adam, lr in a tensor": functools.partial(torch.optim.Adam, lr=torch.tensor(0.01)),
    "NAdam": functools.partial(torch.optim.NAdam, lr=0.01),
    "RAdam": functools.partial(torch.optim.RAdam, lr=0.01),
    "RMSprop": functools.partial(torch.optim.RMSprop, lr=0.01, eps=0.1),
    "RMSprop, momentum": functools.partial(torch.optim.RMSprop, lr=0.01, momentum=0.9),
    "Adagrad": functools.partial(torch.optim.Adagrad, lr=0.01, lr_decay=0.01),
    "Adamax": functools.partial(torch.optim.Adamax, lr=0.01),
    "Adadelta": functools.partial(torch.optim.Adadelta, lr=0.01),
    "ASGD": functools.partial(torch.optim.ASGD, lr=0.01),
    "Adafactor": functools.partial(torch.optim.Adafactor, lr=0.01, weight_decay=0.0),
    "Lion": functools.partial(Lion, lr=0.01),
    "schedule-free": functools.partial(AdamWScheduleFree, lr=0.01, warmup_steps=10),
}
GRADIENTS = [torch.tensor([[2.0, -1.0, 0.5], [4.0, -2.0, 1.0]]), torch.tensor([3.0, -0.01])]
"""A matrix of rank one, as Adafactor has it, and a vector."""


def layer(dtype=torch.float32):
    model = nn.Linear(3, 2, dtype=dtype)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.fill_(1.0)
    return model


def push(tensors, gradients=None):
    for tensor, gradient in zip(tensors, GRADIENTS if gradients is None else gradients, strict=True):
        tensor.grad = gradient.to(tensor.dtype).clone()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_they_are_the_steps_for_a_lasting_gradient(name):
    """To 2 %: Adadelta's mean squares have moved on by a tenth of their change, and NAdam's momentum still grows."""
    tensors = list(layer().parameters())
    optimizer = OPTIMIZERS[name](tensors)
    sizes = StepSizes(optimizer, tensors)
    for _ in range(1000 if name == "Lion" else 200):  # Lion stores a mean over some hundred steps that starts at zero
        before = MovedWeights(optimizer, tensors).flat()
        push(tensors)
        optimizer.step()
        found = sizes.after_step()
    moved = before - MovedWeights(optimizer, tensors).flat()
    expected = moved / torch.cat([gradient.flatten() for gradient in GRADIENTS])
    assert torch.allclose(torch.as_tensor(found).expand(8), expected, rtol=0.02), (found, expected)
    assert sizes.are_known() == (name != "ASGD")


def test_the_clipping_of_adafactor_shortens_a_step():
    tensors = list(layer().parameters())
    optimizer = torch.optim.Adafactor(tensors, lr=0.01, weight_decay=0.0)
    sizes = StepSizes(optimizer, tensors)
    for factor in (1, 1, 1, 1, 1, 1, 1, 1, 5):
        before = MovedWeights(optimizer, tensors).flat()
        push(tensors, [factor * gradient for gradient in GRADIENTS])
        optimizer.step()
    moved = before - MovedWeights(optimizer, tensors).flat()
    expected = moved / (5 * torch.cat([gradient.flatten() for gradient in GRADIENTS]))
    assert torch.allclose(sizes.after_step(), expected, rtol=0.02)  # it takes the size of the weights before the step


def test_weights_without_gradients_take_the_mean_of_all():
    """Where no gradient was seen there is no scale; lr / eps would let a penalty throw such a weight anywhere."""
    tensors = list(layer().parameters())
    for gradients in ([GRADIENTS[0] * torch.tensor([1.0, 1.0, 0.0]), GRADIENTS[1]], [GRADIENTS[0]]):
        for tensor in tensors:
            tensor.grad = None
        optimizer = torch.optim.Adam(tensors, lr=0.01)
        push(tensors[: len(gradients)], gradients)
        optimizer.step()
        found = StepSizes(optimizer, tensors).after_step()
        flat = torch.cat([gradient.flatten() for gradient in gradients]).abs()
        expected = 0.01 / torch.where(flat > 0, flat, flat.mean())
        expected = torch.cat([expected, (0.01 / flat.mean()).expand(8 - len(flat))])
        assert torch.allclose(found, expected, rtol=1e-5)


def test_small_dtypes_keep_their_range():
    """In float16, lr / v^0.5 would overflow at 65,504."""
    tensors = list(layer(torch.bfloat16).parameters())
    optimizer = torch.optim.AdamW(tensors, lr=1.0)
    push(tensors, [1e-6 * gradient for gradient in GRADIENTS])
    optimizer.step()
    found = StepSizes(optimizer, tensors).after_step()
    assert found.dtype == torch.float32
    expected = 1 / (1e-6 * torch.cat([gradient.flatten() for gradient in GRADIENTS]).abs() + 1e-8)
    assert torch.allclose(found, expected, rtol=0.02)  # bfloat16 has 8 bits


def test_groups_have_their_own_rates_also_after_a_state_is_loaded():
    tensors = list(layer().parameters())
    optimizer = torch.optim.SGD([{"params": [tensors[0]], "lr": 0.1}, {"params": [tensors[1]], "lr": 0.2}])
    sizes = StepSizes(optimizer, tensors)
    assert sizes.after_step().tolist() == pytest.approx([0.1] * 6 + [0.2] * 2)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 0.2
    optimizer.load_state_dict(state)
    assert sizes.after_step() == 0.2


def test_an_optimiser_without_a_learning_rate_and_one_without_limit_are_refused():
    tensors = list(layer().parameters())
    optimizer = torch.optim.SGD(tensors, lr=0.1, momentum=1.0)
    with pytest.raises(InputError, match="a momentum below 1"):
        StepSizes(optimizer, tensors)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(InputError, match="a learning rate"):
        StepSizes(optimizer, tensors)


def test_the_model_of_a_schedule_free_optimiser_follows_as_after_a_step_of_its_own():
    """A change dz of the last step moves y as the step itself did: x and z stay consistent, and x is their mean."""
    tensors = list(layer().double().parameters())
    optimizer = AdamWScheduleFree(tensors, lr=0.1)
    means, weights = torch.zeros(8).double(), torch.zeros(8).double()
    for step in range(6):
        push(tensors)
        optimizer.step()
        moved = MovedWeights(optimizer, tensors)
        moved.set(0.9 * moved.flat())
        weights = MovedWeights(optimizer, tensors).flat()
        means += (weights - means) / (step + 1)  # without warm-up all weights of the mean are equal
    optimizer.eval()
    assert torch.allclose(torch.cat([tensor.detach().flatten() for tensor in tensors]), means, rtol=1e-12)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.Adadelta])
def test_a_weight_without_a_gradient_takes_the_mean_root_and_an_empty_one_none(make):
    weight, empty = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(0, 3))
    optimizer = make([weight, empty], lr=0.01)
    sizes = StepSizes(optimizer, [weight, empty])
    for _ in range(20):
        weight.grad, empty.grad = torch.tensor([1.0, 4.0, 0.0]), torch.zeros(0, 3)
        optimizer.step()
        found = sizes.after_step()
    assert found.shape == (3,)
    assert float(found[1]) < float(found[2]) < float(found[0])


def test_the_factored_squares_of_another_optimiser_are_not_taken_for_adafactors():
    class Other(torch.optim.SGD):
        """Has states and numbers named as those of Adafactor, and another rule."""

        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for tensor in group["params"]:
                    self.state[tensor].update(exp_avg_sq=torch.ones_like(tensor))

    weight = nn.Parameter(torch.ones(2))
    optimizer = Other([{"params": [weight], "eps": (1e-30, 1e-16)}], lr=0.1)
    weight.grad = torch.ones(2)
    optimizer.step()
    StepSizes(optimizer, [weight]).after_step()  # no KeyError
