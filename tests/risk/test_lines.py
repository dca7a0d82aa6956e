"""Lines of traced networks: neither threads, nor sketches, nor stored values, nor the order change an answer."""

import copy
import math

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.reproduction.experiment.networks import mlp
from landscope.risk import lines, traced_blocks
from landscope.risk.lines import TracedLines


@pytest.fixture
def confident(trained_digits):
    """Larger logits, as after long training: few samples carry the loss."""
    model, data = trained_digits
    model = copy.deepcopy(model)
    with torch.no_grad():
        model[-1].weight *= 4
    return model, data


@pytest.mark.parametrize("rows", [200, 2000])  # more blocks than threads, and one block for all of them
def test_the_answer_does_not_depend_on_threads(confident, monkeypatch, rows):
    model, data = confident
    space = ls.ParameterSpace.of(model, "2.weight")
    directions = torch.randn(5, space.dim)
    monkeypatch.setattr(traced_blocks, "_BLOCK_ELEMENTS", 64 * rows)
    monkeypatch.setattr(lines, "_SHARED_BYTES", 0)
    threads = torch.get_num_threads()
    answers = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        try:
            risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
            losses = ls.loss_profiles(risk, risk.w0, directions, torch.linspace(-1, 1, 7)).loss
            assert risk.lines(risk.w0, directions).sketch() is not None
            answers.append(torch.cat([losses, ls.flatness(risk, risk.w0, directions).width[:, None]], dim=1))
            assert len(risk.lines(risk.w0, directions)._evaluators) == count
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_a_sketch_changes_answers_within_the_tolerance_only(confident, monkeypatch):
    model, data = confident
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions = torch.linalg.qr(torch.randn(space.dim, 8)).Q.T.contiguous()
    guided = ls.flatness(risk, risk.w0, directions)
    alone = ls.flatness(risk, risk.w0, directions[5:6])
    assert torch.equal(alone.width, guided.width[5:6])
    monkeypatch.setattr(TracedLines, "sketch", lambda self: None)
    plain = ls.flatness(risk, risk.w0, directions)
    assert torch.allclose(guided.left, plain.left, rtol=1e-3)
    assert torch.allclose(guided.right, plain.right, rtol=1e-3)
    assert float(guided.evaluations.double().mean()) < float(plain.evaluations.double().mean())


def test_a_sketch_is_offered_only_where_few_samples_carry_the_loss():
    model, inputs = mlp([6, 8, 8, 3]), torch.randn(400, 6)
    space = ls.ParameterSpace.of(model, "2.weight")
    even = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, torch.randint(0, 3, (400,))), space=space)
    assert even.lines(even.w0, torch.randn(1, space.dim)).sketch() is None
    signed = ls.EmpiricalRisk(model, lambda z, y: z[:, 0], (inputs, torch.zeros(400)), space=space)
    assert signed.lines(signed.w0, torch.randn(1, space.dim)).sketch() is None


class TestAMisleadingSketch:
    """A sketch only guesses: the result is always a crossing of the whole loss."""

    class Lines:
        group = 4

        def __init__(self, losses, approximation=None):
            self._losses, self._approximation = losses, approximation

        def __call__(self, index, displacement):
            return self._losses(displacement)

        def sketch(self):
            return None if self._approximation is None else type(self)(self._approximation)

    def flatness(self, loss, approximation, **options):
        """With the sketch, and without it."""

        class Landscape:
            def __call__(self, w):
                return loss(w[..., 0])

            def lines(self, w0, directions):
                return TestAMisleadingSketch.Lines(loss, approximation)

        line = torch.zeros(1), torch.ones(1, 1)
        return ls.flatness(Landscape(), *line, **options), ls.flatness(lambda w: loss(w[..., 0]), *line, **options)

    @pytest.mark.parametrize(
        "approximation",
        [
            lambda d: torch.exp(25 * d**2),  # too sharp
            lambda d: torch.exp(d**2 / 25),  # too flat
            lambda d: torch.ones_like(d),  # never crosses
            lambda d: torch.where(d.abs() < 1e-3, 1.0, torch.inf).double(),  # a wall
            lambda d: torch.zeros_like(d),  # no loss at all
            lambda d: torch.exp(0.99 * d**2),  # close
            lambda d: torch.where(d.abs() < 6, 1 + 1e-3 * d**2, torch.nan),  # NaN far out
        ],
    )
    def test_it_changes_no_answer(self, approximation):
        found, _ = self.flatness(lambda d: torch.exp(d**2), approximation, max_displacement=50.0)
        assert float(found.right) == pytest.approx(1.0, rel=1e-3)
        assert float(found.left) == pytest.approx(-1.0, rel=1e-3)

    def test_a_good_sketch_saves_more_than_half_of_the_evaluations(self):
        guided, plain = self.flatness(lambda d: torch.exp(d**2), lambda d: torch.exp(0.999 * d**2))
        assert float(guided.width) == pytest.approx(2.0, rel=1e-3)
        assert 2 * int(guided.evaluations) < int(plain.evaluations)

    def test_an_inner_crossing_is_found_as_without_it_where_it_was_far_off(self):
        def bump(d):
            return torch.exp(3 * torch.exp(-(((d.abs() - 0.8) / 0.4) ** 2)) + (d / 3) ** 2 - 3 * math.exp(-4))

        guided, plain = self.flatness(bump, lambda d: torch.exp((d / 4) ** 2), max_displacement=50.0)
        assert float(guided.right) < 1.0
        assert float(guided.right) == pytest.approx(float(plain.right), rel=1e-5)


def test_the_order_of_directions_changes_no_bit(trained_digits, monkeypatch):
    model, data = trained_digits
    monkeypatch.setattr(lines, "_MAX_GROUP", 2)  # directions are forgotten, and their memory is used again
    space = ls.ParameterSpace.of(model, "2.weight")
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    directions, step = torch.randn(6, space.dim), torch.tensor([0.3]).double()
    lines_of_risk = risk.lines(risk.w0, directions)
    forth = [lines_of_risk(torch.tensor([i]), step) for i in range(6)]
    back = [lines_of_risk(torch.tensor([i]), step) for i in reversed(range(6))]
    assert torch.equal(torch.cat(forth), torch.cat(back[::-1]))
    assert torch.equal(torch.cat(forth), lines_of_risk(torch.arange(6), step.expand(6)))


def test_stored_values_are_not_overwritten(trained_digits):
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, "0.weight")  # two ReLUs work in place on what follows
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, data, space=space)
    lines = risk.lines(risk.w0, torch.randn(2, space.dim))
    index, displacement = torch.tensor([0, 1, 0]), torch.tensor([0.3, -0.2, 0.0]).double()
    first = lines(index, displacement)
    assert torch.equal(lines(index, displacement), first)
    assert torch.equal(torch.cat([lines(i[None], d[None]) for i, d in zip(index, displacement, strict=True)]), first)


def test_memory_for_frozen_values_is_bounded():
    model = nn.Sequential(nn.Flatten(0, 0), nn.ReLU(), nn.Linear(100, 5))
    inputs, targets = torch.randn(4000, 100), torch.randint(0, 5, (4000,))
    limit = 400_000
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (inputs, targets), cache_bytes=limit)
    risk(risk.w0)
    kept = risk._blocks.prefix_outputs._values
    assert sum(v.untyped_storage().nbytes() for values in kept.values() for v in values) <= limit
