import math

import pytest
import torch

from landscope.memory.distillation import answering_outputs, replay_losses


def softmax(z):
    total = sum(math.exp(value) for value in z)
    return [math.exp(value) / total for value in z]


def test_both_terms_are_those_of_a_plain_loop():
    draw = torch.Generator().manual_seed(0)
    z, before = torch.randn(5, 4, generator=draw).double(), torch.randn(5, 3, generator=draw).double()
    labels = torch.tensor([0, 1, 2, 1, 0])
    answering = torch.tensor([[True, True, True, True]] * 3 + [[True, True, False, True]] * 2)
    distilled = torch.tensor([[True, True, True]] * 2 + [[True, True, False]] * 3)
    answering[2, 3] = False
    cross_entropy, distillation = replay_losses(z, before, labels, answering, distilled, 2.0)
    for row in range(5):
        open_now = [column for column in range(4) if answering[row, column]]
        p = softmax([z[row, column].item() for column in open_now])
        assert cross_entropy[row].item() == pytest.approx(-math.log(p[open_now.index(int(labels[row]))]))
        kept = [column for column in range(3) if distilled[row, column]]
        now = softmax([z[row, column].item() / 2 for column in kept])
        then = softmax([before[row, column].item() / 2 for column in kept])
        expected = 4 * sum(b * math.log(b / a) for a, b in zip(now, then, strict=True))
        assert distillation[row].item() == pytest.approx(expected)


def test_closed_outputs_have_no_gradient_and_make_no_nan():
    z = torch.randn(3, 4, requires_grad=True)
    closed = torch.tensor([[True, True, False, False]] * 3)
    parts = replay_losses(z, torch.randn(3, 4), torch.tensor([0, 1, 0]), closed, closed, 2.0)
    sum(part.sum() for part in parts).backward()
    assert bool((z.grad[:, 2:] == 0).all())
    assert bool((z.grad[:, :2] != 0).all())


def test_the_same_answers_cost_nothing():
    z, everything = torch.randn(3, 4).bfloat16(), torch.ones(3, 4, dtype=torch.bool)
    _, distillation = replay_losses(z, z, torch.tensor([0, 1, 2]), everything, everything, 2.0)
    assert distillation.tolist() == [0.0, 0.0, 0.0]
    assert distillation.dtype == torch.float32


def test_outputs_that_answer():
    default = torch.tensor([True, True, False])
    assert answering_outputs([(2,), None], 3, default).tolist() == [[False, False, True], [True, True, False]]
