import math

import pytest
import torch

from landscope.memory.replay.distillation import distillation_losses


def softmax(z):
    total = sum(math.exp(value) for value in z)
    return [math.exp(value) / total for value in z]


@pytest.mark.parametrize("answering", [[True, True, True], [True, False, True], None])
def test_it_is_that_of_a_plain_loop(answering):
    draw = torch.Generator().manual_seed(0)
    z, before = torch.randn(5, 4, generator=draw).double(), torch.randn(5, 3, generator=draw).double()
    found = distillation_losses(z, before, None if answering is None else torch.tensor(answering), 2.0)
    kept = [column for column in range(3) if answering is None or answering[column]]
    for row in range(5):
        now = softmax([z[row, column].item() / 2 for column in kept])
        then = softmax([before[row, column].item() / 2 for column in kept])
        expected = 4 * sum(b * math.log(b / a) for a, b in zip(now, then, strict=True))
        assert found[row].item() == pytest.approx(expected)


def test_closed_outputs_have_no_gradient_and_make_no_nan():
    z = torch.randn(3, 4, requires_grad=True)
    distillation_losses(z, torch.randn(3, 4), torch.tensor([True, True, False, False]), 2.0).sum().backward()
    assert bool((z.grad[:, 2:] == 0).all())
    assert bool((z.grad[:, :2] != 0).all())


def test_the_same_answers_cost_nothing():
    z = torch.randn(3, 4).bfloat16()
    found = distillation_losses(z, z, None, 2.0)
    assert found.tolist() == [0.0, 0.0, 0.0]
    assert found.dtype == torch.float32
