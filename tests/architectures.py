"""Small networks of several kinds, data in the structures that users have, and the state of a user's model."""

import warnings

import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls

N, CLASSES, LENGTH = 24, 3, 5


class Vectors(nn.Module):
    """Linear layers with BatchNorm, dropout and a residual path."""

    batch = "vectors"

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        h = torch.tanh(self.norm(self.first(x)))
        return self.head(h + self.drop(torch.tanh(self.inner(h))))


class Images(nn.Module):
    batch = "images"

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.inner = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)
        self.head = nn.Linear(3, CLASSES)

    def forward(self, x):
        h = torch.tanh(self.norm(self.conv(x)))
        return self.head(torch.tanh(self.inner(h)).mean(dim=(2, 3)))


class LowRank(nn.Module):
    """A frozen layer with a LoRA-style addition, and layer normalisation."""

    batch = "vectors"

    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 6).requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, CLASSES).requires_grad_(False)

    def forward(self, x):
        return self.head(self.norm(torch.tanh(self.base(x) + self.up(self.down(x)))))


class Attention(nn.Module):
    """Embedding, attention and a head tied to the embedding, with one output for each token."""

    batch = "tokens"

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True, dropout=0.3)
        self.inner = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        h = self.embed(tokens)
        h = h + self.attend(h, h, h, need_weights=False)[0]
        return self.head(torch.tanh(self.inner(h)))


class TwoInputs(nn.Module):
    """Two named inputs, and an output with several fields."""

    batch = "several"

    def __init__(self):
        super().__init__()
        self.left, self.right, self.inner = nn.Linear(4, 6), nn.Linear(2, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, first, second):
        h = torch.tanh(self.left(first) + self.right(second))
        return {"logits": self.head(torch.tanh(self.inner(h))), "hidden": h}


SELECT = {Vectors: "inner.*", Images: "inner.*", LowRank: None, Attention: "*", TwoInputs: "inner.*"}


def token_losses(outputs, labels):
    """Sum over the counted positions, and their number."""
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
    return losses.reshape(labels.shape).sum(1), float((labels != -100).sum())


def inputs_of(kind):
    if kind == "vectors":
        return (torch.randn(N, 4),)
    if kind == "images":
        return (torch.randn(N, 1, 6, 6),)
    if kind == "tokens":
        return (torch.randint(0, 7, (N, LENGTH)),)
    return torch.randn(N, 4), torch.randn(N, 2)


def structured(structure, names, inputs, targets):
    """The same samples in each data structure that a user may pass."""
    cuts = [slice(0, 10), slice(10, 20), slice(20, N)]
    if structure == "tensors" and len(inputs) == 1:
        return inputs[0], targets
    if structure == "dataset":
        return torch.utils.data.TensorDataset(*inputs, targets)
    if structure == "loader":
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*inputs, targets), batch_size=7)
    if structure == "uneven batches" and len(inputs) == 1:
        return [(inputs[0][cut], targets[cut]) for cut in cuts]
    if structure == "mappings":
        return [{**{n: x[cut] for n, x in zip(names, inputs, strict=True)}, "labels": targets[cut]} for cut in cuts]
    return [(*(x[cut] for x in inputs), targets[cut]) for cut in cuts]


def state_of(model):
    """All state of the user that a risk might change."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "modes": [module.training for module in model.modules()],
        "wants": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "random": torch.get_rng_state(),
        "ids": [id(parameter) for parameter in model.parameters()],
    }


def assert_untouched(before, model):
    after = state_of(model)
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name
    for part in ("modes", "wants", "ids"):
        assert before[part] == after[part], part
    for old, new in zip(before["gradients"], after["gradients"], strict=True):
        assert (old is None) == (new is None)
        assert old is None or torch.equal(old, new)
    assert torch.equal(before["random"], after["random"])


def prepared(build, device):
    model = build().to(device)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    return model


def problem(build, device):
    """A model, its inputs and its targets."""
    model = prepared(build, device)
    inputs = tuple(x.to(device) for x in inputs_of(build.batch))
    targets = torch.randint(0, CLASSES, (N, LENGTH) if build is Attention else (N,), device=device)
    return model, inputs, targets


def slow_risk(*args, **options):
    """A risk; some models cannot be traced, and the numbers are what counts here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ls.EmpiricalRisk(*args, **options)
