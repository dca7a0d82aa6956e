"""What a user holds says what it is: no address, no page of numbers, no NaN."""

import importlib
import inspect

import pytest
import torch
from torch import nn

import landscope as ls
from landscope import synthetic
from own_model import losses_of, net, of, of_closure, sgd
from test_public_names import FROZEN

CLASSES = {
    thing: f"{module}.{name}"
    for module, names in FROZEN.items()
    for name in names.split()
    if inspect.isclass(thing := getattr(importlib.import_module(module), name))
}


@pytest.mark.parametrize("kind", CLASSES, ids=CLASSES.get)
def test_every_public_class_says_what_it_is(kind):
    assert kind.__repr__ is not object.__repr__


def line():
    return ls.Trajectory.of(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).cumsum(0).double())


def relation():
    bowl = synthetic.QuadraticBowl(torch.ones(3).double())
    return ls.law.InverseRelation(bowl, line().window(1, 20), line().window(21), (2, 3), w0=torch.zeros(3).double())


def proximal():
    model = net()
    penalty = ls.penalties.distance_penalty(ls.ParameterSpace.of(model).flatten(model))
    return ls.ProximalSteps(penalty, model, sgd(model))


def monitor(**settings):
    model = net()
    return ls.Monitor(model, sgd(model), of(model=model), batch_size=3, **settings)


def recorder():
    model = net()
    return ls.TrajectoryRecorder(model, sgd(model))


SCALE = torch.ones(of().space.dim)
HELD = {
    "EmpiricalRisk": of,
    "EmpiricalRisk of a function": lambda: of_closure(losses_of),
    "MinibatchRisk": lambda: of().minibatches(3, seed=0),
    "FisherInformation": lambda: of().fisher_information(),
    "NegativeLogLikelihood": lambda: ls.NegativeLogLikelihood(lambda outputs: torch.distributions.Normal(outputs, 1)),
    "ParameterSpace": lambda: ls.ParameterSpace.of(nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))),
    "Trajectory": line,
    "TrajectoryRecorder": recorder,
    "Monitor": monitor,
    "Monitor with every": lambda: monitor(every={"loss": 2}),
    "ProximalSteps": proximal,
    "TaskMemory": lambda: ls.TaskMemory(net()),
    "Budget": lambda: ls.memory.Budget(0.05),
    "StreamingModes": lambda: ls.directions.StreamingModes(2),
    "LayerMotion": lambda: ls.noise.LayerMotion(of().space),
    "Preconditioned": lambda: ls.landscape.Preconditioned(of(), SCALE),
    "PreconditionedMinibatches": lambda: ls.landscape.PreconditionedMinibatches(of().minibatches(3, seed=0), SCALE),
    "Basin": lambda: ls.landscape.basin(of(), of().w0, SCALE),
    "LossForms": lambda: ls.landscape.loss_forms(torch.arange(9.0), torch.arange(1.0, 10)),
    "InverseRelation": relation,
    "PenaltySum": lambda: ls.penalties.basin_penalty(of(), of().w0),
    "PartPenalty": lambda: ls.penalties.basin_penalty(of(), of().w0).parts[0],
    "QuadraticPenalty": lambda: ls.penalties.elastic_weight_consolidation(of(), of().w0),
    "QuadraticBowl": lambda: synthetic.QuadraticBowl(torch.ones(500)),
    "InverseGaussian": lambda: synthetic.InverseGaussian(torch.ones(500)),
    "RandomSprings": lambda: synthetic.RandomSprings.draw(torch.ones(30), 20, seed=0),
    "Directions of the Hessian": lambda: ls.directions.hessian(of(), of().w0, 2),
    "Directions": lambda: ls.principal_modes(line()),
    "StepRule": lambda: ls.noise.StepRule(momentum=0.9),
    **{name: (lambda name=name: ls.memory.METHODS[name]) for name in ls.memory.METHODS},
    "Replay": lambda: ls.memory.Replay(8),
    **{f"surrogate {name}": (lambda name=name: ls.surrogates.SURROGATES[name]) for name in ls.surrogates.SURROGATES},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:landscope.ProximalSteps was made but never entered")
@pytest.mark.parametrize("made", HELD.values(), ids=HELD)
def test_what_a_user_holds_is_shown_in_a_few_lines(made):
    thing = made()
    text = repr(thing)
    assert text.startswith(type(thing).__name__)
    assert " at 0x" not in text
    assert "tensor(" not in text
    assert "nan" not in text.lower().split()
    assert len(text.splitlines()) <= 16


def test_what_is_not_known_is_said():
    assert "  total: not known\n" in repr(ls.directions.hessian(of(), of().w0, 2))


def test_a_risk_names_its_model_its_loss_and_its_samples():
    assert repr(of()).splitlines() == [
        "EmpiricalRisk, the loss over 43 weights in 4 parameters", "  model: Sequential", "  loss: CrossEntropyLoss",
        "  samples: 12",
    ]  # fmt: skip


def test_functions_at_the_top_are_also_in_their_module():
    for name in FROZEN["landscope"].split():
        home = getattr(ls, name).__module__.split(".")[1] if hasattr(getattr(ls, name), "__module__") else ""
        if f"landscope.{home}" in FROZEN:
            assert getattr(getattr(ls, home), name) is getattr(ls, name)
