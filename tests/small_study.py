"""A small training of a user's own: a network with batch normalisation in a plain loop, and its study."""

import torch
from torch import nn

import landscope as ls

N_STEPS, BATCH = 240, 12
CRITERION = nn.CrossEntropyLoss()
SETTINGS = {
    "fit_modes": (2, 30), "spectrum_ranks": (3, 20), "n_nulls": 2, "noise_modes": 6, "basis_modes": 6,
    "n_processes": 1, "curvature_modes": 20,
    "langevin_steps": 100, "response_modes": 3, "response_steps": 20, "learning_coefficient_steps": 100,
    "batch_size": BATCH,
}  # fmt: skip
SELECT = "0.weight"
SAVED = list(range(0, 241, 16))


def samples():
    """Three classes that overlap, so that the loss stays above zero."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(120) % 3
    centres = torch.randn(3, 6, generator=generator)
    return centres[labels] + 0.7 * torch.randn(120, 6, generator=generator), labels


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 3))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def train(model, optimizer, first=1, last=N_STEPS, after_step=None):
    """Steps whose minibatches depend on the step's number alone."""
    inputs, labels = samples()
    model.train()
    for step in range(first, last + 1):
        batch = torch.randperm(len(labels), generator=torch.Generator().manual_seed(step))[:BATCH]
        optimizer.zero_grad()
        CRITERION(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
        if after_step is not None:
            after_step(step)


def evaluate(model):
    inputs, labels = samples()
    with torch.no_grad():
        outputs = model(inputs)
    wrong = float((outputs.argmax(1) != labels).float().mean())
    loss = float(CRITERION(outputs, labels))
    return {"train_loss": loss, "train_error": wrong, "test_error": wrong, "margin": 1.0}


def train_on(model, record, *, sampling, n_steps, seed):
    """Offers independent and reshuffled minibatches only."""
    if sampling not in ("with-replacement", "reshuffled"):
        raise NotImplementedError(f"The loop has no order {sampling}.")
    optimizer = sgd(model)
    with record(optimizer):
        first = first_step(sampling, seed)
        train(model, optimizer, first, first + n_steps - 1)


def first_step(sampling, seed):
    """The step whose minibatch the loop begins with: each order has other minibatches."""
    return 1000 * seed + (0 if sampling == "with-replacement" else 500)


def begin(folder, **changes):
    """A study without a recording, its model and its optimiser."""
    model = network()
    return ls.Study(folder, model, CRITERION, samples(), **{**SETTINGS, **changes}), model, sgd(model)


def record(folder, **changes):
    """A study of a finished training."""
    study, model, optimizer = begin(folder, **changes)
    with study.record(optimizer, SELECT):
        train(model, optimizer)
    return study


def opened(folder, **changes):
    """The study of a folder in a new process: nothing is left of the trained model but what was saved."""
    return ls.Study(folder, network(), CRITERION, samples(), **changes)


def contents(study):
    """Every result, row and saved model of a study."""
    found = {"saved": study.saved_steps, "rows": study.trajectory.weights, "steps": study.trajectory.steps}
    for name in study.folder.names():
        result = ls.load(study.folder.file(name))
        found |= {f"{name}.{key}": value for key, value in result.tensors().items()}
        found |= {f"{name}.{key}": value for key, value in result.attributes().items() if key != "provenance"}
    for step in study.saved_steps:
        model = network()
        study._analysis.checkpoints.load(step, model)
        found |= {f"model {step} {name}": value for name, value in model.state_dict().items()}
    return found
