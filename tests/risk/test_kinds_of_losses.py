"""Losses that differentiate by their inputs, that exist in train mode only, and that draw random numbers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from landscope.errors import InputError, LandscopeWarning, NondeterministicLossError

POINTS = torch.linspace(-1, 2, 7)[:, None]


class Parabola(nn.Module):
    """u(x) = w0 x + w1 x^2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 0.7]))

    def forward(self, x):
        return self.w[0] * x + self.w[1] * x**2


def residual(model, batch):
    """(u' - 2x)^2 at each point."""
    x = batch.clone().requires_grad_()
    slope = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    return (slope - 2 * x).square().squeeze(1)


def check_parabola(risk):
    """u' = w0 + 2 w1 x, so the residual is w0 + 2 (w1 - 1) x; the loss is its mean square, of Hessian 2 E[a a']."""
    w = torch.tensor([0.3, 1.4])
    axes = torch.cat([torch.ones_like(POINTS), 2 * POINTS], dim=1)
    rest = axes @ (w - torch.tensor([0.0, 1.0]))
    hessian = 2 * axes.T @ axes / len(POINTS)
    assert float(risk(w)) == pytest.approx(float(rest.square().mean()), rel=1e-5)
    assert torch.allclose(risk.gradient(w), 2 * axes.T @ rest / len(POINTS), rtol=1e-5)
    assert torch.allclose(
        risk.hessian_vector_product(w, torch.tensor([1.0, -2.0])), hessian @ torch.tensor([1.0, -2.0])
    )
    steps = torch.tensor([-0.5, 0.0, 1.0])
    line = ls.loss_profiles(risk, w, torch.eye(2)[1:], steps).loss[0]
    exact = [float((rest + step * axes[:, 1]).square().mean()) for step in steps]
    assert line.tolist() == pytest.approx(exact, rel=1e-5)
    assert ls.flatness(risk, w, torch.eye(2)).bracketed.all()


def test_a_differential_equation_has_the_values_derivatives_and_lines_of_its_formula():
    risk = ls.EmpiricalRisk.from_closure(Parabola(), residual, POINTS.split(3))
    check_parabola(risk)
    assert risk.sample_losses(risk.w0).shape == (7,)
    ensemble = risk.minibatches(7)
    assert ensemble.gradient(risk.w0).tolist() == pytest.approx(risk.gradient(risk.w0).tolist(), rel=1e-5)


class Force(nn.Module):
    """-dU/dx of a potential, as a model of forces returns it."""

    def __init__(self, *, create_graph=True):
        super().__init__()
        self.potential, self.create_graph = Parabola(), create_graph

    def forward(self, x):
        x = x.clone().requires_grad_()
        energy = self.potential(x)
        slope = torch.autograd.grad(energy.sum(), x, create_graph=self.create_graph)[0]
        return {"energy": energy, "slope": slope}


@pytest.mark.parametrize("reduced", [True, False])
def test_a_model_that_returns_forces_works_with_a_criterion(reduced):
    def matching(outputs, targets):
        losses = (outputs["slope"] - targets).square()
        return losses.mean() if reduced else losses

    with pytest.warns(UserWarning, match="evaluates the whole model .*its loss takes derivatives through its layers"):
        risk = ls.EmpiricalRisk(Force(), matching, (POINTS, 2 * POINTS))
    check_parabola(risk)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_forces_without_a_graph_are_refused():
    def matching(outputs, targets):
        return (outputs["slope"] - targets).square() + 0.01 * outputs["energy"].square()

    with pytest.raises(InputError, match=r"a loss that has a gradient.*create_graph=True"):
        ls.EmpiricalRisk(Force(create_graph=False), matching, (POINTS, 2 * POINTS))

    def detached(model, batch):  # half of the loss has a gradient, half has none
        return residual(model, batch).detach() + (model(batch) - batch).square().squeeze(1)

    with pytest.raises(InputError, match=r"gradient is that of its value.*create_graph=True"):
        ls.EmpiricalRisk.from_closure(Parabola(), detached, [POINTS])


class Detector(nn.Module):
    """Returns losses in train mode and boxes in eval mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.box = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4)
        self.seen = nn.Buffer(torch.zeros(()))

    def forward(self, images, targets=None):
        boxes = self.box(self.drop(self.norm(torch.stack(images))))
        if not self.training:
            return [{"boxes": box} for box in boxes]
        self.seen += 1
        wanted = torch.stack([target["boxes"] for target in targets])
        return {"box": (boxes - wanted).square().mean(), "size": boxes.abs().mean()}


IMAGES = [([torch.randn(4) for _ in range(n)], [{"boxes": torch.randn(4)} for _ in range(n)]) for n in (3, 5)]


def detection(model, batch):
    return sum(model(*batch).values())


def forward_with_flag(model, batch):
    model.training = True
    return sum(model(*batch).values())


@pytest.mark.parametrize(("losses", "mode"), [(detection, "train"), (forward_with_flag, "eval")])
def test_a_detector_gives_its_losses_in_train_mode_with_fixed_statistics(losses, mode):
    model = Detector()
    model.norm.running_mean += 0.5
    before = {name: value.clone() for name, value in model.state_dict().items()}
    risk = ls.EmpiricalRisk.from_closure(model, losses, IMAGES, count=lambda batch: len(batch[0]), mode=mode)
    w = risk.w0 + 0.1

    def by_hand(w):
        norm_weight, norm_bias, weight, bias = w[:4], w[4:8], w[8:24].view(4, 4), w[24:]
        total = 0
        for images, targets in IMAGES:
            x = (torch.stack(images) - 0.5) / (1 + 1e-5) ** 0.5 * norm_weight + norm_bias
            boxes, wanted = F.linear(x, weight, bias), torch.stack([target["boxes"] for target in targets])
            total = total + len(images) * ((boxes - wanted).square().mean() + boxes.abs().mean())
        return total / 8

    assert float(risk(w)) == float(risk(w)) == pytest.approx(float(by_hand(w)), rel=1e-5)
    leaf = w.clone().requires_grad_()
    assert torch.allclose(risk.gradient(w), torch.autograd.grad(by_hand(leaf), leaf)[0], atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_detector_in_eval_mode_is_refused_with_what_it_returned():
    with pytest.raises(InputError, match="losses=f with f"):
        ls.EmpiricalRisk.from_closure(Detector(), detection, IMAGES, count=lambda batch: len(batch[0]))


class Variational(nn.Module):
    """z = m x + s noise, of which x is to be found again: u z."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.8, 0.5, 1.1]))

    def forward(self, x):
        return self.w[2] * (self.w[0] * x + self.w[1] * torch.randn_like(x))


def reconstruction(model, batch):
    return (model(batch) - batch).square()


def test_a_loss_that_draws_noise_has_fixed_draws_at_every_point():
    batches = torch.randn(6).split(4)
    state = torch.get_rng_state()
    risk = ls.EmpiricalRisk.from_closure(Variational(), reconstruction, batches, seed=3)
    noise = torch.cat(
        [torch.randn(len(b), generator=torch.Generator().manual_seed(3 + n)) for n, b in enumerate(batches)]
    )
    x = torch.cat(batches)

    def by_hand(w):
        return (w[2] * (w[0] * x + w[1] * noise) - x).square()

    w, v = torch.tensor([0.3, 0.9, 0.7]), torch.tensor([1.0, -1.0, 0.5])
    mean = lambda w: by_hand(w).mean()  # noqa: E731 - for autograd below
    assert float(risk(w)) == pytest.approx(float(mean(w)), rel=1e-5)
    assert torch.allclose(risk.sample_losses(w).float(), by_hand(w), rtol=1e-5)
    assert torch.allclose(risk.gradient(w), torch.func.grad(mean)(w), rtol=1e-4)
    exact = torch.func.hessian(mean)(w) @ v
    assert torch.allclose(risk.hessian_vector_product(w, v), exact, rtol=1e-4)
    steps = torch.tensor([-1.0, 0.5])
    line = ls.loss_profiles(risk, w, torch.eye(3)[:1], steps).loss[0]
    assert line.tolist() == pytest.approx([float(mean(w + step * torch.eye(3)[0])) for step in steps], rel=1e-5)
    few = risk.minibatches(3).batch_losses(w)
    assert few.tolist() == pytest.approx(by_hand(w).view(2, 3).mean(1).tolist(), rel=1e-5)
    assert torch.equal(state, torch.get_rng_state())
    other = ls.EmpiricalRisk.from_closure(Variational(), reconstruction, batches, seed=4)
    assert float(other(w)) != float(risk(w))


def test_a_generator_of_the_loss_is_seeded_and_that_of_the_user_is_not_advanced():
    generator, x = torch.Generator().manual_seed(11), torch.randn(5)
    before = generator.get_state()

    def denoising(model, batch):
        return (model.w[0] * (batch + torch.randn(len(batch), generator=generator)) - batch).square()

    risk = ls.EmpiricalRisk.from_closure(Parabola(), denoising, [x], seed=2)
    noise = torch.randn(5, generator=torch.Generator().manual_seed(2))
    w = torch.tensor([0.4, 0.0])
    assert float(risk(w)) == pytest.approx(float((0.4 * (x + noise) - x).square().mean()), rel=1e-5)
    assert torch.equal(before, generator.get_state())


def test_a_loss_that_draws_noise_without_a_seed_is_refused_with_the_way_on():
    with pytest.raises(NondeterministicLossError, match=r"from_closure\(model, f, data, seed=0\)"):
        ls.EmpiricalRisk.from_closure(Variational(), reconstruction, [torch.randn(6)])
    with pytest.raises(InputError, match="seed to be an integer"):
        ls.EmpiricalRisk.from_closure(Variational(), reconstruction, [torch.randn(6)], seed=-1)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("bag", [False, True])
def test_sparse_embeddings_give_the_derivatives_of_dense_ones(bag):
    risks = []
    for sparse in (True, False):
        torch.manual_seed(0)
        layer = nn.EmbeddingBag(5, 3, sparse=sparse) if bag else nn.Embedding(5, 3, sparse=sparse)
        model = nn.Sequential(layer, *([] if bag else [nn.Flatten()]), nn.Linear(3 if bag else 6, 2))
        risks.append(
            ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), (torch.arange(12).view(6, 2) % 5, torch.arange(6) % 2))
        )
        assert model[0].sparse is sparse
    w, v = risks[0].w0, torch.ones(risks[0].space.dim)
    assert torch.equal(risks[0].gradient(w), risks[1].gradient(w))
    assert torch.equal(risks[0].hessian_vector_product(w, v), risks[1].hessian_vector_product(w, v))
    noise = [ls.noise.gradient_noise(risk.minibatches(2), w, torch.eye(len(w))[:2]).covariance for risk in risks]
    assert torch.equal(*noise)


class Augmented(torch.utils.data.Dataset):
    def __init__(self, *, strength):
        self.x, self.strength, self.generator = torch.randn(20, 3), strength, torch.Generator().manual_seed(0)

    def __len__(self):
        return 20

    def __getitem__(self, row):
        noise = torch.randn(3, generator=self.generator)
        return self.x[row] + self.strength * noise, {"label": row % 2}


def by_label(outputs, targets):
    return F.cross_entropy(outputs, targets["label"], reduction="none")


def test_a_data_set_with_random_augmentation_is_named():
    def losses(model, batch):
        return by_label(model(batch[0]), batch[1])

    def loader(strength):
        return torch.utils.data.DataLoader(Augmented(strength=strength), batch_size=10)

    with pytest.warns(LandscopeWarning, match=r"one draw.*without random transforms"):
        ls.EmpiricalRisk(nn.Linear(3, 2), by_label, Augmented(strength=0.1))
    with pytest.warns(LandscopeWarning, match="one draw"):
        ls.EmpiricalRisk.from_closure(nn.Linear(3, 2), losses, loader(0.1))
    for make in (ls.EmpiricalRisk, ls.EmpiricalRisk.from_closure):  # a warning would be an error
        make(nn.Linear(3, 2), by_label if make is ls.EmpiricalRisk else losses, loader(0.0))
