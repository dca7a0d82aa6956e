"""Slips whose message once led astray: each is named for what it is, with a way on that helps."""

import re
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, LandscopeWarning, NondeterministicLossError
from landscope.sketch import CountSketch
from own_model import CE, MSE, ONE_HOT, X, Y, losses_of, net, of, of_closure, sgd, step

BCE = nn.BCEWithLogitsLoss()


class Counting(nn.Module):
    """Keeps a number of its calls, in a buffer or beside."""

    def __init__(self, *, in_buffer):
        super().__init__()
        self.inner, self.in_buffer, self.calls = net(), in_buffer, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.in_buffer:
            self.seen += 1
        self.calls += 1
        return self.inner(x) * (1 + 0.1 * (self.seen if self.in_buffer else self.calls))


class WithPart(nn.Module):
    """A model with an attribute of any kind."""

    def __init__(self, part):
        super().__init__()
        self.inner, self.part = net(), part

    def forward(self, x):
        return self.inner(x)


class WithEmpty(nn.Module):
    """A model with a parameter of no element."""

    def __init__(self):
        super().__init__()
        self.inner, self.empty = net(), nn.Parameter(torch.zeros(0, 3))

    def forward(self, x):
        return self.inner(x) + self.empty.sum()


def words(model_of_words):
    return of(data=(torch.arange(12)[:, None] % 5, Y), model=model_of_words)


def under_meta():
    model = net()
    with torch.device("meta"):
        of(model=model)


SLIPS = {
    "a counter in a buffer": (
        lambda: of(model=Counting(in_buffer=True)), NondeterministicLossError, r"a counter, a buffer.*self.training",
    ),
    "a counter beside the buffers": (
        lambda: of_closure(losses_of, [(X, Y)], Counting(in_buffer=False)), NondeterministicLossError,
        r"also with the same random numbers.*self.training",
    ),
    "random numbers": (
        lambda: of_closure(lambda m, b: F.dropout(losses_of(m, b))), NondeterministicLossError, r"draws random.*seed=0",
    ),
    "a diagonal without a point": (
        lambda: of().fisher_information().diagonal(), TypeError, r"missing a required argument: 'w'",
    ),
    "embeddings with max_norm": (
        lambda: words(nn.Sequential(nn.Embedding(5, 4, max_norm=0.5), nn.Flatten(), nn.Linear(4, 3))), InputError,
        r"0.weight, which max_norm=0.5 of Embedding scales in each.*torch.renorm",
    ),
    "integers for BCE": (lambda: of(BCE, (X, ONE_HOT)), InputError, r"BCEWithLogitsLoss and MSELoss.*y.float\(\)"),
    "the exact Fisher information with pos_weight": (
        lambda: of(nn.BCEWithLogitsLoss(pos_weight=torch.ones(3)), (X, ONE_HOT.float()))
        .fisher_information().diagonal(net_weights(), "exact"), InputError,
        r"BCEWithLogitsLoss without weights.*one with class weights or pos_weight",
    ),
    "arrays as targets": (lambda: of(data=[(X, Y.numpy())]), InputError, r"torch.as_tensor\(array\)"),
    "one mapping": (lambda: of(data={"x": X, "labels": Y}), InputError, r"One batch is \[batch\]"),
    "a misspelt name": (
        lambda: of(lambda o, y: F.cross_entropy(outputs, y)), InputError,  # noqa: F821
        r"NameError.*an error in the code at line \d+ of test_more_slips.py",
    ),
    "a misspelt name in a function": (
        lambda: of_closure(lambda m, b: losses_of(model, b)), InputError,  # noqa: F821
        r"NameError.*an error in the code at line \d+ of test_more_slips.py",
    ),
    "all frozen": (
        lambda: ls.ParameterSpace.of(net().requires_grad_(False)), InputError, r"all are frozen.*requires_grad_",
    ),
    "a generator in the model": (
        lambda: of(model=WithPart(row for row in X)), InputError, r"can be copied.*these are: part",
    ),
    "a lock in the model": (
        lambda: of(model=WithPart(threading.Lock())), InputError, r"outside of the model.*these are: part",
    ),
    "weights without values": (lambda: of(model=net().to("meta")), InputError, r"meta device"),
    "a default device without memory": (under_meta, InputError, r"torch.device\('meta'\).*Leave that block"),
}  # fmt: skip


def net_weights():
    return ls.ParameterSpace.of(net()).flatten(net())


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_named_for_what_it_is(slip):
    call, kind, message = SLIPS[slip]
    with pytest.raises(kind, match=re.compile(message, re.DOTALL)):
        call()


def study(folder, model=None, data=(X, Y)):
    return ls.Study(folder / "s", net() if model is None else model, CE, data, batch_size=4)


def nested(folder):
    mine = study(folder)
    optimizer = sgd(mine._analysis.subject.model)
    with mine.record(optimizer), mine.record(optimizer):
        pass


STUDY_SLIPS = {
    "a recording within a recording": (nested, r"got record\(\) inside `with study.record.*around the whole training"),
    "two arrays": (lambda folder: study(folder, data=(X.numpy(), Y.numpy())), r"two arrays.*torch.as_tensor\(inputs\)"),
    "a generator in the model": (
        lambda folder: (made := study(folder, model := WithPart(row for row in X))).record(sgd(model)) and made,
        r"can be copied.*these are: part",
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", STUDY_SLIPS)
def test_a_slip_with_a_study_is_named_before_the_training(slip, tmp_path):
    call, message = STUDY_SLIPS[slip]
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        call(tmp_path)


def test_an_empty_parameter_has_an_empty_share_of_the_fisher_information():
    model = WithEmpty()
    risk = of(model=model)
    found = {kind: risk.fisher_information().diagonal(risk.w0, kind) for kind in ("exact", "empirical")}
    usual = of()
    for kind, value in found.items():
        torch.testing.assert_close(value, usual.fisher_information().diagonal(usual.w0, kind))


@pytest.mark.parametrize("way", ["no backward", "no rate"])
def test_a_training_in_which_nothing_moves_is_said(way, tmp_path):
    mine = study(tmp_path)
    model = mine._analysis.subject.model
    optimizer = sgd(model, 0.0 if way == "no rate" else 0.1)

    def train():
        with mine.record(optimizer):
            for _ in range(5):
                if way == "no rate":
                    step(model, optimizer)
                else:
                    optimizer.zero_grad()
                    CE(model(X), Y)
                    optimizer.step()

    with pytest.warns(LandscopeWarning, match=r"No recorded weight moved in 5 steps.*loss.backward\(\)"):
        train()


def test_arrays_that_a_criterion_of_ones_own_takes_are_served():
    def losses(outputs, targets):
        return F.cross_entropy(outputs, torch.as_tensor(targets), reduction="none")

    usual, arrays = of(), of(losses, [(X, np.asarray(Y))])
    torch.testing.assert_close(arrays(usual.w0), usual(usual.w0), rtol=1e-6, atol=0)
    assert float(of(MSE, (X, ONE_HOT.float()))(usual.w0)) > 0


def test_numbers_for_sketches_are_refused():
    rows = torch.randn(4, 9)
    with pytest.raises(InputError, match=r"a Trajectory; got .* Tensor"):
        ls.principal_modes(ls.Trajectory.of(rows), 3, sketch=rows)


def test_a_size_of_a_sketch_is_an_integer():
    with pytest.raises(InputError, match="size to be an integer"):
        CountSketch(1000, 100.0)


def test_a_file_of_modes_is_a_path():
    with pytest.raises(InputError, match="Expected path as a path; got 7"):
        ls.principal_modes(ls.Trajectory.of(torch.randn(4, 9)), 3, path=7)
