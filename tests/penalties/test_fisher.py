"""Penalties from the Fisher information against their published formulas."""

import pytest
import torch
from torch import nn

import landscope as ls
from classifiers import MODELS, fisher_matrix, small_classifier
from landscope.reproduction.experiment.networks import mlp


@pytest.fixture(params=list(MODELS))
def problem(request):
    return small_classifier(request.param)


def test_measuring_leaves_the_model_as_it_was(problem):
    model, _, risk = problem
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    ls.penalties.elastic_weight_consolidation(risk, risk.w0)
    ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(part._forward_hooks for part in [*model.modules(), *risk._model.modules()])


def test_weights_come_to_the_model_in_its_dtype(capfd):
    model = mlp([4, 3, 3, 2], seed=0)
    data = (torch.randn(8, 4), torch.tensor([0, 1] * 4))
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=ls.ParameterSpace.of(model, "2.weight"))
    penalty = ls.penalties.elastic_weight_consolidation(risk, risk.w0.double())
    assert torch.allclose(penalty.stiffness.float(), ls.penalties.elastic_weight_consolidation(risk, risk.w0).stiffness)
    assert capfd.readouterr().err == ""


def test_elastic_weight_consolidation_is_half_the_fisher_information_times_squares(problem):
    risk = problem[2]
    diagonal = fisher_matrix(*problem).diagonal()
    w1 = risk.w0 + 0.1
    penalty = ls.penalties.elastic_weight_consolidation(risk, risk.w0, strength=7.0)
    assert float(penalty(w1)) == pytest.approx(7.0 / 2 * 0.01 * float(diagonal.sum()), rel=1e-9)
    assert penalty.n_stored == 2 * risk.space.dim
    identity = torch.eye(risk.space.dim).double()
    same = ls.penalties.curvature_constraint(risk.w0, identity, diagonal, strength=7.0)
    w = risk.w0 + torch.randn(risk.space.dim).double()
    assert torch.allclose(same(w), penalty(w))
    assert torch.allclose(same.gradient(w), penalty.gradient(w))


def test_only_the_weights_of_largest_information_are_held(problem):
    risk = problem[2]
    full = ls.penalties.elastic_weight_consolidation(risk, risk.w0).stiffness
    few = ls.penalties.elastic_weight_consolidation(risk, risk.w0, n_weights=5).stiffness
    assert int((few > 0).sum()) == 5
    assert float(few[few > 0].min()) >= float(full[few == 0].max())
    assert torch.equal(few[few > 0], full[few > 0])


def test_a_penalty_says_which_fisher_information_it_was_made_of(monkeypatch):
    torch.manual_seed(0)
    model, x = torch.nn.Linear(2, 120), torch.randn(3, 2)
    cross_entropy = torch.nn.CrossEntropyLoss()
    risk = ls.EmpiricalRisk(model, cross_entropy, (x, torch.tensor([0, 1, 2])))
    ewc, kfac = ls.penalties.elastic_weight_consolidation, ls.penalties.kronecker_elastic_weight_consolidation

    def sources(risk, **options):
        whole, layers = ewc(risk, risk.w0, **options), kfac(risk, risk.w0, **options)
        assert f"stiffness_source: {whole.stiffness_source}" in repr(whole)
        assert whole.stiffness_source in repr(layers)
        assert ls.penalties.load_penalty(whole.state_dict()).stiffness_source == whole.stiffness_source
        return {whole.stiffness_source, *(layer.part.stiffness_source for layer in layers.parts)}

    assert sources(risk) == {"exact Fisher information"}
    monkeypatch.setattr("landscope.risk.fisher._LOW_COST", 3 * 120 * 360 - 1)
    assert sources(risk, n_draws=7) == {"Fisher information by 7 draws for each sample"}
    assert sources(risk, fisher="exact") == {"exact Fisher information"}
    other = ls.EmpiricalRisk(model, lambda z, y: cross_entropy(z, y), (x, torch.tensor([0, 1, 2])))
    assert sources(other) == {"empirical Fisher information, of the targets of the data"}
    kinds = {"batch-mean": "mean squares of gradients of minibatches", "gauss-newton": "Gauss-Newton matrix"}
    for kind, source in kinds.items():
        assert ewc(risk, risk.w0, fisher=kind, batch_size=1).stiffness_source == source
    assert ls.penalties.memory_aware_synapses(risk, risk.w0).stiffness_source == "change of the outputs"
