"""Architecture x loss x batch structure against a naive float64 evaluation, without a change to objects of the user."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from architectures import (
    CLASSES,
    LENGTH,
    SELECT,
    Attention,
    Images,
    LowRank,
    N,
    TwoInputs,
    Vectors,
    assert_untouched,
    problem,
    slow_risk,
    state_of,
    structured,
    token_losses,
)
from landscope.errors import InputError


def token_mean(outputs, labels):
    return F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-100)


def unit(labels, like):
    return F.one_hot(labels, CLASSES).to(like)


def distances(outputs, labels):
    return (outputs - unit(labels, outputs)).square().sum(1)


LOSSES = {
    "cross-entropy": (F.cross_entropy, F.cross_entropy),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1),) * 2,
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])),) * 2,
    "ignored": (nn.CrossEntropyLoss(ignore_index=1),) * 2,
    "own, a loss a sample": (distances, lambda o, y: distances(o, y).mean()),
    "own, a mean": (lambda o, y: F.huber_loss(o, unit(y, o)), lambda o, y: F.huber_loss(o, unit(y, o))),
    "tokens": (token_losses, token_mean),
}  # fmt: skip
STRUCTURES = ("tensors", "loader", "dataset", "tuples", "mappings", "uneven batches")
TRACED = (Vectors, Images, LowRank)
WHOLE = tuple(loss for loss in LOSSES if loss != "tokens")
ONE_NUMBER = tuple(loss for loss in WHOLE if not loss.startswith("own"))
SEVERAL = ("loader", "dataset", "tuples", "mappings")
# Not every triple, but every pair: loss with structure, and both with each architecture that takes them.
CASES = [
    *((TRACED[(i + j) % 3], loss, form) for i, loss in enumerate(WHOLE) for j, form in enumerate(STRUCTURES)),
    *((Attention, "tokens", form) for form in STRUCTURES),
    *((TwoInputs, *pair) for pair in zip(ONE_NUMBER, SEVERAL, strict=True)),
]


def test_the_cases_meet_every_pair():
    met = {pair for case in CASES for pair in itertools.combinations(case, 2)}
    assert {*itertools.product(LOSSES, STRUCTURES)} <= met
    assert {*itertools.product(TRACED, WHOLE), (Attention, "tokens")} <= met
    assert {*itertools.product([*TRACED, Attention], STRUCTURES)} <= met
    assert {*itertools.product([TwoInputs], [*ONE_NUMBER, *SEVERAL])} <= met


class Twin:
    """Naive evaluation: the whole model in float64 on all samples at once."""

    def __init__(self, model, space, inputs, targets, mean_loss):
        self.model = copy.deepcopy(model).double().cpu().eval().requires_grad_(False)
        self.space, self.targets, self.mean_loss = space, targets.cpu(), mean_loss
        self.inputs = [x.cpu().double() if x.is_floating_point() else x.cpu() for x in inputs]
        if isinstance(mean_loss, nn.Module):
            self.mean_loss = copy.deepcopy(mean_loss).double().cpu()

    def __call__(self, w):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            outputs = torch.func.functional_call(self.model, self.space.unflatten(w), tuple(self.inputs))
        return self.mean_loss(outputs["logits"] if isinstance(outputs, dict) else outputs, self.targets)


@pytest.mark.filterwarnings("ignore:The lines start at other weights")  # meant here: the twin has the same statistics
@pytest.mark.parametrize(
    ("build", "loss", "structure"), CASES, ids=["-".join([b.__name__, *rest]) for b, *rest in CASES]
)
def test_risk_lines_and_derivatives(build, loss, structure, device):
    model, inputs, targets = problem(build, device)
    criterion, mean_loss = LOSSES[loss]
    if isinstance(criterion, nn.Module):
        criterion = copy.deepcopy(criterion).to(device)
    if build is Attention:
        targets[:, 0] = -100
        targets[3, 2:] = -100
    names = ["first", "second"] if build is TwoInputs else ["tokens" if build is Attention else "x"]
    data = structured(structure, names, inputs, targets)
    space = ls.ParameterSpace.of(model, SELECT[build])
    before = state_of(model)
    risk = slow_risk(model, criterion, data, space=space)
    twin = Twin(model, space, inputs, targets, mean_loss)

    w = (risk.w0 + 0.1 * torch.randn(space.dim, device=device)).detach()
    exact = w.cpu().double().requires_grad_()
    assert float(risk(w)) == pytest.approx(twin(exact).item(), rel=2e-6)

    directions = torch.randn(2, space.dim, device=device)
    steps = torch.tensor([-0.3, 0.0, 0.2])
    found = ls.loss_profiles(risk, w, directions, steps).loss
    for row, d in itertools.product(range(2), range(3)):
        point = exact.detach() + steps[d].double() * directions[row].cpu().double()
        assert float(found[row, d]) == pytest.approx(twin(point).item(), rel=4e-6)

    (gradient,) = torch.autograd.grad(twin(exact), exact, create_graph=True)
    scale = gradient.detach().norm().item()
    assert torch.allclose(risk.gradient(w).cpu().double(), gradient.detach(), rtol=0, atol=2e-5 * scale)
    vector = torch.randn(space.dim, device=device)
    (product,) = torch.autograd.grad(gradient @ vector.cpu().double(), exact)
    found = risk.hessian_vector_product(w, vector).cpu().double()
    assert torch.allclose(found, product, rtol=0, atol=1e-4 * float(product.norm()))
    assert_untouched({**before, "random": torch.get_rng_state()}, model)


def test_one_warning_explains_slow_evaluation():
    data = [{"first": torch.randn(5, 4), "second": torch.randn(5, 2), "labels": torch.randint(0, CLASSES, (5,))}]
    model = TwoInputs()
    with pytest.warns(UserWarning, match="several inputs") as told:
        risk = ls.EmpiricalRisk(model, F.cross_entropy, data)
    ls.flatness(risk, risk.w0, torch.randn(2, risk.space.dim))  # any warning here would be an error
    assert len(told) == 1
    assert not risk.is_traced


@pytest.mark.parametrize("batch", [{"x": torch.zeros(2, 4)}, {"labels": torch.zeros(2).long()}, {}])
def test_mappings_need_inputs_and_targets(batch):
    with pytest.raises(InputError, match="targets under one of labels"):
        ls.EmpiricalRisk(Vectors(), F.cross_entropy, [batch])


@pytest.mark.parametrize("structure", ["tensors", "mappings"])
@pytest.mark.parametrize(
    "criterion",
    [
        lambda o, y: F.cross_entropy(o, y, reduction="sum"),
        lambda o, y: F.cross_entropy(o, y, ignore_index=1),
        lambda o, y: F.cross_entropy(o, y, weight=torch.tensor([0.2, 1.0, 3.0])),
    ],
    ids=["sum", "ignored", "weighted"],
)
def test_a_scalar_criterion_that_is_not_a_mean_is_refused(structure, criterion):
    """Such a number has no known weight over batches."""
    x, y = torch.randn(N, 4), torch.arange(N) % 2
    y[: N // 2] = 0
    with pytest.raises(InputError, match="the mean over the samples"):
        ls.EmpiricalRisk(Vectors(), criterion, structured(structure, ["x"], (x,), y))


def test_the_weight_of_losses_is_one_number_or_one_for_each():
    data = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,)))
    plain = ls.EmpiricalRisk(Vectors(), F.cross_entropy, data)
    with pytest.raises(InputError, match="one weight for each loss, or one number"):
        ls.EmpiricalRisk(Vectors(), lambda o, y: (F.cross_entropy(o, y, reduction="none"), torch.ones(3)), data)
    risk = ls.EmpiricalRisk(Vectors(), lambda o, y: (F.cross_entropy(o, y, reduction="none"), torch.ones(len(y))), data)
    assert float(risk(plain.w0)) == pytest.approx(float(plain(plain.w0)), rel=1e-6)


def test_wrong_keys_of_a_batch_are_named():
    batches = [{"image": torch.randn(5, 4), "index": torch.arange(5), "labels": torch.randint(0, CLASSES, (5,))}]
    with pytest.raises(InputError, match=r"forward: first, second; got image, index"):
        ls.EmpiricalRisk(TwoInputs(), F.cross_entropy, batches)


def test_logits_of_tokens_must_have_their_classes_second():
    tokens = torch.randint(0, 7, (N, LENGTH))
    with pytest.raises(InputError, match="language_model_losses"):
        ls.EmpiricalRisk(Attention(), nn.CrossEntropyLoss(), (tokens, tokens))
