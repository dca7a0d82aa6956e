"""A risk and a recorder leave the model and the random state of the user as they were."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from architectures import (
    CLASSES,
    SELECT,
    Attention,
    Images,
    LowRank,
    N,
    Vectors,
    assert_untouched,
    inputs_of,
    prepared,
    problem,
    slow_risk,
    state_of,
    structured,
    token_losses,
)
from landscope.errors import LandscopeError


@pytest.mark.parametrize("build", SELECT)
def test_the_random_state_and_the_model_come_back(build, device):
    model, inputs, targets = problem(build, device)
    criterion = token_losses if build is Attention else F.cross_entropy
    data = structured("tuples", (), inputs, targets)
    space = ls.ParameterSpace.of(model, SELECT[build])
    directions = torch.randn(2, space.dim, device=device)
    before = state_of(model)
    risk = slow_risk(model, criterion, data, space=space)
    risk(risk.w0)
    risk.gradient(risk.w0)
    risk.hessian_vector_product(risk.w0, directions[0])
    ls.flatness(risk, risk.w0, directions)
    assert_untouched(before, model)


class Broken(nn.Module):
    """Fails at its third call."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls = inner, 0

    def forward(self, *inputs):
        self.calls += 1
        if self.calls > 2:
            raise ValueError("no more")
        return self.inner(*inputs)


@pytest.mark.parametrize("build", [Vectors, Images, LowRank])
def test_also_after_an_exception(build, device):
    model = Broken(prepared(build, device)).to(device)
    model.training = True
    data = (inputs_of(build.batch)[0].to(device), torch.randint(0, CLASSES, (N,), device=device))
    before = state_of(model)

    def criterion(outputs, targets):
        if not outputs.requires_grad and len(targets) == N:
            criterion.calls += 1
            if criterion.calls > 3:
                raise ValueError("enough")
        return F.cross_entropy(outputs, targets, reduction="none")

    criterion.calls = 0

    def use():
        risk = slow_risk(model, criterion, data)
        for _ in range(5):
            risk(risk.w0)

    with pytest.raises((ValueError, LandscopeError)):
        use()
    assert_untouched(before, model)


@pytest.mark.parametrize("build", SELECT)
@pytest.mark.parametrize("fails", [False, True])
def test_the_recorder_reads_only(build, fails, device):
    """The same training with and without a recorder ends in the same bits; an exception passes through."""

    def trained(record):
        torch.manual_seed(1)
        model, inputs, targets = problem(build, device)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
        rows = []

        def train():
            for step in range(6):
                optimizer.zero_grad()
                outputs = model(*inputs)
                outputs = outputs["logits"] if isinstance(outputs, dict) else outputs
                F.cross_entropy(outputs.flatten(0, -2), targets.flatten()).backward()
                optimizer.step()
                rows.append(ls.ParameterSpace.of(model, SELECT[build]).flatten(model).cpu())
                if fails and step == 3:
                    raise KeyError("user's own")

        recorder = ls.TrajectoryRecorder(model, optimizer, SELECT[build])
        recording = recorder if record else contextlib.nullcontext()
        with pytest.raises(KeyError) if fails else contextlib.nullcontext(), recording:
            train()
        return model, recorder, torch.stack(rows)

    model, recorder, rows = trained(record=True)
    assert torch.equal(recorder.trajectory().weights, rows)
    bare, _, _ = trained(record=False)
    assert_untouched({**state_of(bare), "ids": [id(p) for p in model.parameters()]}, model)
